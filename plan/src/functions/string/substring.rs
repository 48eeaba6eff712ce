//! Parts of a string by character position.

use arrow::array::ArrayRef;
use datafusion::common::Result;

use crate::functions::argument::{Call, slices, texts};

/// `SUBSTRING(string, start [, length])`
pub fn substring(call: &Call) -> Result<ArrayRef> {
    let (text, start) = (call.text(0)?, call.integers(1)?);
    let length = call.has(2).then(|| call.integers(2)).transpose()?;
    slices(call.rows, |row| {
        let length = match &length {
            Some(length) => length.get(row),
            None => Some(i64::MAX),
        };
        let (Some(text), Some(start), Some(length)) = (text.get(row), start.get(row), length) else {
            return Ok(None);
        };
        Ok((length >= 0).then(|| part(text, start, length)))
    })
}

/// `LEFT(string, n)`
pub fn left(call: &Call) -> Result<ArrayRef> {
    let (text, count) = (call.text(0)?, call.integers(1)?);
    slices(call.rows, |row| {
        let both = text.get(row).zip(count.get(row));
        Ok(both.map(|(text, count)| &text[..offset_of(text, count.max(0))]))
    })
}

/// `RIGHT(string, n)`
pub fn right(call: &Call) -> Result<ArrayRef> {
    let (text, count) = (call.text(0)?, call.integers(1)?);
    slices(call.rows, |row| {
        let both = text.get(row).zip(count.get(row));
        Ok(both.map(|(text, count)| match count {
            ..=0 => "",
            _ => &text[offset_of(text, length(text).saturating_sub(count).max(0))..],
        }))
    })
}

/// `OVERLAY(string PLACING replacement FROM start [FOR length])`: unchanged if `start` is outside; a `length` that is not
/// positive, or passes the end, replaces all the rest.
pub fn overlay(call: &Call) -> Result<ArrayRef> {
    let (text, replacement, start) = (call.text(0)?, call.text(1)?, call.integers(2)?);
    let lengths = call.has(3).then(|| call.integers(3)).transpose()?;
    texts(call.rows, |row, out| {
        let (Some(text), Some(new), Some(start)) = (text.get(row), replacement.get(row), start.get(row))
        else {
            return Ok(None);
        };
        let replaced = match &lengths {
            Some(lengths) => lengths.get(row),
            None => Some(length(new)),
        };
        let Some(replaced) = replaced else { return Ok(None) };
        let total = length(text);
        if start <= 0 || start > total {
            out.push_str(text);
            return Ok(Some(()));
        }
        out.push_str(&text[..offset_of(text, start - 1)]);
        out.push_str(new);
        if replaced > 0 && start + replaced <= total {
            out.push_str(&text[offset_of(text, start - 1 + replaced)..]);
        }
        Ok(Some(()))
    })
}

/// The part of `length` characters from `start`: 1 and 0 are the first character, negative counts from the end, and a start
/// before the text leaves nothing.
fn part(text: &str, start: i64, length_wanted: i64) -> &str {
    let from = match start {
        0 => 0,
        1.. => start - 1,
        _ => length(text) + start,
    };
    if from < 0 {
        return "";
    }
    let tail = &text[offset_of(text, from)..];
    &tail[..offset_of(tail, length_wanted)]
}

fn length(text: &str) -> i64 {
    if text.is_ascii() { text.len() as i64 } else { text.chars().count() as i64 }
}

/// Byte offset of a character, at most the end of the text.
fn offset_of(text: &str, characters: i64) -> usize {
    let Ok(characters) = usize::try_from(characters) else { return 0 };
    if characters >= text.len() {
        return text.len();
    }
    text.char_indices().nth(characters).map_or(text.len(), |(offset, _)| offset)
}
