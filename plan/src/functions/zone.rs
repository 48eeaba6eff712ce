//! Time zones by the names that Java knows: region names, offsets (`+08:00`, `GMT-08:00`, `UTC+8`) and the old short ids.

use chrono::{DateTime, FixedOffset, LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use datafusion::common::config::ConfigOptions;

/// A time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// The same distance from UTC at all times.
    Fixed(FixedOffset),
    /// With the rules of a region.
    Region(Tz),
}

/// Java's short ids that are no region names, or mean another one.
const SHORT_IDS: [(&str, &str); 27] = [
    ("ACT", "Australia/Darwin"),
    ("AET", "Australia/Sydney"),
    ("AGT", "America/Argentina/Buenos_Aires"),
    ("ART", "Africa/Cairo"),
    ("AST", "America/Anchorage"),
    ("BET", "America/Sao_Paulo"),
    ("BST", "Asia/Dhaka"),
    ("CAT", "Africa/Harare"),
    ("CNT", "America/St_Johns"),
    ("CST", "America/Chicago"),
    ("CTT", "Asia/Shanghai"),
    ("EAT", "Africa/Addis_Ababa"),
    ("ECT", "Europe/Paris"),
    ("EST", "-05:00"),
    ("HST", "-10:00"),
    ("IET", "America/Indiana/Indianapolis"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("MIT", "Pacific/Apia"),
    ("MST", "-07:00"),
    ("NET", "Asia/Yerevan"),
    ("NST", "Pacific/Auckland"),
    ("PLT", "Asia/Karachi"),
    ("PNT", "America/Phoenix"),
    ("PRT", "America/Puerto_Rico"),
    ("PST", "America/Los_Angeles"),
    ("SST", "Pacific/Guadalcanal"),
];

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Zone = Zone::Region(Tz::UTC);

    /// The zone of a name.
    pub fn named(name: &str) -> Option<Zone> {
        let name = SHORT_IDS.iter().find(|(short, _)| *short == name).map_or(name, |(_, long)| long);
        if name == "Z" {
            return Some(Zone::UTC);
        }
        if let Ok(region) = name.parse::<Tz>() {
            return Some(Zone::Region(region));
        }
        let offset = ["GMT", "UTC", "UT"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        parse_offset(offset).map(Zone::Fixed)
    }

    /// The session's zone, `table.local-time-zone`.
    pub fn of_session(config: &ConfigOptions) -> Zone {
        config.execution.time_zone.as_deref().and_then(Zone::named).unwrap_or(Zone::UTC)
    }

    /// What the clocks of the zone show at an instant (given in UTC).
    pub fn local(self, instant: NaiveDateTime) -> NaiveDateTime {
        instant + TimeDelta::seconds(self.offset_at(instant).into())
    }

    /// The same in milliseconds since 1970.
    pub fn local_ms(self, utc_ms: i64) -> i64 {
        let instant = DateTime::from_timestamp_millis(utc_ms).map(|instant| instant.naive_utc());
        instant.map_or(utc_ms, |instant| utc_ms + i64::from(self.offset_at(instant)) * 1000)
    }

    /// The instant (in UTC) at which the clocks of the zone show this: the earlier of two; in a gap as if it had not begun.
    pub fn instant(self, local: NaiveDateTime) -> NaiveDateTime {
        let Zone::Region(region) = self else {
            return local - TimeDelta::seconds(self.offset_at(local).into());
        };
        match region.from_local_datetime(&local) {
            LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => instant.naive_utc(),
            LocalResult::None => {
                let before = local - TimeDelta::hours(3);
                local - TimeDelta::seconds(self.offset_at(self.instant(before)).into())
            }
        }
    }

    /// Seconds east of UTC at an instant.
    pub fn offset_at(self, instant: NaiveDateTime) -> i32 {
        match self {
            Zone::Fixed(offset) => offset.local_minus_utc(),
            Zone::Region(Tz::UTC) => 0,
            Zone::Region(region) => region.offset_from_utc_datetime(&instant).fix().local_minus_utc(),
        }
    }

    /// The zone's short name at an instant, for `z` in a pattern.
    pub fn abbreviation(self, instant: NaiveDateTime) -> String {
        let instant: DateTime<Utc> = instant.and_utc();
        match self {
            Zone::Fixed(offset) => instant.with_timezone(&offset).format("GMT%:z").to_string(),
            Zone::Region(region) => instant.with_timezone(&region).format("%Z").to_string(),
        }
    }
}

/// `+8`, `+08`, `+0800`, `+08:00`
pub fn parse_offset(text: &str) -> Option<FixedOffset> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() > 2 && digits.is_ascii() => digits.split_at(digits.len() - 2),
        None => (digits, "0"),
    };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let valid = (0..=18).contains(&hours) && (0..60).contains(&minutes);
    valid.then(|| FixedOffset::east_opt(sign * (hours * 3600 + minutes * 60))).flatten()
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    fn at(hour: u32) -> NaiveDateTime {
        NaiveDate::from_ymd_opt(2021, 7, 1).and_then(|day| day.and_hms_opt(hour, 0, 0)).expect("a valid time")
    }

    #[test]
    fn names_that_java_knows() {
        for (name, hour) in [("PST", 7), ("GMT-08:00", 8), ("-08:00", 8), ("UTC", 0), ("UTC-8", 8)] {
            assert_eq!(Zone::named(name).map(|zone| zone.instant(at(0))), Some(at(hour)), "{name}");
        }
        assert_eq!(Zone::named("Nope/Zone"), None);
    }

    #[test]
    fn a_time_that_is_skipped_is_taken_before_the_skip() {
        let skipped =
            NaiveDate::from_ymd_opt(2021, 3, 14).and_then(|day| day.and_hms_opt(2, 30, 0)).expect("a time");
        let zone = Zone::named("America/Los_Angeles").expect("a zone");
        assert_eq!(zone.local(zone.instant(skipped)).to_string(), "2021-03-14 03:30:00");
    }
}
