//! Logarithms, with Java's answers outside their domain: -Infinity at zero, NaN below.

use arrow::{array::ArrayRef, datatypes::Float64Type};
use datafusion::common::Result;

use crate::functions::argument::{Call, numbers};

/// `LN(number)`
pub fn ln(call: &Call) -> Result<ArrayRef> {
    each(call, f64::ln)
}

/// `LOG10(number)`
pub fn log10(call: &Call) -> Result<ArrayRef> {
    each(call, f64::log10)
}

/// `LOG2(number)`
pub fn log2(call: &Call) -> Result<ArrayRef> {
    each(call, f64::log2)
}

/// `LOG([base,] number)`
pub fn log(call: &Call) -> Result<ArrayRef> {
    if !call.has(1) {
        return ln(call);
    }
    let (bases, values) = (call.doubles(0)?, call.doubles(1)?);
    numbers::<Float64Type>(call.rows, |row| {
        Ok(bases.get(row).zip(values.get(row)).map(|(base, value)| match base {
            2.0 => value.log2(),
            10.0 => value.log10(),
            _ => value.ln() / base.ln(),
        }))
    })
}

fn each(call: &Call, function: fn(f64) -> f64) -> Result<ArrayRef> {
    let values = call.doubles(0)?;
    numbers::<Float64Type>(call.rows, |row| Ok(values.get(row).map(function)))
}
