//! `INSERT`: the query's columns are matched to the table's, cast where nothing is lost, and filled up.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field};
use datafusion::{
    common::ScalarValue,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, ident, lit},
};
use sqlparser::ast;
use thalweg_graph::{
    SqlError,
    sql_error::SqlErrorCode,
    table::{SinkDescriptor, TablePath, nearest},
};

use super::{Binder, type_name};
use crate::{
    catalog::{ColumnKind, Name, Table},
    error,
    sql::command::{Insert, PartitionValue},
    sql_type::SqlType,
};

/// A planned insert: rows in the table's columns, and where they go.
#[derive(Debug)]
pub struct InsertInto {
    /// The rows.
    pub plan: LogicalPlan,
    /// Where they go.
    pub sink: SinkDescriptor,
}

impl InsertInto {
    /// Leaves out the rows that have a NULL where the table takes none.
    pub fn without_nulls(self) -> Result<Self, SqlError> {
        let schema = self.plan.schema().clone();
        let filled = |field: &&Field| field.is_nullable() && self.sink.table.is_not_null(field.name());
        let fields = schema.fields().iter().map(AsRef::as_ref);
        let conditions = fields.filter(filled).map(|field| ident(field.name()).is_not_null());
        let Some(condition) = conditions.reduce(Expr::and) else { return Ok(self) };
        let plan = LogicalPlanBuilder::from(self.plan).filter(condition).and_then(LogicalPlanBuilder::build);
        Ok(Self { plan: plan.map_err(error::from_datafusion)?, sink: self.sink })
    }
}

/// Where a column of the table comes from.
enum Given {
    /// This column of the query.
    Query(usize),
    /// The `PARTITION` clause; `None` is NULL.
    Static(Option<String>),
    /// Nowhere.
    Missing,
}

impl Binder<'_> {
    /// Plans an `INSERT`.
    pub async fn insert(&self, insert: &Insert) -> Result<InsertInto, SqlError> {
        let (path, table) = self.catalogs.get_table(&insert.target)?;
        let plan = self.query(&insert.query).await?;
        let partition = static_partition(&path, &table, &insert.partition)?;
        let given = match &insert.columns {
            Some(columns) => by_name(&path, &table, columns, &partition)?,
            None => by_position(&path, &table, &partition)?,
        };
        let at = |error: SqlError| error.at(insert.target.position);
        let plan = aligned(&path, &table, plan, &given).map_err(at)?;
        let descriptor = table.descriptor(&path, &insert.hint);
        self.sink(
            plan,
            SinkDescriptor { table: descriptor, overwrite: insert.overwrite, static_partition: partition },
        )
        .map_err(at)
    }

    /// Plans filling a table with a plan that has its columns in order.
    pub fn fill(
        &self,
        path: &TablePath,
        table: &Table,
        plan: LogicalPlan,
        overwrite: bool,
    ) -> Result<InsertInto, SqlError> {
        let given = by_position(path, table, &BTreeMap::new())?;
        let plan = aligned(path, table, plan, &given)?;
        let descriptor = table.descriptor(path, &BTreeMap::new());
        self.sink(plan, SinkDescriptor { table: descriptor, overwrite, static_partition: BTreeMap::new() })
    }

    fn sink(&self, plan: LogicalPlan, sink: SinkDescriptor) -> Result<InsertInto, SqlError> {
        self.connectors.validate_sink(&sink, plan.schema().as_arrow())?;
        Ok(InsertInto { plan, sink })
    }
}

/// The columns that can be written, with their types and whether they may be NULL.
fn writable(path: &TablePath, table: &Table) -> Result<Vec<(String, SqlType, bool)>, SqlError> {
    let mut columns = Vec::new();
    for column in &table.columns {
        match &column.kind {
            ColumnKind::Physical { sql_type, nullable } => {
                let nullable = *nullable && !table.in_primary_key(&column.name);
                columns.push((column.name.clone(), sql_type.clone(), nullable));
            }
            ColumnKind::Computed { .. } | ColumnKind::Metadata { is_virtual: true, .. } => {}
            ColumnKind::Metadata { .. } => {
                let message = format!(
                    "the metadata column `{}` of `{path}` can only be read: declare it VIRTUAL",
                    column.name
                );
                return Err(SqlError::new(SqlErrorCode::Unsupported, message));
            }
        }
    }
    Ok(columns)
}

fn by_position(
    path: &TablePath,
    table: &Table,
    partition: &BTreeMap<String, Option<String>>,
) -> Result<Vec<Given>, SqlError> {
    let mut next = 0;
    let given = writable(path, table)?.into_iter().map(|(name, ..)| match partition.get(&name) {
        Some(value) => Given::Static(value.clone()),
        None => {
            next += 1;
            Given::Query(next - 1)
        }
    });
    Ok(given.collect())
}

fn by_name(
    path: &TablePath,
    table: &Table,
    columns: &[Name],
    partition: &BTreeMap<String, Option<String>>,
) -> Result<Vec<Given>, SqlError> {
    let writable = writable(path, table)?;
    for (position, column) in columns.iter().enumerate() {
        let name = column.last();
        if !writable.iter().any(|(known, ..)| known == name) {
            return Err(not_writable(table, &writable, column));
        }
        if columns[..position].iter().any(|earlier| earlier.last() == name) || partition.contains_key(name) {
            return Err(column.error(SqlErrorCode::Invalid, format!("column `{name}` is given twice")));
        }
    }
    let given = writable.into_iter().map(|(name, ..)| {
        let place = columns.iter().position(|column| column.last() == name);
        match (place, partition.get(&name)) {
            (Some(place), _) => Given::Query(place),
            (None, Some(value)) => Given::Static(value.clone()),
            (None, None) => Given::Missing,
        }
    });
    Ok(given.collect())
}

fn not_writable(table: &Table, writable: &[(String, SqlType, bool)], column: &Name) -> SqlError {
    let name = column.last();
    if table.column(name).is_some() {
        let message = format!("column `{name}` cannot be written: its values are computed");
        return column.error(SqlErrorCode::Invalid, message);
    }
    let meant = nearest(name, writable.iter().map(|(known, ..)| known.as_str()));
    let meant = meant.map(|meant| format!(": did you mean `{meant}`?")).unwrap_or_default();
    column.error(SqlErrorCode::UnknownColumn, format!("column `{name}` does not exist{meant}"))
}

fn static_partition(
    path: &TablePath,
    table: &Table,
    clause: &[PartitionValue],
) -> Result<BTreeMap<String, Option<String>>, SqlError> {
    let mut values = BTreeMap::new();
    for PartitionValue { column, value } in clause {
        let name = column.last();
        if !table.partition_keys.iter().any(|key| key == name) {
            let meant = nearest(name, table.partition_keys.iter().map(String::as_str));
            let meant = meant.map(|meant| format!(": did you mean `{meant}`?")).unwrap_or_default();
            let message = format!("`{path}` is not partitioned by `{name}`{meant}");
            return Err(column.error(SqlErrorCode::UnknownColumn, message));
        }
        let Some(value) = value else { continue };
        let Some(text) = literal_text(value) else {
            let message = format!("the partition value of `{name}` must be a literal");
            return Err(column.error(SqlErrorCode::Invalid, message));
        };
        if values.insert(name.to_owned(), text).is_some() {
            return Err(
                column.error(SqlErrorCode::Invalid, format!("partition column `{name}` is given twice"))
            );
        }
    }
    Ok(values)
}

/// The text of a literal; an inner `None` is NULL.
fn literal_text(expr: &ast::Expr) -> Option<Option<String>> {
    match expr {
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Null => Some(None),
            ast::Value::Number(number, _) => Some(Some(number.clone())),
            ast::Value::Boolean(flag) => Some(Some(flag.to_string())),
            ast::Value::SingleQuotedString(text) => Some(Some(text.clone())),
            _ => None,
        },
        ast::Expr::TypedString(typed) => typed.value.value.clone().into_string().map(Some),
        ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => {
            literal_text(expr).map(|text| text.map(|text| format!("-{text}")))
        }
        _ => None,
    }
}

/// The query's rows in the table's columns.
fn aligned(
    path: &TablePath,
    table: &Table,
    plan: LogicalPlan,
    given: &[Given],
) -> Result<LogicalPlan, SqlError> {
    let width = given.iter().filter(|given| matches!(given, Given::Query(_))).count();
    let found = plan.schema().fields().len();
    if found != width {
        let message = format!("the query gives {found} columns, `{path}` takes {width}");
        return Err(SqlError::new(SqlErrorCode::TypeMismatch, message));
    }
    let mut exprs = Vec::with_capacity(given.len());
    for ((name, sql_type, nullable), given) in writable(path, table)?.into_iter().zip(given) {
        let target = sql_type.to_arrow();
        let expr = match given {
            Given::Query(position) => from_query(&plan, *position, &name, &sql_type)?,
            Given::Static(Some(text)) => static_value(text, &name, &sql_type)?,
            Given::Static(None) | Given::Missing if nullable => null(&target)?,
            Given::Static(None) | Given::Missing => {
                let message = format!("column `{name}` of `{path}` is NOT NULL and gets no value");
                return Err(SqlError::new(SqlErrorCode::Invalid, message));
            }
        };
        exprs.push(expr.alias(name));
    }
    let projected = LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build);
    projected.map_err(error::from_datafusion)
}

fn from_query(plan: &LogicalPlan, position: usize, name: &str, to: &SqlType) -> Result<Expr, SqlError> {
    let (qualifier, field) = plan.schema().qualified_field(position);
    let expr = Expr::Column((qualifier, field).into());
    let (source, target) = (field.data_type(), to.to_arrow());
    if *source == target {
        return Ok(expr);
    }
    if !fits(source, &target) {
        let message = format!(
            "column `{name}` is {to}, the query gives {}: say CAST(... AS {to}) if that is meant",
            type_name(source)
        );
        return Err(SqlError::new(SqlErrorCode::TypeMismatch, message));
    }
    Ok(cast(expr, target))
}

fn static_value(text: &str, name: &str, to: &SqlType) -> Result<Expr, SqlError> {
    let value = ScalarValue::Utf8(Some(text.to_owned()));
    let value = value.cast_to(&to.to_arrow()).map_err(|_| {
        let message = format!("the partition value `{text}` of `{name}` is no {to}");
        SqlError::new(SqlErrorCode::TypeMismatch, message)
    })?;
    Ok(lit(value))
}

fn null(data_type: &DataType) -> Result<Expr, SqlError> {
    ScalarValue::try_from(data_type).map(lit).map_err(error::from_datafusion)
}

/// Whether a cast between the types loses nothing: what does not fit fails when it is met, nothing is rounded or cut.
fn fits(source: &DataType, target: &DataType) -> bool {
    use DataType::{Boolean, Date32, Decimal128, Float32, Float64, Null, Struct, Timestamp};
    match (source, target) {
        _ if source == target => true,
        (Null, _) => true,
        _ if source.is_string() && target.is_string() => true,
        _ if is_binary(source) && is_binary(target) => true,
        (Boolean, _) | (_, Boolean) => false,
        _ if source.is_integer() && target.is_integer() => width(source) <= width(target),
        _ if source.is_integer() && (target.is_floating() || matches!(target, Decimal128(..))) => true,
        (Decimal128(_, scale), Decimal128(_, target_scale)) => scale <= target_scale,
        (Decimal128(..), Float32 | Float64) | (Float32, Float64) => true,
        (Date32, Timestamp(..)) => true,
        (Timestamp(unit, _), Timestamp(target_unit, _)) => unit_digits(unit) <= unit_digits(target_unit),
        (Struct(fields), Struct(targets)) => {
            fields.len() == targets.len()
                && fields
                    .iter()
                    .zip(targets)
                    .all(|(field, target)| fits(field.data_type(), target.data_type()))
        }
        _ => match (element(source), element(target)) {
            (Some(element), Some(target)) => fits(&element, &target),
            _ => false,
        },
    }
}

fn is_binary(data_type: &DataType) -> bool {
    use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary};
    matches!(data_type, Binary | BinaryView | LargeBinary | FixedSizeBinary(_))
}

fn width(integer: &DataType) -> usize {
    integer.primitive_width().unwrap_or(usize::MAX)
}

fn unit_digits(unit: &arrow::datatypes::TimeUnit) -> u8 {
    use arrow::datatypes::TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    match unit {
        Second => 0,
        Millisecond => 3,
        Microsecond => 6,
        Nanosecond => 9,
    }
}

/// What a list or map holds.
fn element(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            Some(field.data_type().clone())
        }
        DataType::Map(entries, _) => Some(entries.data_type().clone()),
        _ => None,
    }
}
