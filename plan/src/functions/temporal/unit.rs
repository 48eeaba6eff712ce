//! Units of time by their SQL names.

use datafusion::common::{Result, exec_err};

/// A unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Millennium,
    Century,
    Decade,
    Year,
    IsoYear,
    Quarter,
    Month,
    Week,
    Day,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
    Epoch,
}

impl Unit {
    /// The unit of a name: `DAY`, `days`, `SQL_TSI_DAY`.
    pub fn named(name: &str) -> Result<Unit> {
        let upper = name.to_ascii_uppercase();
        let upper = upper.strip_prefix("SQL_TSI_").unwrap_or(&upper);
        Ok(match upper {
            "MILLENNIUM" | "MILLENIUM" => Unit::Millennium,
            "CENTURY" => Unit::Century,
            "DECADE" => Unit::Decade,
            "YEAR" | "YEARS" => Unit::Year,
            "ISOYEAR" => Unit::IsoYear,
            "QUARTER" | "QUARTERS" => Unit::Quarter,
            "MONTH" | "MONTHS" => Unit::Month,
            "WEEK" | "WEEKS" => Unit::Week,
            "DAY" | "DAYS" => Unit::Day,
            "DOW" | "DAYOFWEEK" => Unit::DayOfWeek,
            "ISODOW" => Unit::IsoDayOfWeek,
            "DOY" | "DAYOFYEAR" => Unit::DayOfYear,
            "HOUR" | "HOURS" => Unit::Hour,
            "MINUTE" | "MINUTES" => Unit::Minute,
            "SECOND" | "SECONDS" => Unit::Second,
            "MILLISECOND" | "MILLISECONDS" => Unit::Millisecond,
            "MICROSECOND" | "MICROSECONDS" | "FRAC_SECOND" => Unit::Microsecond,
            "NANOSECOND" | "NANOSECONDS" => Unit::Nanosecond,
            "EPOCH" => Unit::Epoch,
            _ => {
                return exec_err!(
                    "`{name}` is no unit of time; common ones are SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, YEAR"
                );
            }
        })
    }

    /// How long it is, if always the same.
    pub fn nanos(self) -> Option<i64> {
        Some(match self {
            Unit::Week => 7 * 86_400_000_000_000,
            Unit::Day => 86_400_000_000_000,
            Unit::Hour => 3_600_000_000_000,
            Unit::Minute => 60_000_000_000,
            Unit::Second => 1_000_000_000,
            Unit::Millisecond => 1_000_000,
            Unit::Microsecond => 1_000,
            Unit::Nanosecond => 1,
            _ => return None,
        })
    }

    /// How many months it is, if it is a number of months.
    pub fn months(self) -> Option<i32> {
        Some(match self {
            Unit::Month => 1,
            Unit::Quarter => 3,
            Unit::Year => 12,
            Unit::Decade => 120,
            Unit::Century => 1_200,
            Unit::Millennium => 12_000,
            _ => return None,
        })
    }
}
