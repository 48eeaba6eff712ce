//! `INTERVAL '1 02:03' DAY TO MINUTE` and the like, written out as `INTERVAL '1 day 2 hour 3 minute'`.

use sqlparser::ast::{DateTimeField, Interval};

use super::{as_text, text};

/// Units from the largest; `-`, ` `, `:` part them in a literal.
const UNITS: [&str; 6] = ["YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"];

/// Rewrites an interval that names two units or a precision; leaves all others, malformed ones included, to the planner.
pub fn rewrite(interval: &mut Interval) {
    interval.leading_precision = None;
    interval.fractional_seconds_precision = None;
    let (Some(first), Some(last)) = (&interval.leading_field, &interval.last_field) else { return };
    let written = as_text(&interval.value).and_then(|value| write_out(value, first, last));
    if let Some(written) = written {
        *interval.value = text(written);
        interval.leading_field = None;
        interval.last_field = None;
    }
}

fn write_out(value: &str, first: &DateTimeField, last: &DateTimeField) -> Option<String> {
    let unit = |field: &DateTimeField| {
        let name = field.to_string().to_ascii_uppercase();
        UNITS.iter().position(|unit| name.trim_end_matches('S') == *unit)
    };
    let (first, last) = (unit(first)?, unit(last)?);
    let value = value.trim();
    let (sign, value) = match value.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", value.trim_start_matches('+')),
    };
    let parts: Vec<&str> = value.split(['-', ' ', ':']).collect();
    let units = UNITS.get(first..=last)?;
    if parts.len() != units.len() || parts.iter().any(|part| part.parse::<f64>().is_err()) {
        return None;
    }
    let written: Vec<String> =
        parts.iter().zip(units).map(|(part, unit)| format!("{sign}{part} {unit}")).collect();
    Some(written.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_out_unit_by_unit() {
        let day_to_second = write_out("1 02:03:04.5", &DateTimeField::Day, &DateTimeField::Second);
        assert_eq!(day_to_second.as_deref(), Some("1 DAY 02 HOUR 03 MINUTE 04.5 SECOND"));
        let negative = write_out("-1-2", &DateTimeField::Year, &DateTimeField::Month);
        assert_eq!(negative.as_deref(), Some("-1 YEAR -2 MONTH"));
        assert_eq!(write_out("1:2", &DateTimeField::Day, &DateTimeField::Second), None);
    }
}
