//! Where one string is inside another, in characters from 1.

use arrow::{array::ArrayRef, datatypes::Int32Type};
use datafusion::common::{Result, exec_err};

use crate::functions::argument::{Call, numbers};

/// `POSITION(search IN string)` and `LOCATE(search, string [, start])`
pub fn locate(call: &Call) -> Result<ArrayRef> {
    let (search, text) = (call.text(0)?, call.text(1)?);
    let start = call.has(2).then(|| call.integers(2)).transpose()?;
    numbers::<Int32Type>(call.rows, |row| {
        let start = start.as_ref().map_or(Some(1), |start| start.get(row));
        let (Some(search), Some(text), Some(start)) = (search.get(row), text.get(row), start) else {
            return Ok(None);
        };
        Ok(Some(forwards(text, search, start.max(1), 1)))
    })
}

/// `INSTR(string, search [, start [, nth]])`
pub fn instr(call: &Call) -> Result<ArrayRef> {
    let (text, search) = (call.text(0)?, call.text(1)?);
    let start = call.has(2).then(|| call.integers(2)).transpose()?;
    let nth = call.has(3).then(|| call.integers(3)).transpose()?;
    numbers::<Int32Type>(call.rows, |row| {
        let start = start.as_ref().map_or(Some(1), |start| start.get(row));
        let nth = nth.as_ref().map_or(Some(1), |nth| nth.get(row));
        let (Some(text), Some(search), Some(start), Some(nth)) = (text.get(row), search.get(row), start, nth)
        else {
            return Ok(None);
        };
        if nth <= 0 {
            return exec_err!("INSTR looks for occurrence {nth}; the first one is 1");
        }
        Ok(Some(match start {
            0 => 0,
            1.. => forwards(text, search, start, nth),
            _ => backwards(text, search, start.unsigned_abs(), nth),
        }))
    })
}

fn forwards(text: &str, search: &str, start: i64, nth: i64) -> i32 {
    let Some((skipped, _)) = text.char_indices().chain([(text.len(), ' ')]).nth(start as usize - 1) else {
        return 0;
    };
    let mut from = skipped;
    for _ in 1..nth {
        let Some(found) = text[from..].find(search) else { return 0 };
        let step = text[from + found..].chars().next().map_or(1, char::len_utf8);
        from += found + step;
        if from > text.len() {
            return 0;
        }
    }
    text[from..].find(search).map_or(0, |found| place(text, from + found))
}

fn backwards(text: &str, search: &str, start_from_end: u64, nth: i64) -> i32 {
    let starts: Vec<usize> = text.char_indices().map(|(offset, _)| offset).collect();
    let Some(last) = (starts.len() as u64).checked_sub(start_from_end) else { return 0 };
    let candidates = starts[..=last as usize].iter().rev();
    let mut found = candidates.filter(|&&offset| text[offset..].starts_with(search));
    found.nth(nth as usize - 1).map_or(0, |&offset| place(text, offset))
}

fn place(text: &str, offset: usize) -> i32 {
    text[..offset].chars().count() as i32 + 1
}
