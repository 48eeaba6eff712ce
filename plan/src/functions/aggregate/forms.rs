//! What each aggregate function becomes: an expression over calls of those that run.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::{DFSchema, Result, ScalarValue, internal_err, plan_err},
    functions::core as df_core,
    functions_aggregate::{approx_distinct, array_agg, count, string_agg},
    logical_expr::{
        AggregateUDF, Expr, ExprSchemable, ScalarUDF, WindowFunctionDefinition, cast,
        expr::{
            AggregateFunction, AggregateFunctionParams, NullTreatment, WindowFunction, WindowFunctionParams,
        },
    },
};

use super::{finish, functions};
use crate::functions::{builtin::Builtin, collection, conversion::cast_expr, window};

/// A call in a plan: over groups, or over a window.
pub enum Call<'a> {
    Group(&'a AggregateFunction),
    Window(&'a WindowFunction),
}

impl Call<'_> {
    fn name(&self) -> &str {
        match self {
            Call::Group(call) => call.func.name(),
            Call::Window(call) => call.fun.name(),
        }
    }

    fn arguments(&self) -> &[Expr] {
        match self {
            Call::Group(call) => &call.params.args,
            Call::Window(call) => &call.params.args,
        }
    }

    fn null_treatment(&self) -> Option<NullTreatment> {
        match self {
            Call::Group(call) => call.params.null_treatment,
            Call::Window(call) => call.params.null_treatment,
        }
    }

    /// The same call, of another function of other arguments.
    fn of(
        &self,
        function: Arc<AggregateUDF>,
        args: Vec<Expr>,
        null_treatment: Option<NullTreatment>,
    ) -> Expr {
        match self {
            Call::Group(call) => Expr::AggregateFunction(AggregateFunction {
                func: function,
                params: AggregateFunctionParams { args, null_treatment, ..call.params.clone() },
            }),
            Call::Window(call) => Expr::from(WindowFunction {
                fun: WindowFunctionDefinition::AggregateUDF(function),
                params: WindowFunctionParams { args, null_treatment, ..call.params.clone() },
            }),
        }
    }

    /// The same call, without the rows in which the argument is NULL; nothing if it shall see them, or does not already.
    fn skipping_nulls(&self) -> Option<Expr> {
        let skips_by_itself = ["first_value", "last_value"].contains(&self.name());
        match (self, self.null_treatment()) {
            (Call::Group(call), None) => {
                let skip = Some(NullTreatment::IgnoreNulls);
                Some(self.of(Arc::clone(&call.func), call.params.args.clone(), skip))
            }
            (Call::Window(call), None) if !skips_by_itself => None,
            (Call::Window(call), None | Some(NullTreatment::IgnoreNulls)) => {
                let params = WindowFunctionParams { null_treatment: None, ..call.params.clone() };
                let fun = WindowFunctionDefinition::WindowUDF(window::skipping_nulls(self.name())?);
                Some(Expr::from(WindowFunction { fun, params }))
            }
            _ => None,
        }
    }

    fn collected(&self, value: Expr, null_treatment: NullTreatment) -> Expr {
        self.of(array_agg::array_agg_udaf(), vec![value], Some(null_treatment))
    }
}

/// What the call becomes; nothing if it runs as it is.
pub fn lowered(call: &Call, schema: &DFSchema) -> Result<Option<Expr>> {
    let Some(argument) = call.arguments().first().cloned() else { return Ok(None) };
    let given = argument.get_type(schema)?;
    Ok(Some(match call.name() {
        "sum" if wide(&given) != given => {
            let sum = total(call, argument, &given)?;
            cast_expr(sum, &wide(&given), &given)?
        }
        "avg" => average(call, argument, &given)?,
        "var_pop" | "var_samp" | "stddev_pop" | "stddev_samp" if given != DataType::Float64 => {
            let function = declared(call.name())?;
            let deviation = call.of(function, vec![cast(argument, DataType::Float64)], None);
            cast_expr(deviation, &DataType::Float64, &finish::average_type(&given))?
        }
        "first_value" | "last_value" | "lag" | "lead" => match call.skipping_nulls() {
            Some(skipping) => skipping,
            None => return Ok(None),
        },
        "approx_count_distinct" => {
            let argument = if given.is_floating() { cast(argument, DataType::Utf8View) } else { argument };
            cast(call.of(approx_distinct::approx_distinct_udaf(), vec![argument], None), DataType::Int64)
        }
        "percentile" => percentile(call)?,
        "listagg" => listed(call, argument)?,
        "collect" => finished("multiset", vec![call.collected(argument, NullTreatment::IgnoreNulls)])?,
        "json_arrayagg" => json_array(call)?,
        "json_objectagg" => json_object(call)?,
        "single_value" => {
            let element = function(collection::functions(), "element")?;
            element.call(vec![call.collected(argument, NullTreatment::RespectNulls)])
        }
        _ => return Ok(None),
    }))
}

/// The type in which numbers are summed.
fn wide(number: &DataType) -> DataType {
    match number {
        DataType::Int8 | DataType::Int16 | DataType::Int32 => DataType::Int64,
        DataType::Float16 | DataType::Float32 => DataType::Float64,
        number => number.clone(),
    }
}

fn widened(argument: Expr, given: &DataType) -> Expr {
    if wide(given) == *given { argument } else { cast(argument, wide(given)) }
}

fn total(call: &Call, argument: Expr, given: &DataType) -> Result<Expr> {
    Ok(call.of(declared("sum")?, vec![widened(argument, given)], None))
}

fn average(call: &Call, argument: Expr, given: &DataType) -> Result<Expr> {
    let counted = call.of(count::count_udaf(), vec![widened(argument.clone(), given)], None);
    let average = finished("average", vec![total(call, argument, given)?, counted])?;
    let target = finish::average_type(given);
    let of_sum = finish::average_type(&wide(given));
    Ok(if of_sum == target { average } else { cast(average, target) })
}

/// Over a window rows leave again, which text that is joined already cannot do.
fn listed(call: &Call, strings: Expr) -> Result<Expr> {
    let separator = call.arguments().get(1).cloned().unwrap_or_else(|| text(","));
    if !matches!(separator, Expr::Literal(..)) {
        return plan_err!("the separator of LISTAGG must be a literal");
    }
    match call {
        Call::Group(_) => {
            let joined = call.of(string_agg::string_agg_udaf(), vec![strings, separator], None);
            Ok(cast(joined, DataType::Utf8View))
        }
        Call::Window(_) => {
            finished("listed_text", vec![call.collected(strings, NullTreatment::IgnoreNulls), separator])
        }
    }
}

fn percentile(call: &Call) -> Result<Expr> {
    let (number, fraction, frequency) = match call.arguments() {
        [number, fraction] => (number, fraction, &Expr::Literal(ScalarValue::Int64(Some(1)), None)),
        [number, fraction, frequency] => (number, fraction, frequency),
        _ => return plan_err!("PERCENTILE takes a number, a fraction and a frequency"),
    };
    if fraction.any_column_refs() {
        return plan_err!("the fraction of PERCENTILE must be a constant");
    }
    let entry = finished("percentile_entry", vec![number.clone(), frequency.clone()])?;
    finished("percentile_of", vec![call.collected(entry, NullTreatment::IgnoreNulls), fraction.clone()])
}

fn json_array(call: &Call) -> Result<Expr> {
    let [value, on_null] = call.arguments() else { return plan_err!("JSON_ARRAYAGG takes a value") };
    let items = vec![json_value(value, on_null), text(",")];
    let items = cast(call.of(string_agg::string_agg_udaf(), items, None), DataType::Utf8View);
    finished("json_array_of", vec![items])
}

fn json_object(call: &Call) -> Result<Expr> {
    let [key, value, on_null] = call.arguments() else {
        return plan_err!("JSON_OBJECTAGG takes a key and a value");
    };
    let member = finished("json_member", vec![key.clone(), json_value(value, on_null)])?;
    finished("json_object_of", vec![call.collected(member, NullTreatment::IgnoreNulls)])
}

/// The value as JSON; a NULL that is not left out is written.
fn json_value(value: &Expr, on_null: &Expr) -> Expr {
    let absent = matches!(on_null, Expr::Literal(word, _) if word.try_as_str() == Some(Some("ABSENT")));
    match absent {
        true => value.clone(),
        false => df_core::coalesce().call(vec![value.clone(), text("null")]),
    }
}

fn text(value: &str) -> Expr {
    Expr::Literal(ScalarValue::Utf8View(Some(value.to_owned())), None)
}

fn declared(name: &str) -> Result<Arc<AggregateUDF>> {
    match functions().into_iter().find(|function| function.name == name) {
        Some(function) => Ok(function.into_udaf()),
        None => internal_err!("there is no aggregate {name}"),
    }
}

fn finished(name: &str, arguments: Vec<Expr>) -> Result<Expr> {
    Ok(function(finish::functions(), name)?.call(arguments))
}

fn function(functions: Vec<Builtin>, name: &str) -> Result<Arc<ScalarUDF>> {
    match functions.into_iter().find(|function| function.name == name) {
        Some(function) => Ok(function.into_udf()),
        None => internal_err!("there is no function {name}"),
    }
}
