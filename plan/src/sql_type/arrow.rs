//! Which Arrow type holds the values of which SQL type.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, Schema, TimeUnit};
use thalweg_graph::{SqlError, sql_error::SqlErrorCode, table::Column};

use super::{Element, IntervalKind, RowField, SqlType};

/// The time zone of every `TIMESTAMP_LTZ` array.
const UTC: &str = "UTC";

/// An Arrow type that no SQL type stands for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no SQL type holds values of the type `{0}`")]
pub struct UnsupportedType(pub DataType);

impl SqlType {
    /// Returns the Arrow type of this type's values.
    pub fn to_arrow(&self) -> DataType {
        match self {
            SqlType::Null => DataType::Null,
            SqlType::Boolean => DataType::Boolean,
            SqlType::Char(_) | SqlType::Varchar(_) | SqlType::String => DataType::Utf8View,
            SqlType::Binary(_) | SqlType::Varbinary(_) | SqlType::Bytes => DataType::Binary,
            SqlType::TinyInt => DataType::Int8,
            SqlType::SmallInt => DataType::Int16,
            SqlType::Int => DataType::Int32,
            SqlType::BigInt => DataType::Int64,
            SqlType::Float => DataType::Float32,
            SqlType::Double => DataType::Float64,
            SqlType::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale as i8),
            SqlType::Date => DataType::Date32,
            SqlType::Time(0..=3) => DataType::Time32(TimeUnit::Millisecond),
            SqlType::Time(precision) => DataType::Time64(time_unit(*precision)),
            SqlType::Timestamp(precision) => DataType::Timestamp(time_unit(*precision), None),
            SqlType::TimestampLtz(precision) => DataType::Timestamp(time_unit(*precision), Some(UTC.into())),
            SqlType::Interval(IntervalKind::YearMonth) => DataType::Interval(IntervalUnit::YearMonth),
            SqlType::Interval(IntervalKind::DaySecond) => DataType::Interval(IntervalUnit::MonthDayNano),
            SqlType::Array(element) => {
                DataType::List(Arc::new(element.to_field(Field::LIST_FIELD_DEFAULT_NAME)))
            }
            SqlType::Map(key, value) => map_type(key, value),
            SqlType::Row(fields) => {
                DataType::Struct(fields.iter().map(|field| field.element.to_field(&field.name)).collect())
            }
        }
    }

    /// Returns the SQL type that holds every value of an Arrow type: unsigned numbers become the next wider signed ones.
    pub fn from_arrow(data_type: &DataType) -> Result<SqlType, UnsupportedType> {
        Ok(match data_type {
            DataType::Null => SqlType::Null,
            DataType::Boolean => SqlType::Boolean,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => SqlType::String,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => SqlType::Bytes,
            DataType::FixedSizeBinary(length) => SqlType::Binary(length.unsigned_abs()),
            DataType::Int8 => SqlType::TinyInt,
            DataType::Int16 | DataType::UInt8 => SqlType::SmallInt,
            DataType::Int32 | DataType::UInt16 => SqlType::Int,
            DataType::Int64 | DataType::UInt32 => SqlType::BigInt,
            DataType::UInt64 => SqlType::Decimal(20, 0),
            DataType::Float16 | DataType::Float32 => SqlType::Float,
            DataType::Float64 => SqlType::Double,
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => decimal(data_type, *precision, *scale)?,
            DataType::Date32 | DataType::Date64 => SqlType::Date,
            DataType::Time32(unit) | DataType::Time64(unit) => SqlType::Time(precision(*unit)),
            DataType::Timestamp(unit, None) => SqlType::Timestamp(precision(*unit)),
            DataType::Timestamp(unit, Some(_)) => SqlType::TimestampLtz(precision(*unit)),
            DataType::Interval(IntervalUnit::YearMonth) => SqlType::Interval(IntervalKind::YearMonth),
            DataType::Interval(_) | DataType::Duration(_) => SqlType::Interval(IntervalKind::DaySecond),
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::ListView(field)
            | DataType::LargeListView(field)
            | DataType::FixedSizeList(field, _) => SqlType::Array(Box::new(Element::from_field(field)?)),
            DataType::Map(entries, _) => from_entries(data_type, entries.data_type())?,
            DataType::Struct(fields) => from_fields(fields)?,
            DataType::Dictionary(_, value) => SqlType::from_arrow(value)?,
            DataType::RunEndEncoded(_, value) => SqlType::from_arrow(value.data_type())?,
            DataType::Union(..) => return Err(UnsupportedType(data_type.clone())),
        })
    }
}

impl Element {
    fn to_field(&self, name: &str) -> Field {
        Field::new(name, self.sql_type.to_arrow(), self.nullable)
    }

    fn from_field(field: &Field) -> Result<Element, UnsupportedType> {
        Ok(Element { sql_type: SqlType::from_arrow(field.data_type())?, nullable: field.is_nullable() })
    }
}

/// Coarsest Arrow unit that holds a fraction of `precision` digits, from milliseconds on.
fn time_unit(precision: u8) -> TimeUnit {
    match precision {
        0..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    }
}

fn precision(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

fn map_type(key: &Element, value: &Element) -> DataType {
    let key = Field::new("key", key.sql_type.to_arrow(), false);
    let entries = DataType::Struct(Fields::from(vec![key, value.to_field("value")]));
    DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
}

fn decimal(data_type: &DataType, precision: u8, scale: i8) -> Result<SqlType, UnsupportedType> {
    let scale = u8::try_from(scale).ok().filter(|_| precision <= 38);
    scale.map(|scale| SqlType::Decimal(precision, scale)).ok_or_else(|| UnsupportedType(data_type.clone()))
}

fn from_entries(map: &DataType, entries: &DataType) -> Result<SqlType, UnsupportedType> {
    let DataType::Struct(fields) = entries else { return Err(UnsupportedType(map.clone())) };
    let [key, value] = &fields[..] else { return Err(UnsupportedType(map.clone())) };
    // A key is never NULL, so Flink does not print it as such.
    let key = Element { nullable: true, ..Element::from_field(key)? };
    Ok(SqlType::Map(Box::new(key), Box::new(Element::from_field(value)?)))
}

fn from_fields(fields: &Fields) -> Result<SqlType, UnsupportedType> {
    let row_field = |field: &Arc<Field>| {
        Ok(RowField { name: field.name().clone(), element: Element::from_field(field)? })
    };
    fields.iter().map(row_field).collect::<Result<_, _>>().map(SqlType::Row)
}

/// Returns the Arrow schema of a table's columns.
pub fn schema(columns: &[Column]) -> Result<Schema, SqlError> {
    let field = |column: &Column| {
        let sql_type: SqlType = column.data_type.parse().map_err(|error| {
            SqlError::new(SqlErrorCode::Invalid, format!("column `{}`: {error}", column.name))
        })?;
        Ok(Field::new(&column.name, sql_type.to_arrow(), column.nullable))
    };
    columns.iter().map(field).collect::<Result<Vec<_>, _>>().map(Schema::new)
}

/// Returns the columns of an Arrow schema in SQL's words.
pub fn columns(schema: &Schema) -> Result<Vec<Column>, SqlError> {
    let column = |field: &Arc<Field>| {
        let sql_type = SqlType::from_arrow(field.data_type()).map_err(|error| {
            SqlError::new(SqlErrorCode::Unsupported, format!("column `{}`: {error}", field.name()))
        })?;
        Ok(Column {
            name: field.name().clone(),
            data_type: sql_type.to_string(),
            nullable: field.is_nullable(),
        })
    };
    schema.fields().iter().map(column).collect()
}
