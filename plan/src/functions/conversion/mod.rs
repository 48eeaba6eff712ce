//! Casts as Flink does them, and `TYPEOF`.
//!
//! DataFusion's own cast stays wherever it means the same (`rewrite::needs_own`); the rest become calls of `cast_to`.

mod decimal;
mod from_text;
mod number;
mod rewrite;
mod named;
mod to_text;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, StructArray, new_null_array},
    compute::CastOptions,
    datatypes::DataType,
};
use datafusion::common::{Result, exec_err, plan_err};

use super::{
    argument::{Call, Kind, slices, texts},
    builtin::Builtin,
    moment::{Moments, timestamps},
    zone::Zone,
};
use crate::sql_type::SqlType;

pub use decimal::{fits, parse_decimal};
pub use from_text::{parse_date, parse_timestamp};
pub use named::NamedCasts;
pub use rewrite::{CastRewrite, cast_expr, needs_own};
pub use to_text::{Writer, write_double};

/// The conversion functions.
pub fn functions() -> Vec<Builtin> {
    vec![
        Builtin::new("typeof", "TYPEOF(value)", "The SQL type of a value.", type_of).takes(&[Kind::Any]),
        Builtin::internal("cast_to", cast_to).takes(&[Kind::Any, Kind::Any]).returns_by(second),
        Builtin::internal("try_cast_to", try_cast_to).takes(&[Kind::Any, Kind::Any]).returns_by(second),
        Builtin::internal("cast_char", cast_char).takes(&[Kind::Text, Kind::Integer]),
        Builtin::internal("cast_varchar", cast_varchar).takes(&[Kind::Text, Kind::Integer]),
    ]
}

fn second(types: &[DataType]) -> Result<DataType> {
    match types {
        [_, target] => Ok(target.clone()),
        _ => plan_err!("a cast takes a value and a type"),
    }
}

fn type_of(call: &Call) -> Result<ArrayRef> {
    let name = super::argument::type_name(&call.arguments[0].data_type());
    slices(call.rows, |_| Ok(Some(name.as_str())))
}

/// `cast_to(value, CAST(NULL AS type))`: fails where a value cannot be converted.
fn cast_to(call: &Call) -> Result<ArrayRef> {
    cast(&call.column(0)?, call.return_type, &Session { zone: Zone::of_session(call.config), lenient: false })
}

/// `try_cast_to(value, CAST(NULL AS type))`: NULL where a value cannot be converted.
fn try_cast_to(call: &Call) -> Result<ArrayRef> {
    cast(&call.column(0)?, call.return_type, &Session { zone: Zone::of_session(call.config), lenient: true })
}

/// What a cast depends on besides its input.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    /// The session's time zone.
    pub zone: Zone,
    /// Whether a value that cannot be converted becomes NULL, rather than an error.
    pub lenient: bool,
}

impl Session {
    /// Settles what becomes of a value that was, or was not, converted.
    fn settle<T>(&self, converted: Option<T>, value: &str, target: &DataType) -> Result<Option<T>> {
        match converted {
            None if !self.lenient => {
                let target = super::argument::type_name(target);
                exec_err!("cannot cast '{value}' to {target}; TRY_CAST gives NULL instead")
            }
            converted => Ok(converted),
        }
    }
}

/// Converts a column.
pub fn cast(column: &ArrayRef, target: &DataType, session: &Session) -> Result<ArrayRef> {
    let source = column.data_type();
    if source == target {
        return Ok(Arc::clone(column));
    }
    if source.is_null() {
        return Ok(new_null_array(target, column.len()));
    }
    if !needs_own(source, target) {
        let options = CastOptions { safe: session.lenient, ..CastOptions::default() };
        return Ok(arrow::compute::cast_with_options(column, target, &options)?);
    }
    if target.is_string() {
        return to_text(column, target, session);
    }
    if source.is_string() {
        return from_text::cast(column, target, session);
    }
    match (source, target) {
        (DataType::List(_), DataType::List(field)) => {
            let lists = column.as_list::<i32>();
            let values = cast(lists.values(), field.data_type(), session)?;
            let lists = ListArray::try_new(
                Arc::clone(field),
                lists.offsets().clone(),
                values,
                lists.nulls().cloned(),
            )?;
            Ok(Arc::new(lists))
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let rows = column.as_struct();
            let columns = rows.columns().iter().zip(fields);
            let columns = columns.map(|(column, field)| cast(column, field.data_type(), session));
            let columns = columns.collect::<Result<_>>()?;
            Ok(Arc::new(StructArray::try_new(fields.clone(), columns, rows.nulls().cloned())?))
        }
        (DataType::Timestamp(..) | DataType::Date32 | DataType::Time32(_) | DataType::Time64(_), _) => {
            from_moment(column, target, session)
        }
        _ => number::cast(column, target),
    }
}

fn to_text(column: &ArrayRef, target: &DataType, session: &Session) -> Result<ArrayRef> {
    let writer = Writer::of(column, session.zone)?;
    let column = texts(column.len(), |row, out| match writer.is_null(row) {
        true => Ok(None),
        false => writer.write(row, out).map(Some),
    })?;
    Ok(arrow::compute::cast(&column, target)?)
}

fn from_moment(column: &ArrayRef, target: &DataType, session: &Session) -> Result<ArrayRef> {
    let moments = Moments::of(column, session.zone)?;
    if matches!(target, DataType::Timestamp(..)) {
        return timestamps(target, session.zone, column.len(), |row| moments.get(row));
    }
    // Local time first; then Arrow takes its date or its time.
    let local = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
    let local = timestamps(&local, session.zone, column.len(), |row| moments.get(row))?;
    Ok(arrow::compute::cast(&local, target)?)
}

fn cast_char(call: &Call) -> Result<ArrayRef> {
    let (text, length) = (call.text(0)?, call.integers(1)?);
    texts(call.rows, |row, out| {
        let (Some(text), Some(length)) = (text.get(row), length.get(row)) else { return Ok(None) };
        let length = usize::try_from(length).unwrap_or(0);
        let mut written = 0;
        out.extend(text.chars().take(length).inspect(|_| written += 1));
        out.extend(std::iter::repeat_n(' ', length - written));
        Ok(Some(()))
    })
}

fn cast_varchar(call: &Call) -> Result<ArrayRef> {
    let (text, length) = (call.text(0)?, call.integers(1)?);
    slices(call.rows, |row| {
        let both = text.get(row).zip(length.get(row).and_then(|length| usize::try_from(length).ok()));
        Ok(both.map(|(text, length)| match text.char_indices().nth(length) {
            Some((end, _)) => &text[..end],
            None => text,
        }))
    })
}

/// Whether Flink has a cast between these types at all.
pub fn check_allowed(source: &DataType, target: &DataType) -> Result<()> {
    let refused = match (source, target) {
        (DataType::Timestamp(..), _) if target.is_numeric() => "use UNIX_TIMESTAMP(CAST(value AS STRING))",
        (_, DataType::Timestamp(..)) if source.is_numeric() => {
            "use TO_TIMESTAMP_LTZ(value, 3), or TO_TIMESTAMP(FROM_UNIXTIME(value))"
        }
        (DataType::Date32 | DataType::Time32(_) | DataType::Time64(_), _) if target.is_numeric() => {
            "use EXTRACT or TIMESTAMPDIFF"
        }
        (_, DataType::Date32 | DataType::Time32(_) | DataType::Time64(_)) if source.is_numeric() => {
            "use TO_DATE(FROM_UNIXTIME(value))"
        }
        _ => return Ok(()),
    };
    let name = |data_type| {
        SqlType::from_arrow(data_type).map_or_else(|_| data_type.to_string(), |name| name.to_string())
    };
    plan_err!("there is no cast from {} to {}; {refused}", name(source), name(target))
}
