//! Decimals from text, and whether a decimal fits its type.

/// Whether a decimal has at most so many digits.
pub fn fits(value: i128, precision: u8) -> bool {
    value.unsigned_abs() < 10_u128.pow(u32::from(precision.min(38)))
}

/// Reads a decimal as Java's `BigDecimal` does, rounded half up to `scale`; nothing if it is malformed or has too many digits.
pub fn parse_decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let text = text.trim();
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // Digits kept: all up to the one of 10^-scale.
    let kept = i64::try_from(whole.len()).ok()? + i64::from(exponent) + i64::from(scale);
    let mut value: i128 = 0;
    let mut seen = 0;
    let mut round_up = false;
    for digit in whole.bytes().chain(fraction.bytes()) {
        let digit = i128::from(char::from(digit).to_digit(10)?);
        if seen < kept {
            value = value.checked_mul(10)?.checked_add(digit)?;
        } else if seen == kept {
            round_up = digit >= 5;
        }
        seen += 1;
    }
    let missing = u32::try_from((kept - seen).max(0)).ok()?;
    if value != 0 {
        value = value.checked_mul(10_i128.checked_pow(missing)?)?;
    }
    value += i128::from(round_up);
    fits(value, precision).then_some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_half_up_and_refuses_what_does_not_fit() {
        let cases = [
            ("1.555", Some(156)),
            ("-1.555", Some(-156)),
            (" 1.5 ", Some(150)),
            ("1e2", Some(10_000)),
            ("1.5e-2", Some(2)),
            ("999.994", Some(99_999)),
            ("999.995", None),
            (".5", Some(50)),
            ("12345.6", None),
            ("abc", None),
            ("", None),
            ("1.2.3", None),
            ("0e99", Some(0)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_decimal(text, 5, 2), expected, "{text}");
        }
    }
}
