//! Strings made from strings, character by character or whole.

use arrow::array::ArrayRef;
use datafusion::common::Result;

use crate::functions::argument::{Call, texts};

/// `CONCAT(string, ...)`
pub fn concat(call: &Call) -> Result<ArrayRef> {
    let parts = call.texts(0)?;
    texts(call.rows, |row, out| {
        Ok(parts.iter().try_for_each(|part| part.get(row).map(|part| out.push_str(part))))
    })
}

/// `CONCAT_WS(separator, string, ...)`
pub fn concat_ws(call: &Call) -> Result<ArrayRef> {
    let (separator, parts) = (call.text(0)?, call.texts(1)?);
    texts(call.rows, |row, out| {
        let Some(separator) = separator.get(row) else { return Ok(None) };
        for (index, part) in parts.iter().filter_map(|part| part.get(row)).enumerate() {
            if index > 0 {
                out.push_str(separator);
            }
            out.push_str(part);
        }
        Ok(Some(()))
    })
}

/// `REPLACE(string, search, replacement)`: an empty `search` is found between all characters.
pub fn replace(call: &Call) -> Result<ArrayRef> {
    let (text, search, replacement) = (call.text(0)?, call.text(1)?, call.text(2)?);
    texts(call.rows, |row, out| {
        let (Some(text), Some(search), Some(replacement)) =
            (text.get(row), search.get(row), replacement.get(row))
        else {
            return Ok(None);
        };
        let mut copied = 0;
        for (found, matched) in text.match_indices(search) {
            out.push_str(&text[copied..found]);
            out.push_str(replacement);
            copied = found + matched.len();
        }
        out.push_str(&text[copied..]);
        Ok(Some(()))
    })
}

/// `TRANSLATE(string, from, to)`
pub fn translate(call: &Call) -> Result<ArrayRef> {
    let (text, from, to) = (call.text(0)?, call.text(1)?, call.text(2)?);
    texts(call.rows, |row, out| {
        let (Some(text), Some(from)) = (text.get(row), from.get(row)) else { return Ok(None) };
        let to = to.get(row).unwrap_or_default();
        out.extend(text.chars().filter_map(|character| match from.chars().position(|c| c == character) {
            Some(index) => to.chars().nth(index),
            None => Some(character),
        }));
        Ok(Some(()))
    })
}

/// `INITCAP(string)`
pub fn initcap(call: &Call) -> Result<ArrayRef> {
    let text = call.text(0)?;
    texts(call.rows, |row, out| {
        let Some(text) = text.get(row) else { return Ok(None) };
        let mut in_word = false;
        out.extend(text.chars().map(|character| {
            let started = std::mem::replace(&mut in_word, character.is_ascii_alphanumeric());
            match started {
                true => character.to_ascii_lowercase(),
                false => character.to_ascii_uppercase(),
            }
        }));
        Ok(Some(()))
    })
}
