//! `JSON_QUOTE` and `JSON_UNQUOTE`.

use std::fmt::Write;

use arrow::array::ArrayRef;
use datafusion::common::Result;

use super::value::{Json, write_string};
use crate::functions::argument::{Call, texts};

/// `JSON_QUOTE(string)`
pub fn quote(call: &Call) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let mut quoted = String::new();
    texts(call.rows, |row, out| {
        let Some(text) = text.get(row) else { return Ok(None) };
        quoted.clear();
        write_string(text, &mut quoted);
        for character in quoted.chars() {
            match character.is_ascii() {
                true => out.push(character),
                false => character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                    let _ = write!(out, "\\u{unit:04x}");
                }),
            }
        }
        Ok(Some(()))
    })
}

/// `JSON_UNQUOTE(string)`
pub fn unquote(call: &Call) -> Result<ArrayRef> {
    let text = call.text(0)?;
    texts(call.rows, |row, out| {
        Ok(text.get(row).map(|text| match Json::parse(text) {
            Some(Json::String(value)) if text.starts_with('"') => out.push_str(&value),
            _ => out.push_str(text),
        }))
    })
}
