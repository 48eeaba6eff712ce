//! Java's patterns for dates and times (`yyyy-MM-dd HH:mm:ss.SSS`): writing and reading by them, in English.
//!
//! Letters as in `java.time.format.DateTimeFormatter`. Reading takes a number with fewer digits than letters, too, as
//! `SimpleDateFormat` does, unless another number follows without a gap.

use std::fmt::Write;

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use datafusion::common::{Result, exec_err};

use crate::functions::{
    argument::Text,
    zone::{Zone, parse_offset},
};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A pattern, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Item>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Literal(String),
    /// A letter, so many times.
    Field(char, usize),
}

/// What was read by a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// What the clock shows.
    pub local: NaiveDateTime,
    offset: Option<i32>,
}

impl Parsed {
    /// A time without an offset of its own.
    pub fn local(local: NaiveDateTime) -> Self {
        Self { local, offset: None }
    }

    /// The instant in UTC: by its own offset, or else in the zone.
    pub fn instant(&self, zone: Zone) -> NaiveDateTime {
        match self.offset {
            Some(seconds) => self.local - TimeDelta::seconds(seconds.into()),
            None => zone.instant(self.local),
        }
    }
}

/// The patterns of a column, which is nearly always a constant.
#[derive(Debug)]
pub struct Patterns<'a> {
    sources: Text<'a>,
    known: Option<(&'a str, Pattern)>,
}

impl<'a> Patterns<'a> {
    /// Patterns by row.
    pub fn new(sources: Text<'a>) -> Self {
        Self { sources, known: None }
    }

    /// The pattern of a row.
    pub fn get(&mut self, row: usize) -> Result<Option<&Pattern>> {
        let Some(source) = self.sources.get(row) else { return Ok(None) };
        if self.known.as_ref().is_none_or(|(known, _)| *known != source) {
            self.known = Some((source, Pattern::parse(source)?));
        }
        Ok(self.known.as_ref().map(|(_, pattern)| pattern))
    }
}

impl Pattern {
    /// Takes a pattern apart.
    pub fn parse(source: &str) -> Result<Pattern> {
        let mut items = vec![];
        let mut rest = source.chars().peekable();
        while let Some(character) = rest.next() {
            match character {
                '\'' => literal(quoted(&mut rest), &mut items),
                'a'..='z' | 'A'..='Z' => {
                    if !"yuYMLdDEecaHkKhmsSAnNzZXxOVQqwWFG".contains(character) {
                        return exec_err!("unknown letter `{character}` in the date pattern '{source}'");
                    }
                    let mut count = 1;
                    while rest.next_if_eq(&character).is_some() {
                        count += 1;
                    }
                    items.push(Item::Field(character, count));
                }
                '[' | ']' => {}
                _ => literal(character.to_string(), &mut items),
            }
        }
        Ok(Pattern(items))
    }

    /// Appends a moment, written by the pattern. The zone is for the letters that show one.
    pub fn format(&self, moment: NaiveDateTime, zone: Option<Zone>, out: &mut String) -> Result<()> {
        for item in &self.0 {
            match item {
                Item::Literal(text) => out.push_str(text),
                Item::Field(letter, count) => write_field(*letter, *count, moment, zone, out)?,
            }
        }
        Ok(())
    }

    /// Reads text by the pattern; nothing if it does not fit.
    pub fn parse_text(&self, text: &str) -> Option<Parsed> {
        let mut reader = Reader { rest: text, fields: Fields::default() };
        for (index, item) in self.0.iter().enumerate() {
            match item {
                Item::Literal(literal) => reader.rest = reader.rest.strip_prefix(literal.as_str())?,
                Item::Field(letter, count) => {
                    let adjacent = matches!(self.0.get(index + 1), Some(Item::Field(next, count)) if is_numeric(*next, *count));
                    reader.read(*letter, *count, adjacent)?;
                }
            }
        }
        reader.fields.resolve()
    }
}

/// What is between quotes; a doubled quote is one.
fn quoted(rest: &mut std::iter::Peekable<std::str::Chars>) -> String {
    if rest.next_if_eq(&'\'').is_some() {
        return "'".to_owned();
    }
    let mut text = String::new();
    while let Some(character) = rest.next() {
        if character == '\'' && rest.next_if_eq(&'\'').is_none() {
            break;
        }
        text.push(character);
    }
    text
}

fn literal(text: String, items: &mut Vec<Item>) {
    match items.last_mut() {
        Some(Item::Literal(last)) => last.push_str(&text),
        _ => items.push(Item::Literal(text)),
    }
}

fn write_field(
    letter: char,
    count: usize,
    moment: NaiveDateTime,
    zone: Option<Zone>,
    out: &mut String,
) -> Result<()> {
    let weekday = moment.weekday().num_days_from_monday() as usize;
    let number: i64 = match letter {
        'y' | 'u' | 'Y' => {
            let year = if letter == 'Y' { week_year(moment) } else { moment.year() };
            return write_year(year, count, out);
        }
        'M' | 'L' if count >= 3 => return write_name(MONTHS[moment.month0() as usize], count, out),
        'E' | 'e' | 'c' if count >= 3 || letter == 'E' => {
            return write_name(WEEKDAYS[weekday], count.max(3), out);
        }
        'a' => return push(if moment.hour() < 12 { "AM" } else { "PM" }, out),
        'G' => return push("AD", out),
        'Q' | 'q' if count >= 3 => return push(&format!("Q{}", moment.month0() / 3 + 1), out),
        'S' => {
            let digits = format!("{:09}", moment.nanosecond());
            return push(&format!("{digits:0<count$}")[..count], out);
        }
        'z' | 'Z' | 'X' | 'x' | 'O' | 'V' => return write_zone(letter, count, moment, zone, out),
        'M' | 'L' => moment.month().into(),
        'd' => moment.day().into(),
        'D' => moment.ordinal().into(),
        'e' | 'c' => moment.weekday().number_from_sunday().into(),
        'H' => moment.hour().into(),
        'k' => (if moment.hour() == 0 { 24 } else { moment.hour() }).into(),
        'K' => (moment.hour() % 12).into(),
        'h' => moment.hour12().1.into(),
        'm' => moment.minute().into(),
        's' => moment.second().into(),
        'A' => {
            i64::from(moment.num_seconds_from_midnight()) * 1000 + i64::from(moment.nanosecond()) / 1_000_000
        }
        'n' => moment.nanosecond().into(),
        'N' => i64::from(moment.num_seconds_from_midnight()) * 1_000_000_000 + i64::from(moment.nanosecond()),
        'Q' | 'q' => (moment.month0() / 3 + 1).into(),
        'w' => week_of_year(moment).into(),
        'W' => week_of_month(moment).into(),
        'F' => ((moment.day() - 1) % 7 + 1).into(),
        _ => return exec_err!("the date pattern's letter `{letter}` cannot be written"),
    };
    let _ = write!(out, "{number:0count$}");
    Ok(())
}

fn push(text: &str, out: &mut String) -> Result<()> {
    out.push_str(text);
    Ok(())
}

fn write_year(year: i32, count: usize, out: &mut String) -> Result<()> {
    let _ = match count {
        2 => write!(out, "{:02}", year.rem_euclid(100)),
        _ => write!(out, "{year:0count$}"),
    };
    Ok(())
}

fn write_name(name: &str, count: usize, out: &mut String) -> Result<()> {
    push(
        match count {
            3 => &name[..3],
            4 => name,
            _ => &name[..1],
        },
        out,
    )
}

fn write_zone(
    letter: char,
    count: usize,
    local: NaiveDateTime,
    zone: Option<Zone>,
    out: &mut String,
) -> Result<()> {
    let Some(zone) = zone else {
        return exec_err!("a timestamp without a zone has nothing for `{letter}` in a date pattern");
    };
    let instant = zone.instant(local);
    if letter == 'z' || letter == 'V' {
        return push(&zone.abbreviation(instant), out);
    }
    let seconds = zone.offset_at(instant);
    if letter == 'X' && seconds == 0 {
        return push("Z", out);
    }
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs() / 60);
    let colon = if (letter != 'Z' && count == 3) || letter == 'O' { ":" } else { "" };
    let _ = write!(out, "{sign}{:02}", minutes / 60);
    if letter == 'Z' || count > 1 || minutes % 60 != 0 {
        let _ = write!(out, "{colon}{:02}", minutes % 60);
    }
    Ok(())
}

/// Weeks of the United States: from Sunday, and the first has January 1st.
fn week_of_year(moment: NaiveDateTime) -> u32 {
    if week_year(moment) != moment.year() {
        return 1;
    }
    week_from(moment.ordinal0(), moment)
}

fn week_of_month(moment: NaiveDateTime) -> u32 {
    week_from(moment.day0(), moment)
}

fn week_from(days: u32, moment: NaiveDateTime) -> u32 {
    let today = moment.weekday().num_days_from_sunday();
    let first = (today + 7 * 60 - days) % 7;
    (days + first) / 7 + 1
}

/// The year that the week belongs to.
fn week_year(moment: NaiveDateTime) -> i32 {
    let saturday = moment.date() + TimeDelta::days(6 - i64::from(moment.weekday().num_days_from_sunday()));
    saturday.year()
}

fn is_numeric(letter: char, count: usize) -> bool {
    match letter {
        'M' | 'L' | 'Q' | 'q' => count < 3,
        _ => "yuYdDHkKhmsSAnNwWF".contains(letter),
    }
}

struct Reader<'a> {
    rest: &'a str,
    fields: Fields,
}

#[derive(Default)]
struct Fields {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    day_of_year: Option<u32>,
    hour: Option<u32>,
    half_day_hour: Option<u32>,
    afternoon: Option<bool>,
    minute: u32,
    second: u32,
    nano: u32,
    offset: Option<i32>,
}

impl Reader<'_> {
    fn read(&mut self, letter: char, count: usize, adjacent: bool) -> Option<()> {
        let fields = &mut self.fields;
        match letter {
            'M' | 'L' if count >= 3 => fields.month = Some(name(&mut self.rest, &MONTHS, count)? + 1),
            'E' | 'e' | 'c' => name(&mut self.rest, &WEEKDAYS, count.max(3)).map(|_| ())?,
            'a' => fields.afternoon = Some(name(&mut self.rest, &["AM", "PM"], 4)? == 1),
            'G' => name(&mut self.rest, &["BC", "AD"], 4).map(|_| ())?,
            'X' | 'x' | 'Z' | 'z' | 'V' | 'O' => fields.offset = Some(offset(&mut self.rest)?),
            'S' => {
                let digits = take_digits(&mut self.rest, if adjacent { count } else { 9 })?;
                fields.nano = digits.parse::<u32>().ok()? * 10_u32.pow(9 - digits.len() as u32);
            }
            _ => {
                let widest = if adjacent { count } else { 9 };
                let digits = take_digits(&mut self.rest, widest)?;
                if (adjacent && digits.len() != count)
                    || digits.len() > count.max(2).max(if count >= 3 { 4 } else { 2 }) && count != 1
                {
                    return None;
                }
                fields.set(letter, count, digits.parse().ok()?)?;
            }
        }
        Some(())
    }
}

impl Fields {
    fn set(&mut self, letter: char, count: usize, number: u32) -> Option<()> {
        match letter {
            'y' | 'u' | 'Y' => self.year = Some(number as i32 + if count == 2 { 2000 } else { 0 }),
            'M' | 'L' => self.month = Some(number),
            'd' => self.day = Some(number),
            'D' => self.day_of_year = Some(number),
            'H' => self.hour = Some(number),
            'k' => self.hour = Some(number % 24),
            'K' => self.half_day_hour = Some(number),
            'h' => self.half_day_hour = Some(number % 12),
            'm' => self.minute = number,
            's' => self.second = number,
            'n' => self.nano = number,
            'w' | 'W' | 'F' | 'Q' | 'q' => {}
            _ => return None,
        }
        Some(())
    }

    fn resolve(self) -> Option<Parsed> {
        let year = self.year.unwrap_or(1970);
        let date = match self.day_of_year {
            Some(day) => NaiveDate::from_yo_opt(year, day)?,
            None => NaiveDate::from_ymd_opt(year, self.month.unwrap_or(1), self.day.unwrap_or(1))?,
        };
        let afternoon = if self.afternoon == Some(true) { 12 } else { 0 };
        let hour = self.hour.or(self.half_day_hour.map(|hour| hour + afternoon)).unwrap_or(0);
        let time = NaiveTime::from_hms_nano_opt(hour, self.minute, self.second, self.nano)?;
        Some(Parsed { local: date.and_time(time), offset: self.offset })
    }
}

fn take_digits<'a>(rest: &mut &'a str, most: usize) -> Option<&'a str> {
    let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (digits, left) = rest.split_at(count);
    *rest = left;
    (count > 0).then_some(digits)
}

/// Takes one of the names, or its first three letters, in any case.
fn name(rest: &mut &str, names: &[&str], count: usize) -> Option<u32> {
    let index = names.iter().position(|name| {
        let name = if count == 3 { &name[..3] } else { name };
        rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
    })?;
    *rest = &rest[if count == 3 { 3 } else { names[index].len() }..];
    Some(index as u32)
}

fn offset(rest: &mut &str) -> Option<i32> {
    if let Some(left) = rest.strip_prefix(['Z', 'z']) {
        *rest = left;
        return Some(0);
    }
    let end = rest.find(' ').unwrap_or(rest.len());
    let (zone, left) = rest.split_at(end);
    *rest = left;
    match parse_offset(zone) {
        Some(offset) => Some(offset.local_minus_utc()),
        None => Zone::named(zone).map(|zone| zone.offset_at(NaiveDateTime::default())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment(text: &str) -> NaiveDateTime {
        text.parse().expect("a timestamp")
    }

    #[test]
    fn writes_every_letter() {
        let mut out = String::new();
        let pattern =
            Pattern::parse("K k h D w W F e Q QQQ G YYYY EEE EEEE MMM 'o''clock' S").expect("a pattern");
        pattern.format(moment("2020-05-07T00:08:07.123"), None, &mut out).expect("all letters");
        assert_eq!(out, "0 24 12 128 19 2 7 5 2 Q2 AD 2020 Thu Thursday May o'clock 1");
    }

    #[test]
    fn an_unknown_letter_is_refused() {
        assert!(Pattern::parse("bad").is_err());
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(seconds in -60_000_000_000_i64..200_000_000_000, millis in 0_u32..1000) {
            let moment = chrono::DateTime::from_timestamp(seconds, millis * 1_000_000).expect("in range").naive_utc();
            for source in ["yyyy-MM-dd HH:mm:ss.SSS", "yyyyMMddHHmmssSSS", "d MMM yyyy h:m:s.SSS a", "MMMM dd yyyy D KK:mm:ss.SSS a"] {
                let pattern = Pattern::parse(source).expect("a pattern");
                let mut text = String::new();
                pattern.format(moment, None, &mut text).expect("written");
                prop_assert_eq!(pattern.parse_text(&text), Some(Parsed::local(moment)), "{}: {}", source, text);
            }
        }
    }
}
