//! `TUMBLE`, `HOP`, `CUMULATE` and `SESSION` in `FROM`: from their arguments to the logical node.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::{DataType, TimeUnit},
    common::{Column, DFSchema, ExprSchema as _, Result, ScalarValue},
    error::DataFusionError,
    logical_expr::{
        Expr, Extension, LogicalPlan, LogicalPlanBuilder,
        planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning},
        simplify::SimplifyContext,
    },
    optimizer::simplify_expressions::ExprSimplifier,
};
use sqlparser::ast::{
    Expr as SqlExpr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    Spanned as _, TableAlias, TableFactor,
};
use thalweg_graph::{
    SqlError,
    sql_error::{Position, SqlErrorCode},
    table::nearest,
};

use crate::{
    functions::conversion::cast_expr,
    panes::{Panes, WindowShape},
    sql::dialect::TABLE_ARGUMENT,
    window::{BORDER_NAMES, LOCAL_TIME, WindowKind, WindowTableFunction},
};

/// Plans the window table functions.
#[derive(Debug)]
pub struct WindowFunctions;

impl RelationPlanner for WindowFunctions {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some((call, alias)) = Call::of(&relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let plan = call.plan(context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

/// The table that a function's argument `TABLE t [PARTITION BY ..]` names.
pub fn table_argument(expr: &SqlExpr) -> Option<ObjectName> {
    let SqlExpr::Function(function) = expr else { return None };
    let is_table = function.name.0.first()?.as_ident()?.value == TABLE_ARGUMENT;
    match plain_arguments(function).first() {
        Some(SqlExpr::CompoundIdentifier(idents)) if is_table => Some(ObjectName::from(idents.clone())),
        _ => None,
    }
}

fn table_factor(name: ObjectName) -> TableFactor {
    TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

/// What a group window is of, in the same place (see [`super::group_windows`]).
fn subquery_argument(expr: &SqlExpr) -> Option<TableFactor> {
    let SqlExpr::Function(function) = expr else { return None };
    match plain_arguments(function).first() {
        Some(SqlExpr::Subquery(subquery)) => {
            let name = Ident::with_quote('`', "__grouped");
            let alias = TableAlias { explicit: true, name, columns: Vec::new(), at: None };
            Some(TableFactor::Derived {
                lateral: false,
                subquery: subquery.clone(),
                alias: Some(alias),
                sample: None,
            })
        }
        _ => None,
    }
}

/// A function and what its arguments are called where they have no names.
struct Signature {
    name: &'static str,
    intervals: &'static [&'static str],
}

const SIGNATURES: &[Signature] = &[
    Signature { name: "TUMBLE", intervals: &["SIZE"] },
    Signature { name: "HOP", intervals: &["SLIDE", "SIZE"] },
    Signature { name: "CUMULATE", intervals: &["STEP", "SIZE"] },
    Signature { name: "SESSION", intervals: &["GAP"] },
];

struct Call {
    signature: &'static Signature,
    position: Position,
    arguments: Vec<(String, SqlExpr)>,
}

impl Call {
    fn of(relation: &TableFactor) -> Option<(Self, Option<TableAlias>)> {
        let (name, arguments, alias) = match relation {
            TableFactor::TableFunction { expr: SqlExpr::Function(function), alias } => {
                let FunctionArguments::List(list) = &function.args else { return None };
                (&function.name, &list.args, alias)
            }
            TableFactor::Table { name, args: Some(arguments), alias, .. } => (name, &arguments.args, alias),
            TableFactor::Function { name, args, alias, .. } => (name, args, alias),
            _ => return None,
        };
        let [part] = &name.0[..] else { return None };
        let known = part.as_ident()?;
        let signature =
            SIGNATURES.iter().find(|known_as| known_as.name.eq_ignore_ascii_case(&known.value))?;
        let start = name.span().start;
        let position = Position { line: start.line, column: start.column };
        let mut names = ["DATA", "TIMECOL"].iter().chain(signature.intervals).chain(&["OFFSET"]);
        let arguments = arguments.iter().filter_map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                Some(((*names.next().unwrap_or(&"")).to_owned(), expr.clone()))
            }
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => {
                Some((name.value.to_uppercase(), expr.clone()))
            }
            _ => None,
        });
        Some((Self { signature, position, arguments: arguments.collect() }, alias.clone()))
    }

    fn plan(&self, context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
        let known = ["DATA", "TIMECOL", "OFFSET"];
        for (name, _) in &self.arguments {
            if name.is_empty() {
                return Err(self.wrong(format!("`{}` was given too many arguments", self.signature.name)));
            }
            if !known.contains(&name.as_str()) && !self.signature.intervals.contains(&name.as_str()) {
                return Err(self.wrong(format!("`{}` has no argument `{name}`", self.signature.name)));
            }
        }
        let data = self.argument("DATA")?;
        let Some(relation) = table_argument(data).map(table_factor).or_else(|| subquery_argument(data))
        else {
            return Err(
                self.wrong(format!("`{}` needs `TABLE t` as its first argument", self.signature.name))
            );
        };
        let input = context.plan(relation)?;
        let time = self.time_column(input.schema())?;
        let kind = match self.signature.name {
            "TUMBLE" => {
                let size_ms = self.length(context, "SIZE")?;
                self.fixed(context, WindowShape::Tumble { size_ms })?
            }
            "HOP" => {
                let (slide_ms, size_ms) = self.step_and_size(context, "SLIDE")?;
                self.fixed(context, WindowShape::Hop { slide_ms, size_ms })?
            }
            "CUMULATE" => {
                let (step_ms, max_size_ms) = self.step_and_size(context, "STEP")?;
                self.fixed(context, WindowShape::Cumulate { step_ms, max_size_ms })?
            }
            _ => WindowKind::Session {
                gap_ms: self.length(context, "GAP")?,
                partition_by: self.partition_by(data, input.schema())?,
            },
        };
        let zoned = matches!(
            input.schema().field_from_column(&time)?.data_type(),
            DataType::Timestamp(TimeUnit::Millisecond, Some(_))
        );
        if !zoned {
            return self.node(input, time, kind);
        }
        // The windows of a TIMESTAMP_LTZ are those of what the clocks of the session's zone show.
        let own = input.schema().iter().map(|column| Expr::Column(column.into()));
        let names: Vec<String> = input.schema().fields().iter().map(|field| field.name().clone()).collect();
        let ltz = input.schema().field_from_column(&time)?.data_type().clone();
        let local = cast_expr(Expr::Column(time), &ltz, &DataType::Timestamp(TimeUnit::Millisecond, None))?;
        let with_local: Vec<Expr> = own.chain([local.alias(LOCAL_TIME)]).collect();
        let with_local = LogicalPlanBuilder::from(input).project(with_local)?.build()?;
        let windowed = self.node(with_local, Column::new_unqualified(LOCAL_TIME), kind)?;
        let kept = names.iter().map(String::as_str).chain(BORDER_NAMES);
        let kept = kept.map(|name| Expr::Column(Column::new_unqualified(name)));
        LogicalPlanBuilder::from(windowed).project(kept)?.build()
    }

    fn node(&self, input: LogicalPlan, time: Column, kind: WindowKind) -> Result<LogicalPlan> {
        let node = WindowTableFunction::try_new(input, time, kind);
        let node = node.map_err(|error| self.wrong(error.strip_backtrace()))?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    fn fixed(&self, context: &mut dyn RelationPlannerContext, shape: WindowShape) -> Result<WindowKind> {
        let offset_ms = match self.arguments.iter().any(|(name, _)| name == "OFFSET") {
            true => self.interval(context, "OFFSET")?,
            false => 0,
        };
        Ok(WindowKind::Fixed(Panes { shape, offset_ms }))
    }

    /// The lengths of windows that start or end more often than they are long.
    fn step_and_size(&self, context: &mut dyn RelationPlannerContext, step: &str) -> Result<(i64, i64)> {
        let (step_ms, size_ms) = (self.length(context, step)?, self.length(context, "SIZE")?);
        if size_ms % step_ms != 0 {
            return Err(self.wrong(format!(
                "the `SIZE` of `{}`, {size_ms} ms, must be a multiple of its `{step}`, {step_ms} ms",
                self.signature.name
            )));
        }
        Ok((step_ms, size_ms))
    }

    fn argument(&self, name: &str) -> Result<&SqlExpr> {
        let found = self.arguments.iter().find(|(known, _)| known == name);
        found
            .map(|(_, expr)| expr)
            .ok_or_else(|| self.wrong(format!("`{}` lacks its argument `{name}`", self.signature.name)))
    }

    /// `DESCRIPTOR(ts)`
    fn time_column(&self, schema: &DFSchema) -> Result<Column> {
        let wrong = || {
            self.wrong(format!("`{}` needs `DESCRIPTOR(column)` for its time column", self.signature.name))
        };
        let SqlExpr::Function(descriptor) = self.argument("TIMECOL")? else { return Err(wrong()) };
        let named = descriptor.name.0.first().and_then(|part| part.as_ident());
        if !named.is_some_and(|ident| ident.value.eq_ignore_ascii_case("DESCRIPTOR")) {
            return Err(wrong());
        }
        let arguments = plain_arguments(descriptor);
        let [SqlExpr::Identifier(ident)] = arguments[..] else { return Err(wrong()) };
        self.column(ident, schema)
    }

    fn partition_by(&self, data: &SqlExpr, schema: &DFSchema) -> Result<Vec<Column>> {
        let SqlExpr::Function(table) = data else { return Ok(Vec::new()) };
        let keys = plain_arguments(table).into_iter().skip(1);
        let keys = keys.filter_map(|key| match key {
            SqlExpr::Identifier(ident) => Some(self.column(ident, schema)),
            _ => None,
        });
        keys.collect()
    }

    fn column(&self, ident: &Ident, schema: &DFSchema) -> Result<Column> {
        if let Ok((qualifier, field)) = schema.qualified_field_with_unqualified_name(&ident.value) {
            return Ok((qualifier, field).into());
        }
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let meant = nearest(&ident.value, names).map(|meant| format!("; did you mean `{meant}`?"));
        let message = format!("there is no column `{}`{}", ident.value, meant.unwrap_or_default());
        let start = ident.span.start;
        let position = Position { line: start.line, column: start.column };
        let error = SqlError::new(SqlErrorCode::UnknownColumn, message).at(position);
        Err(DataFusionError::External(Box::new(error)))
    }

    /// An interval of at least a millisecond.
    fn length(&self, context: &mut dyn RelationPlannerContext, name: &str) -> Result<i64> {
        match self.interval(context, name)? {
            ms if ms > 0 => Ok(ms),
            _ => Err(self
                .wrong(format!("argument `{name}` of `{}` must be longer than zero", self.signature.name))),
        }
    }

    /// An interval in milliseconds.
    fn interval(&self, context: &mut dyn RelationPlannerContext, name: &str) -> Result<i64> {
        let empty = DFSchema::empty();
        let expr = context.sql_to_expr(self.argument(name)?.clone(), &empty)?;
        let simplifier = ExprSimplifier::new(SimplifyContext::builder().build());
        let value = match simplifier.simplify(expr)? {
            Expr::Literal(value, _) => value,
            other => return Err(self.not_an_interval(name, &other.to_string())),
        };
        match value {
            ScalarValue::IntervalDayTime(Some(interval)) => {
                Ok(i64::from(interval.days) * DAY_MS + i64::from(interval.milliseconds))
            }
            ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
                Ok(i64::from(interval.days) * DAY_MS + interval.nanoseconds / 1_000_000)
            }
            ScalarValue::DurationMillisecond(Some(ms)) => Ok(ms),
            other => Err(self.not_an_interval(name, &other.to_string())),
        }
    }

    fn not_an_interval(&self, name: &str, found: &str) -> DataFusionError {
        self.wrong(format!(
            "argument `{name}` of `{}` must be an interval of days or less, such as `INTERVAL '10' MINUTE`, not `{found}`",
            self.signature.name
        ))
    }

    fn wrong(&self, message: String) -> DataFusionError {
        let error = SqlError::new(SqlErrorCode::Invalid, message).at(self.position);
        DataFusionError::External(Box::new(error))
    }
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The arguments of a function that have no names.
fn plain_arguments(function: &Function) -> Vec<&SqlExpr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let plain = list.args.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    plain.collect()
}
