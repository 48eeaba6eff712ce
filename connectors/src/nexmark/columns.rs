//! Which column of a table is which value of an event.

use arrow::datatypes::{DataType, Fields, Schema};
use thalweg_graph::table::nearest;

use super::kind::{FieldType, KINDS, Kind};
use crate::error::{Error, Result};

/// The column that says of which kind an event is.
pub const EVENT_TYPE: &str = "event_type";

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// The number of the event's kind.
    EventType,
    /// The whole event, NULL in events of other kinds.
    Row(Kind, Vec<FieldColumn>),
    /// One field of the only kind of events that the table has.
    Field(Kind, FieldColumn),
}

/// A field as a column has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldColumn {
    /// Its name.
    pub name: &'static str,
    /// The type that its values are given out as.
    pub data_type: DataType,
    /// Whether somebody reads it.
    pub is_read: bool,
}

/// The columns of a table: of one kind of events, or of all.
pub fn columns(schema: &Schema, only: Option<Kind>) -> Result<Vec<Column>> {
    let column = |field: &std::sync::Arc<arrow::datatypes::Field>| {
        let (name, data_type) = (field.name().as_str(), field.data_type());
        if let Some(kind) = only {
            return Ok(Column::Field(kind, of_kind(kind, name, data_type, name)?));
        }
        if name == EVENT_TYPE {
            return match data_type {
                DataType::Int32 => Ok(Column::EventType),
                _ => Err(wrong_type(name, "INT")),
            };
        }
        let Some(kind) = KINDS.into_iter().find(|kind| kind.name() == name) else {
            return Err(unknown(
                name,
                [EVENT_TYPE, "person", "auction", "bid"],
                "; the option `table` makes it a table of one kind of events",
            ));
        };
        let DataType::Struct(fields) = data_type else { return Err(wrong_type(name, "ROW<...>")) };
        if !field.is_nullable() {
            return Err(Error::Invalid(format!(
                "column `{name}` cannot be NOT NULL: events of other kinds have none"
            )));
        }
        Ok(Column::Row(kind, row(kind, fields)?))
    };
    schema.fields().iter().map(column).collect()
}

fn row(kind: Kind, fields: &Fields) -> Result<Vec<FieldColumn>> {
    let column = |field: &std::sync::Arc<arrow::datatypes::Field>| {
        let path = format!("{}.{}", kind.name(), field.name());
        if !field.is_nullable() {
            return Err(Error::Invalid(format!(
                "field `{path}` cannot be NOT NULL: events of other kinds have none"
            )));
        }
        of_kind(kind, field.name(), field.data_type(), &path)
    };
    fields.iter().map(column).collect()
}

fn of_kind(kind: Kind, name: &str, data_type: &DataType, path: &str) -> Result<FieldColumn> {
    let known = kind.fields();
    let Some((name, field_type)) = known.iter().find(|(known, _)| *known == name) else {
        return Err(unknown(path, known.iter().map(|(name, _)| *name), ""));
    };
    match FieldType::fits(*field_type, data_type) {
        true => Ok(FieldColumn { name, data_type: data_type.clone(), is_read: true }),
        false => Err(wrong_type(path, field_type.sql())),
    }
}

fn unknown(name: &str, known: impl IntoIterator<Item = &'static str> + Clone, hint: &str) -> Error {
    let last = name.rsplit('.').next().unwrap_or(name);
    let names: Vec<&str> = known.clone().into_iter().collect();
    Error::Invalid(match nearest(last, known) {
        Some(near) => format!("connector `nexmark` makes no `{name}`; did you mean `{near}`?"),
        None => format!("connector `nexmark` makes no `{name}`; it makes `{}`{hint}", names.join("`, `")),
    })
}

fn wrong_type(name: &str, expected: &str) -> Error {
    Error::Invalid(format!("connector `nexmark` makes `{name}` as {expected}: declare it so"))
}
