//! What a string is made of. A number is a decimal, made of nothing else.

use arrow::array::ArrayRef;
use datafusion::common::{Result, plan_err};

use crate::functions::argument::{Call, booleans, type_name};

/// `IS_ALPHA(string)`
pub fn is_alpha(call: &Call) -> Result<ArrayRef> {
    check(call, |text| !text.is_empty() && text.chars().all(char::is_alphabetic), false)
}

/// `IS_DIGIT(string)`
pub fn is_digit(call: &Call) -> Result<ArrayRef> {
    check(call, |text| !text.is_empty() && text.chars().all(char::is_numeric), false)
}

/// `IS_DECIMAL(string)`
pub fn is_decimal(call: &Call) -> Result<ArrayRef> {
    check(call, |text| is_number(text.trim()), true)
}

fn check(call: &Call, test: fn(&str) -> bool, of_numbers: bool) -> Result<ArrayRef> {
    let given = call.arguments[0].data_type();
    if given.is_numeric() {
        let column = call.column(0)?;
        return booleans(call.rows, |row| Ok(Some(of_numbers && column.is_valid(row))));
    }
    if !given.is_string() && !given.is_null() {
        return plan_err!("a test of text was given {}", type_name(&given));
    }
    if given.is_null() {
        return booleans(call.rows, |_| Ok(Some(false)));
    }
    let text = call.text(0)?;
    booleans(call.rows, |row| Ok(Some(text.get(row).is_some_and(test))))
}

/// Java's `Double.parseDouble` syntax, without hexadecimal.
fn is_number(text: &str) -> bool {
    let text = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') && text.parse::<f64>().is_ok()
}
