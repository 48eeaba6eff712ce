//! Making strings longer.

use arrow::array::ArrayRef;
use datafusion::common::{Result, exec_err};

use crate::functions::argument::{Call, texts};

/// The longest string that one call may make, in bytes: a wrong count must not take all memory.
const MAX_LENGTH_BYTES: usize = 1 << 30;

/// `REPEAT(string, n)`
pub fn repeat(call: &Call) -> Result<ArrayRef> {
    let (text, count) = (call.text(0)?, call.integers(1)?);
    texts(call.rows, |row, out| {
        let (Some(text), Some(count)) = (text.get(row), count.get(row)) else { return Ok(None) };
        let count = usize::try_from(count).unwrap_or(0);
        check_length("REPEAT", text.len().saturating_mul(count))?;
        out.reserve(text.len() * count);
        (0..count).for_each(|_| out.push_str(text));
        Ok(Some(()))
    })
}

/// `LPAD(string, length, pad)`
pub fn lpad(call: &Call) -> Result<ArrayRef> {
    pad(call, |text, filling, out| {
        out.extend(filling);
        out.push_str(text);
    })
}

/// `RPAD(string, length, pad)`
pub fn rpad(call: &Call) -> Result<ArrayRef> {
    pad(call, |text, filling, out| {
        out.push_str(text);
        out.extend(filling);
    })
}

/// NULL if the length is negative or there is nothing to pad with.
fn pad(
    call: &Call,
    place: fn(&str, std::iter::Take<std::iter::Cycle<std::str::Chars>>, &mut String),
) -> Result<ArrayRef> {
    let (text, length, pad) = (call.text(0)?, call.integers(1)?, call.text(2)?);
    texts(call.rows, |row, out| {
        let (Some(text), Some(length), Some(pad)) = (text.get(row), length.get(row), pad.get(row)) else {
            return Ok(None);
        };
        let Some(length) = usize::try_from(length).ok().filter(|_| !pad.is_empty()) else { return Ok(None) };
        check_length("LPAD or RPAD", length)?;
        match length.checked_sub(text.chars().count()) {
            Some(missing) => place(text, pad.chars().cycle().take(missing), out),
            None => out.extend(text.chars().take(length)),
        }
        Ok(Some(()))
    })
}

fn check_length(function: &str, bytes: usize) -> Result<()> {
    match bytes > MAX_LENGTH_BYTES {
        true => exec_err!(
            "{function} would make a string of {bytes} bytes; at most {MAX_LENGTH_BYTES} are allowed"
        ),
        false => Ok(()),
    }
}
