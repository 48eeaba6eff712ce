//! One column of made-up values. A value depends on the column's seed and the row's number alone, so that a table has the
//! same rows however it is split and however often it is read.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field},
};
use thalweg_graph::options::Value as _;

use crate::{
    error::{Error, Result},
    options::{Known, TableOptions, Takes, known},
    random::{Sequence, fraction, mix},
};

/// What can be said of a column: `fields.<column>.<name>`.
pub(super) const OPTIONS: &[Known] = &[
    known("kind", Takes::OneOf(&["random", "sequence"])),
    known("min", Takes::Text),
    known("max", Takes::Text),
    known("start", Takes::Text),
    known("end", Takes::Text),
    known("length", Takes::Number),
    known("var-len", Takes::Bool),
    known("null-rate", Takes::Text),
    known("max-past", Takes::Duration),
    known("seed", Takes::Number),
];

/// The length of texts where none is said, as in Flink.
const LENGTH: u64 = 100;
/// Times lie this long before 2024-01-01 at most, where nothing is said.
const PAST_MS: u64 = 365 * 86_400_000;
const BASE_MS: i64 = 1_704_067_200_000;

#[derive(Debug, Clone)]
pub(super) struct Generator {
    random: Sequence,
    null_rate: f64,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    Sequence {
        start: i64,
        end: i64,
    },
    Integers {
        min: i64,
        max: i64,
    },
    Floats {
        min: f64,
        max: f64,
    },
    /// `unscaled / 10^scale`
    Decimals {
        min: f64,
        max: f64,
        scale: i32,
    },
    Booleans,
    Texts {
        length: u64,
        varies: bool,
    },
    Times {
        past_ms: u64,
    },
    Days,
}

impl Generator {
    pub(super) fn of(field: &Field, options: TableOptions<'_>) -> Result<Self> {
        let column = Column { name: field.name(), options };
        let values = match column.text("kind").unwrap_or("random") {
            kind if kind.eq_ignore_ascii_case("sequence") => column.sequence(field.data_type())?,
            _ => column.random(field.data_type())?,
        };
        let null_rate = column.number("null-rate", 0.0)?;
        if !(0.0..=1.0).contains(&null_rate) {
            return Err(column.invalid("null-rate", "a number from 0 to 1"));
        }
        let seed = column.text("seed").and_then(u64::parse).unwrap_or(0);
        Ok(Self { random: Sequence::named(seed, field.name()), null_rate, values })
    }

    /// The rows after which a sequence is at its end.
    pub(super) fn rows(&self) -> Option<u64> {
        match self.values {
            Values::Sequence { start, end } => {
                Some(end.saturating_sub(start).unsigned_abs().saturating_add(1))
            }
            _ => None,
        }
    }

    /// The values of the rows with these numbers.
    pub(super) fn column(&self, field: &Field, numbers: &[Range<u64>]) -> Result<ArrayRef> {
        let random = |row: u64| self.random.at(row);
        let fraction = |row: u64| fraction(random(row));
        let is_null =
            |row: u64| self.null_rate > 0.0 && crate::random::fraction(mix(random(row))) < self.null_rate;
        let rows = || numbers.iter().cloned().flatten().map(|row| (!is_null(row)).then_some(row));
        let plain: ArrayRef = match &self.values {
            Values::Sequence { start, .. } => Arc::new(
                rows().map(|row| row.map(|row| start.wrapping_add(row as i64))).collect::<Int64Array>(),
            ),
            Values::Integers { min, max } => {
                let span = (*max as i128 - *min as i128 + 1) as u128;
                let value = |row| (*min as i128 + (u128::from(random(row)) % span) as i128) as i64;
                Arc::new(rows().map(|row| row.map(value)).collect::<Int64Array>())
            }
            Values::Floats { min, max } => Arc::new(
                rows().map(|row| row.map(|row| min + fraction(row) * (max - min))).collect::<Float64Array>(),
            ),
            Values::Decimals { min, max, scale } => {
                let factor = 10f64.powi(*scale);
                let value = |row| {
                    format!(
                        "{:.*}",
                        *scale as usize,
                        ((min + fraction(row) * (max - min)) * factor).floor() / factor
                    )
                };
                Arc::new(rows().map(|row| row.map(value)).collect::<StringArray>())
            }
            Values::Booleans => {
                Arc::new(rows().map(|row| row.map(|row| random(row) & 1 == 1)).collect::<BooleanArray>())
            }
            Values::Texts { length, varies } => {
                let value = |row| text(random(row), *length, *varies);
                Arc::new(rows().map(|row| row.map(value)).collect::<StringArray>())
            }
            Values::Times { past_ms } => {
                let value = |row| BASE_MS - (random(row) % past_ms.max(&1)) as i64;
                let milliseconds = rows().map(|row| row.map(value)).collect::<Int64Array>();
                let instants = DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, None);
                cast(field, &(Arc::new(milliseconds) as ArrayRef), &instants)?
            }
            Values::Days => {
                let value = |row| (BASE_MS / 86_400_000 - (random(row) % 365) as i64) as i32;
                let days = rows().map(|row| row.map(value)).collect::<arrow::array::Date32Array>();
                Arc::new(days)
            }
        };
        cast(field, &plain, field.data_type())
    }
}

fn cast(field: &Field, values: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let strict = CastOptions { safe: false, ..Default::default() };
    cast_with_options(values, to, &strict).map_err(|error| {
        Error::Invalid(format!("a value of `datagen` does not fit column `{}`: {error}", field.name()))
    })
}

const LETTERS: &[u8] = b"0123456789abcdef";

fn text(mut random: u64, length: u64, varies: bool) -> String {
    let length = if varies { random % length.max(1) + 1 } else { length };
    let letter = |position: u64| {
        if position.is_multiple_of(16) {
            random = mix(random);
        }
        char::from(LETTERS[(random >> (position % 16 * 4)) as usize & 15])
    };
    (0..length).map(letter).collect()
}

/// The options of one column.
struct Column<'a> {
    name: &'a str,
    options: TableOptions<'a>,
}

impl Column<'_> {
    fn text(&self, option: &str) -> Option<&str> {
        self.options.text(&format!("fields.{}.{option}", self.name))
    }

    fn invalid(&self, option: &str, expected: &str) -> Error {
        let given = self.text(option).unwrap_or_default();
        Error::InvalidOption(format!(
            "option `fields.{}.{option}` cannot be `{given}`: expected {expected}",
            self.name
        ))
    }

    fn number<T: std::str::FromStr>(&self, option: &str, default: T) -> Result<T> {
        match self.text(option) {
            None => Ok(default),
            Some(text) => {
                text.trim().parse().map_err(|_| self.invalid(option, "a number that fits the column"))
            }
        }
    }

    fn sequence(&self, data_type: &DataType) -> Result<Values> {
        if !(data_type.is_numeric() || matches!(data_type, DataType::Utf8 | DataType::Utf8View)) {
            return Err(self.invalid("kind", "`random`: only numbers and texts can be a sequence"));
        }
        let missing =
            |option| self.text(option).ok_or_else(|| self.invalid(option, "a number: a sequence needs it"));
        missing("start")?;
        missing("end")?;
        let (start, end) = (self.number("start", 0)?, self.number("end", 0)?);
        if end < start {
            return Err(self.invalid("end", "a number that is not below `start`"));
        }
        Ok(Values::Sequence { start, end })
    }

    fn integers(&self, min: i64, max: i64) -> Result<Values> {
        let (low, high) = (self.number("min", min)?, self.number("max", max)?);
        if low < min || low > high || high > max {
            return Err(self.invalid("max", "bounds in order that fit the column"));
        }
        Ok(Values::Integers { min: low, max: high })
    }

    fn random(&self, data_type: &DataType) -> Result<Values> {
        match data_type {
            DataType::Boolean => Ok(Values::Booleans),
            DataType::Int8 => self.integers(i8::MIN.into(), i8::MAX.into()),
            DataType::Int16 => self.integers(i16::MIN.into(), i16::MAX.into()),
            DataType::Int32 => self.integers(i32::MIN.into(), i32::MAX.into()),
            DataType::Int64 => self.integers(i64::MIN, i64::MAX),
            DataType::Float32 | DataType::Float64 => {
                let bound = if *data_type == DataType::Float32 { f32::MAX.into() } else { f64::MAX / 2.0 };
                Ok(Values::Floats { min: self.number("min", -bound)?, max: self.number("max", bound)? })
            }
            DataType::Decimal128(precision, scale) => {
                let bound = 10f64.powi(i32::from(*precision) - i32::from(*scale)) - 1.0;
                let (min, max) = (self.number("min", -bound)?, self.number("max", bound)?);
                Ok(Values::Decimals { min, max, scale: i32::from(*scale) })
            }
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::BinaryView => {
                let varies = self.text("var-len").and_then(bool::parse).unwrap_or(false);
                Ok(Values::Texts { length: self.number("length", LENGTH)?, varies })
            }
            DataType::Timestamp(..) => {
                let past = self.text("max-past").and_then(std::time::Duration::parse);
                Ok(Values::Times { past_ms: past.map_or(PAST_MS, |past| past.as_millis() as u64 + 1) })
            }
            DataType::Date32 => Ok(Values::Days),
            other => Err(Error::Unsupported(format!(
                "connector `datagen` cannot make values for column `{}` of type {}",
                self.name,
                crate::format::schema::type_text(other)
            ))),
        }
    }
}
