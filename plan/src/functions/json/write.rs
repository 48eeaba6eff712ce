//! Values of any type as JSON.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::DataType,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use datafusion::common::Result;

use super::value::write_string;
use crate::functions::{
    argument::{Bytes, Text},
    conversion::Writer,
    zone::Zone,
};

/// Writes the rows of a column as JSON.
#[derive(Debug, Clone)]
pub struct JsonWriter {
    column: ArrayRef,
    zone: Zone,
}

impl JsonWriter {
    /// A writer of the column's rows; instants are written as the clocks of the zone show them.
    pub fn new(column: ArrayRef, zone: Zone) -> Self {
        Self { column, zone }
    }

    /// Whether the row is NULL.
    pub fn is_null(&self, row: usize) -> bool {
        self.column.is_null(row) || self.column.data_type().is_null()
    }

    /// Appends a row.
    pub fn write(&self, row: usize, out: &mut String) -> Result<()> {
        if self.is_null(row) {
            out.push_str("null");
            return Ok(());
        }
        match self.column.data_type() {
            DataType::Boolean => {
                out.push_str(if self.column.as_boolean().value(row) { "true" } else { "false" })
            }
            data_type if data_type.is_string() => {
                write_string(Text::of(&self.column)?.get(row).unwrap_or_default(), out)
            }
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                let bytes = Bytes::of(&self.column)?.get(row).unwrap_or_default();
                write_string(&STANDARD.encode(bytes), out);
            }
            DataType::List(_) => self.write_list(row, out)?,
            DataType::Map(..) => self.write_map(row, out)?,
            DataType::Struct(_) => self.write_row(row, out)?,
            data_type if data_type.is_numeric() => {
                Writer::of(&self.column.slice(row, 1), self.zone)?.write(0, out)?
            }
            data_type => {
                let mut text = String::new();
                Writer::of(&self.column.slice(row, 1), self.zone)?.write(0, &mut text)?;
                if matches!(data_type, DataType::Timestamp(..)) {
                    text = text.trim_end_matches('0').trim_end_matches('.').replacen(' ', "T", 1);
                }
                write_string(&text, out);
            }
        }
        Ok(())
    }

    fn write_list(&self, row: usize, out: &mut String) -> Result<()> {
        let list = self.column.as_list::<i32>();
        let items = JsonWriter::new(ArrayRef::clone(list.values()), self.zone);
        let offsets = list.value_offsets();
        out.push('[');
        for item in offsets[row]..offsets[row + 1] {
            if item > offsets[row] {
                out.push(',');
            }
            items.write(item as usize, out)?;
        }
        out.push(']');
        Ok(())
    }

    fn write_map(&self, row: usize, out: &mut String) -> Result<()> {
        let map = self.column.as_map();
        let keys = Writer::of(map.keys(), self.zone)?;
        let values = JsonWriter::new(ArrayRef::clone(map.values()), self.zone);
        let offsets = map.value_offsets();
        out.push('{');
        for item in offsets[row]..offsets[row + 1] {
            if item > offsets[row] {
                out.push(',');
            }
            let mut key = String::new();
            keys.write(item as usize, &mut key)?;
            write_string(&key, out);
            out.push(':');
            values.write(item as usize, out)?;
        }
        out.push('}');
        Ok(())
    }

    fn write_row(&self, row: usize, out: &mut String) -> Result<()> {
        let fields = self.column.as_struct();
        out.push('{');
        for (index, (name, column)) in fields.column_names().iter().zip(fields.columns()).enumerate() {
            if index > 0 {
                out.push(',');
            }
            write_string(name, out);
            out.push(':');
            JsonWriter::new(ArrayRef::clone(column), self.zone).write(row, out)?;
        }
        out.push('}');
        Ok(())
    }
}
