//! `PRINTF`, with the conversions of Java's `Formatter` that make sense for SQL values: `%s %d %x %X %o %f %e %c %b %%`, with
//! flags, width and precision.

use std::fmt::Write;

use arrow::{
    array::{Array, ArrayRef},
    datatypes::DataType,
};
use datafusion::common::{
    Result,
    cast::{as_float64_array, as_int64_array, as_string_view_array},
};

use crate::functions::argument::{Call, texts};

/// `PRINTF(format, value, ...)`: NULL where the format does not fit the values.
pub fn printf(call: &Call) -> Result<ArrayRef> {
    let format = call.text(0)?;
    let values =
        (1..call.count()).map(|index| Values::of(&call.column(index)?)).collect::<Result<Vec<_>>>()?;
    texts(call.rows, |row, out| {
        let Some(format) = format.get(row) else { return Ok(None) };
        Ok(write_format(format, &values, row, out))
    })
}

/// A column in the three shapes that conversions ask for.
struct Values {
    text: ArrayRef,
    whole: Option<ArrayRef>,
    real: Option<ArrayRef>,
}

impl Values {
    fn of(column: &ArrayRef) -> Result<Self> {
        let given = column.data_type();
        let cast = |to| arrow::compute::cast(column, &to);
        Ok(Values {
            text: cast(DataType::Utf8View)?,
            whole: given.is_integer().then(|| cast(DataType::Int64)).transpose()?,
            real: (given.is_floating() || given.is_decimal()).then(|| cast(DataType::Float64)).transpose()?,
        })
    }

    fn text(&self, row: usize) -> Option<&str> {
        let column = as_string_view_array(&self.text).ok()?;
        Some(if column.is_null(row) { "null" } else { column.value(row) })
    }

    fn is_null(&self, row: usize) -> bool {
        self.text.is_null(row)
    }
}

/// `%[flags][width][.precision]conversion`
#[derive(Default)]
struct Directive {
    left: bool,
    zero: bool,
    plus: bool,
    group: bool,
    width: usize,
    precision: Option<usize>,
}

fn write_format(format: &str, values: &[Values], row: usize, out: &mut String) -> Option<()> {
    let mut rest = format.chars().peekable();
    let mut next = values.iter();
    while let Some(character) = rest.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut directive = Directive::default();
        while let Some(flag) = rest.next_if(|c| matches!(c, '-' | '0' | '+' | ',')) {
            match flag {
                '-' => directive.left = true,
                '0' => directive.zero = true,
                '+' => directive.plus = true,
                _ => directive.group = true,
            }
        }
        while let Some(digit) = rest.next_if(char::is_ascii_digit) {
            directive.width = directive.width * 10 + digit.to_digit(10)? as usize;
        }
        if rest.next_if_eq(&'.').is_some() {
            let mut precision = 0;
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                precision = precision * 10 + digit.to_digit(10)? as usize;
            }
            directive.precision = Some(precision);
        }
        match rest.next()? {
            '%' => out.push('%'),
            'n' => out.push('\n'),
            conversion => directive.write(conversion, next.next()?, row, out)?,
        }
        if out.len() > 1 << 20 {
            return None;
        }
    }
    Some(())
}

impl Directive {
    fn write(&self, conversion: char, value: &Values, row: usize, out: &mut String) -> Option<()> {
        let mut text = String::new();
        let whole = || as_int64_array(value.whole.as_ref()?).ok().map(|column| column.value(row));
        let real = || as_float64_array(value.real.as_ref()?).ok().map(|column| column.value(row));
        match conversion {
            's' | 'S' => text.extend(value.text(row)?.chars().take(self.precision.unwrap_or(usize::MAX))),
            'b' | 'B' => text.push_str(if value.is_null(row) { "false" } else { value.text(row)? }),
            _ if value.is_null(row) => text.push_str("null"),
            'd' => self.write_whole(whole()?, &mut text),
            'x' | 'X' => write!(text, "{:x}", whole()?).ok()?,
            'o' => write!(text, "{:o}", whole()?).ok()?,
            'c' => text.push(char::from_u32(u32::try_from(whole()?).ok()?)?),
            'f' => self.write_signed(
                real()?,
                format!("{:.*}", self.precision.unwrap_or(6), real()?.abs()),
                &mut text,
            ),
            'e' | 'E' => {
                self.write_signed(real()?, scientific(real()?.abs(), self.precision.unwrap_or(6)), &mut text)
            }
            _ => return None,
        }
        if conversion.is_ascii_uppercase() {
            text = text.to_uppercase();
        }
        self.pad(&text, out);
        Some(())
    }

    fn write_whole(&self, value: i64, text: &mut String) {
        let digits = value.unsigned_abs().to_string();
        let sign = if value < 0 {
            "-"
        } else if self.plus {
            "+"
        } else {
            ""
        };
        text.push_str(sign);
        text.push_str(&if self.group { grouped(&digits) } else { digits });
    }

    fn write_signed(&self, value: f64, digits: String, text: &mut String) {
        let sign = if value.is_sign_negative() {
            "-"
        } else if self.plus {
            "+"
        } else {
            ""
        };
        text.push_str(sign);
        match digits.split_once('.') {
            Some((whole, fraction)) if self.group => {
                text.push_str(&grouped(whole));
                text.push('.');
                text.push_str(fraction);
            }
            _ => text.push_str(&digits),
        }
    }

    fn pad(&self, text: &str, out: &mut String) {
        let missing = self.width.saturating_sub(text.chars().count());
        let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
        match (self.left, self.zero) {
            (true, _) => {
                out.push_str(text);
                out.extend(std::iter::repeat_n(' ', missing));
            }
            (false, true) => {
                out.push_str(sign);
                out.extend(std::iter::repeat_n('0', missing));
                out.push_str(digits);
            }
            (false, false) => {
                out.extend(std::iter::repeat_n(' ', missing));
                out.push_str(text);
            }
        }
    }
}

fn grouped(digits: &str) -> String {
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for (index, digit) in digits[first..].chars().enumerate() {
        if index % 3 == 0 && !text.is_empty() {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Java writes at least two digits of exponent, with its sign.
fn scientific(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}
