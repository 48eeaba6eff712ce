//! Aggregate functions, over groups and over windows.
//!
//! `declared` gives them their names and Flink's types. Most do not run as they are: the analyzer rule `LowerAggregates`
//! writes them out in the few that do (`AVG(x)` as a sum divided by a count, `COLLECT(x)` as a collected array whose elements
//! are counted; `forms` has them all), so that equal parts of several are computed once, and windows and distributed plans
//! know one kind of sum. Those few are DataFusion's, and our `sum`, which notices when a decimal has too many digits.
//! `finish` has the functions that make the result of the parts.
//!
//! Modules are listed lowest first; a module uses only those above it.

mod sum;
mod declared;
mod percentile;
mod finish;
mod forms;
mod lower;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::{
    common::{Result, plan_err},
    functions_aggregate as df,
    logical_expr::AggregateUDF,
};

pub use declared::Declared;
pub use finish::functions as finishing_functions;
pub use lower::LowerAggregates;

use super::argument::Kind;

/// An aggregate function that DataFusion runs as Flink does.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Lower-case name.
    pub name: &'static str,
    /// How it is called.
    pub usage: &'static str,
    /// What it does.
    pub doc: &'static str,
}

/// The aggregate functions that need no types of their own.
pub fn known() -> [Known; 9] {
    let known = |name, usage, doc| Known { name, usage, doc };
    [
        known("count", "COUNT(*), COUNT([DISTINCT] value, ...)", "Number of rows in which no value is NULL."),
        known("min", "MIN(value)", "The least value."),
        known("max", "MAX(value)", "The greatest value."),
        known(
            "array_agg",
            "ARRAY_AGG([DISTINCT] value [ORDER BY ...] [{RESPECT | IGNORE} NULLS])",
            "All values, NULLs among them, as an array; NULL without rows.",
        ),
        known("first_value", "FIRST_VALUE(value)", "The first value that is not NULL."),
        known("last_value", "LAST_VALUE(value)", "The last value that is not NULL."),
        known(
            "grouping",
            "GROUPING(key, ...)",
            "For each grouping key a bit: 1 where the row is grouped without it.",
        ),
        known("grouping_id", "GROUPING_ID(key, ...)", "The same as GROUPING."),
        known("group_id", "GROUP_ID()", "0: equal grouping sets are not told apart."),
    ]
}

/// The aggregate functions with types of Flink's.
pub fn functions() -> Vec<Declared> {
    [numbers(), collections()].concat()
}

fn numbers() -> Vec<Declared> {
    vec![
        Declared::new("sum", "SUM([DISTINCT] number)", "The sum, in the type of the numbers (DECIMAL: of 38 digits). Whole numbers wrap around, a decimal with more digits is NULL.")
            .takes(number)
            .returns(sum_type)
            .run_by(sum::checked()),
        Declared::new("avg", "AVG([DISTINCT] number)", "The average, in the type of the numbers: cut off for whole ones, rounded to at least six digits after the point for decimals.")
            .takes(number)
            .returns(average_type),
        deviation("var_pop", "VAR_POP([DISTINCT] number)", "The population variance, in the type that AVG has.", df::variance::var_pop_udaf()),
        deviation("var_samp", "VAR_SAMP([DISTINCT] number)", "The sample variance; NULL of one number.", df::variance::var_samp_udaf())
            .also(&["variance"]),
        deviation("stddev_pop", "STDDEV_POP([DISTINCT] number)", "The population standard deviation.", df::stddev::stddev_pop_udaf()),
        deviation("stddev_samp", "STDDEV_SAMP([DISTINCT] number)", "The sample standard deviation; NULL of one number.", df::stddev::stddev_udaf())
            .also(&["stddev"]),
        Declared::new("approx_count_distinct", "APPROX_COUNT_DISTINCT(value)", "About how many different values there are (HyperLogLog).")
            .takes(one)
            .returns(|_| Ok(DataType::Int64)),
        Declared::new("percentile", "PERCENTILE(number, fraction [, frequency])", "The value below which this fraction of the numbers lies, interpolated; an array of fractions gives an array.")
            .takes(percentile::arguments)
            .returns(percentile::result),
    ]
}

fn deviation(
    name: &'static str,
    usage: &'static str,
    doc: &'static str,
    engine: Arc<AggregateUDF>,
) -> Declared {
    Declared::new(name, usage, doc).takes(number).returns(average_type).run_by(engine)
}

fn collections() -> Vec<Declared> {
    vec![
        Declared::new(
            "listagg",
            "LISTAGG([DISTINCT] string [, separator])",
            "The strings that are not NULL, joined by the separator (`,`).",
        )
        .takes(texts)
        .returns(|_| Ok(DataType::Utf8View)),
        Declared::new(
            "collect",
            "COLLECT([DISTINCT] value)",
            "How often there is each value that is not NULL: Flink's MULTISET, here a map.",
        )
        .takes(one)
        .returns(|types| {
            types
                .first()
                .map_or_else(|| plan_err!("COLLECT takes a value"), |value| Ok(finish::multiset_type(value)))
        }),
        Declared::new(
            "json_arrayagg",
            "JSON_ARRAYAGG(value [{NULL | ABSENT} ON NULL])",
            "A JSON array of all values.",
        )
        .takes(json_arguments)
        .returns(|_| Ok(DataType::Utf8View)),
        Declared::new(
            "json_objectagg",
            "JSON_OBJECTAGG([KEY] key VALUE value [{NULL | ABSENT} ON NULL])",
            "A JSON object of all keys, in their order; each may come once.",
        )
        .takes(json_arguments)
        .returns(|_| Ok(DataType::Utf8View)),
        Declared::new("single_value", "SINGLE_VALUE(value)", "The only value; an error if there are more.")
            .takes(one)
            .returns(|types| {
                types
                    .first()
                    .map_or_else(|| plan_err!("SINGLE_VALUE takes a value"), |value| Ok(value.clone()))
            }),
    ]
}

/// One number of a signed type.
fn number(given: &[DataType]) -> Result<Vec<DataType>> {
    use DataType::*;
    Ok(vec![match given {
        [Decimal32(precision, scale) | Decimal64(precision, scale)] => Decimal128(*precision, *scale),
        [UInt8] => Int16,
        [UInt16] => Int32,
        [UInt32 | UInt64] => Int64,
        [given] if given.is_numeric() => given.clone(),
        _ => return plan_err!("one number is needed"),
    }])
}

fn one(given: &[DataType]) -> Result<Vec<DataType>> {
    if given.len() == 1 { Ok(given.to_vec()) } else { plan_err!("one value is needed") }
}

fn texts(given: &[DataType]) -> Result<Vec<DataType>> {
    let coerced: Option<Vec<DataType>> = given.iter().map(|given| Kind::Text.coerce(given)).collect();
    match coerced {
        Some(coerced) if (1..=2).contains(&coerced.len()) => Ok(coerced),
        _ => plan_err!("strings are needed"),
    }
}

/// Text only: the parser has written the values as JSON. The last argument is the word before `ON NULL`.
fn json_arguments(given: &[DataType]) -> Result<Vec<DataType>> {
    match given {
        [texts @ .., on_null] if texts.iter().all(|given| Kind::Text.coerce(given).is_some()) => {
            Ok(texts.iter().map(|_| DataType::Utf8View).chain([on_null.clone()]).collect())
        }
        _ => plan_err!("keys are strings"),
    }
}

fn sum_type(types: &[DataType]) -> Result<DataType> {
    match types {
        [DataType::Decimal128(_, scale)] => Ok(DataType::Decimal128(sum::MOST_DIGITS, *scale)),
        [number] => Ok(number.clone()),
        _ => plan_err!("SUM takes one number"),
    }
}

fn average_type(types: &[DataType]) -> Result<DataType> {
    match types {
        [number] => Ok(finish::average_type(number)),
        _ => plan_err!("an average is of one number"),
    }
}

/// An array of values of a type.
fn array_of(value: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(value, true)))
}
