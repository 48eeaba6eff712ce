//! Building JSON text.

use arrow::{array::ArrayRef, datatypes::DataType};
use datafusion::common::{Result, exec_err, plan_err};

use super::{
    value::{Json, write_string},
    write::JsonWriter,
};
use crate::functions::{
    argument::{Booleans, Call, Kind, Text, texts},
    zone::Zone,
};

/// `json_object(on_null, key, value, raw, ...)`
pub fn object(call: &Call) -> Result<ArrayRef> {
    if call.rows == 0 {
        return texts(0, |_, _| Ok(None));
    }
    let absent = call.rows > 0 && call.text(0)?.get(0) == Some("ABSENT");
    let members =
        (1..call.count()).step_by(3).map(|index| Ok((call.text(index)?, Item::of(call, index + 1)?)));
    let mut members = members.collect::<Result<Vec<_>>>()?;
    // Keys are constants; an object is written in their order.
    members.sort_by_key(|(key, _)| key.get(0));
    texts(call.rows, |row, out| {
        out.push('{');
        for (key, item) in &members {
            if absent && item.is_null(row) {
                continue;
            }
            let Some(key) = key.get(row) else {
                return exec_err!("JSON_OBJECT was given a key that is NULL");
            };
            separate(out, '{');
            write_string(key, out);
            out.push(':');
            item.write(row, out)?;
        }
        out.push('}');
        Ok(Some(()))
    })
}

/// `json_array(on_null, value, raw, ...)`
pub fn array(call: &Call) -> Result<ArrayRef> {
    let absent = call.rows > 0 && call.text(0)?.get(0) == Some("ABSENT");
    let items =
        (1..call.count()).step_by(2).map(|index| Item::of(call, index)).collect::<Result<Vec<_>>>()?;
    texts(call.rows, |row, out| {
        out.push('[');
        for item in items.iter().filter(|item| !absent || !item.is_null(row)) {
            separate(out, '[');
            item.write(row, out)?;
        }
        out.push(']');
        Ok(Some(()))
    })
}

/// `JSON_STRING(value)`
pub fn string(call: &Call) -> Result<ArrayRef> {
    let writer = JsonWriter::new(call.column(0)?, Zone::of_session(call.config));
    texts(call.rows, |row, out| match writer.is_null(row) {
        true => Ok(None),
        false => writer.write(row, out).map(Some),
    })
}

/// `JSON(string)`
pub fn json(call: &Call) -> Result<ArrayRef> {
    let text = call.text(0)?;
    texts(call.rows, |row, out| {
        let Some(text) = text.get(row) else { return Ok(None) };
        match Json::parse(text) {
            Some(value) => {
                value.write(out);
                Ok(Some(()))
            }
            None => exec_err!("JSON was given what is none: '{text}'"),
        }
    })
}

/// What [`object`] takes: keys are text.
pub fn object_arguments(given: &[DataType]) -> Result<Vec<DataType>> {
    let coerce = |(index, given): (usize, &DataType)| match index % 3 {
        _ if index == 0 => Some(given.clone()),
        1 => Kind::Text.coerce(given),
        _ => Some(given.clone()),
    };
    match given.iter().enumerate().map(coerce).collect::<Option<Vec<_>>>() {
        Some(coerced) if given.len() % 3 == 1 => Ok(coerced),
        _ => plan_err!("keys and values are needed"),
    }
}

/// What [`array()`] takes.
pub fn array_arguments(given: &[DataType]) -> Result<Vec<DataType>> {
    if given.len() % 2 == 1 { Ok(given.to_vec()) } else { plan_err!("values are needed") }
}

/// A comma, unless what is written begins with the bracket only.
fn separate(out: &mut String, open: char) {
    if out.len() > open.len_utf8() {
        out.push(',');
    }
}

/// A value that goes into an object or array.
struct Item<'a> {
    writer: JsonWriter,
    raw: Booleans<'a>,
    column: ArrayRef,
}

impl<'a> Item<'a> {
    fn of(call: &Call<'a>, index: usize) -> Result<Self> {
        let column = call.column(index)?;
        let writer = JsonWriter::new(ArrayRef::clone(&column), Zone::of_session(call.config));
        Ok(Item { writer, raw: call.booleans(index + 1)?, column })
    }

    fn is_null(&self, row: usize) -> bool {
        self.writer.is_null(row)
    }

    fn write(&self, row: usize, out: &mut String) -> Result<()> {
        if self.raw.get(row) == Some(true) && self.column.data_type().is_string() && !self.is_null(row) {
            let text = Text::of(&self.column)?;
            out.push_str(text.get(row).unwrap_or("null"));
            return Ok(());
        }
        self.writer.write(row, out)
    }
}
