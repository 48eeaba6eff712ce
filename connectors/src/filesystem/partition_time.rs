//! The time that a partition stands for, by the values of its columns: `day=2026-01-31/hour=07`.

use chrono::{
    NaiveDateTime,
    format::{Parsed, StrftimeItems, parse},
};
use thalweg_graph::table::TableDescriptor;

use super::partition;
use crate::{
    error::{Error, Result},
    options::TableOptions,
};

const PATTERN: &str = "partition.time-extractor.timestamp-pattern";
const FORMATTER: &str = "partition.time-extractor.timestamp-formatter";

/// How the time of a partition is taken from its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionTime {
    /// Such as `$day $hour:00:00`; `None` for the first column's value.
    pattern: Option<String>,
    /// In chrono's words; `None` for a date, or a date and a time.
    format: Option<String>,
    keys: Vec<String>,
    default_name: String,
}

impl PartitionTime {
    /// Of a table whose partitions are committed by their time.
    pub fn of(table: &TableDescriptor, given: TableOptions<'_>, default_name: &str) -> Result<Self> {
        let keys = table.partition_keys.clone();
        if keys.is_empty() {
            return Err(Error::Invalid(
                "`sink.partition-commit.trigger` = `partition-time` needs a table that is PARTITIONED BY"
                    .to_owned(),
            ));
        }
        let pattern = given.text(PATTERN).map(str::to_owned);
        if let Some(name) = pattern.as_deref().and_then(|pattern| unknown_column(pattern, &keys)) {
            return Err(Error::InvalidOption(format!(
                "option `{PATTERN}` names `${name}`, and the table is partitioned by `{}`",
                keys.join("`, `")
            )));
        }
        let format = given.text(FORMATTER).map(chrono_format).transpose()?;
        Ok(Self { pattern, format, keys, default_name: default_name.to_owned() })
    }

    /// In milliseconds since 1970, as the timestamps of rows count them; none where a column is NULL.
    pub fn of_folder(&self, folder: &str) -> Result<Option<i64>> {
        let file = format!("{folder}/file");
        let values = partition::values_in_path(&file, &self.keys, &self.default_name)?;
        let Some(values) = values.into_iter().collect::<Option<Vec<String>>>() else { return Ok(None) };
        let text = match &self.pattern {
            None => values.first().cloned().unwrap_or_default(),
            Some(pattern) => {
                // The longest name first: `$day_of_year` is not `$day`.
                let mut named: Vec<_> = self.keys.iter().zip(&values).collect();
                named.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
                named
                    .iter()
                    .fold(pattern.clone(), |text, (key, value)| text.replace(&format!("${key}"), value))
            }
        };
        match self.parse(&text) {
            Some(time) => Ok(Some(time.and_utc().timestamp_millis())),
            None => Err(Error::Invalid(format!(
                "the partition `{folder}` stands for `{text}`, which is no time like `2026-01-31 07:00:00` or `2026-01-31`; say how its \
                 columns make one by `{PATTERN}`, such as `$day $hour:00:00`, and how that is written by `{FORMATTER}`"
            ))),
        }
    }

    fn parse(&self, text: &str) -> Option<NaiveDateTime> {
        match &self.format {
            Some(format) => parse_with(text, format),
            None => parse_with(text, "%Y-%m-%d %H:%M:%S%.f").or_else(|| parse_with(text, "%Y-%m-%d")),
        }
    }
}

/// A time by a format in chrono's words; hour, minute and second that it does not have are zero.
fn parse_with(text: &str, format: &str) -> Option<NaiveDateTime> {
    let mut parsed = Parsed::new();
    parse(&mut parsed, text, StrftimeItems::new(format)).ok()?;
    let date = parsed.to_naive_date().ok()?;
    // Fails, and changes nothing, where there is another one.
    let _ = parsed.set_minute(0);
    if parsed.hour_mod_12().is_none() {
        parsed.set_hour(0).ok()?;
    }
    Some(date.and_time(parsed.to_naive_time().ok()?))
}

/// The first name behind a `$` that begins with no partition column.
fn unknown_column(pattern: &str, keys: &[String]) -> Option<String> {
    let unknown = |rest: &&str| !keys.iter().any(|key| rest.starts_with(key.as_str()));
    let rest = pattern.split('$').skip(1).find(unknown)?;
    Some(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
}

/// A pattern of Java's `DateTimeFormatter` in chrono's words.
fn chrono_format(java: &str) -> Result<String> {
    let mut format = String::new();
    let mut rest = java;
    while let Some(first) = rest.chars().next() {
        let run = rest.chars().take_while(|c| *c == first).count() * first.len_utf8();
        if first == '\'' {
            let Some(end) = rest[1..].find('\'') else {
                return Err(unknown_format(java, "a quote is not closed"));
            };
            format.push_str(&rest[1..=end].replace('%', "%%"));
            rest = &rest[end + 2..];
            continue;
        }
        format.push_str(match first {
            'y' | 'u' if run == 4 => "%Y",
            'M' if run <= 2 => "%m",
            'd' if run <= 2 => "%d",
            'H' if run <= 2 => "%H",
            'm' if run <= 2 => "%M",
            's' if run <= 2 => "%S",
            'S' if run == 3 => "%3f",
            '%' => "%%",
            letter if letter.is_ascii_alphabetic() => return Err(unknown_format(java, &rest[..run])),
            _ => &rest[..run],
        });
        rest = &rest[run..];
    }
    Ok(format)
}

fn unknown_format(java: &str, what: &str) -> Error {
    Error::InvalidOption(format!(
        "option `{FORMATTER}` cannot be `{java}`: `{what}`; there are `yyyy`, `MM`, `dd`, `HH`, `mm`, `ss`, `SSS` and text in quotes"
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use thalweg_graph::table::TablePath;

    use super::*;

    fn time_of(keys: &[&str], options: &[(&str, &str)], folder: &str) -> Result<Option<i64>> {
        let text = |text: &&str| (*text).to_owned();
        let table = TableDescriptor {
            path: TablePath { catalog: "c".to_owned(), database: "d".to_owned(), table: "t".to_owned() },
            columns: Vec::new(),
            metadata: Vec::new(),
            partition_keys: keys.iter().map(text).collect(),
            primary_key: Vec::new(),
            options: BTreeMap::new(),
        };
        let options = options.iter().map(|(key, value)| (text(key), text(value))).collect();
        PartitionTime::of(&table, TableOptions(&options), "none")?.of_folder(folder)
    }

    /// 2026-01-31 00:00:00 UTC, by `date -d`.
    const DAY: i64 = 1_769_817_600_000;
    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_partition_stands_for_a_time() {
        assert_eq!(time_of(&["day"], &[], "day=2026-01-31").unwrap(), Some(DAY));
        assert_eq!(
            time_of(&["at", "k"], &[], "at=2026-01-31 07%3A00%3A00/k=x").unwrap(),
            Some(DAY + 7 * HOUR)
        );
        let pattern = [(PATTERN, "$day $hour:00:00")];
        assert_eq!(
            time_of(&["day", "hour"], &pattern, "day=2026-01-31/hour=7").unwrap(),
            Some(DAY + 7 * HOUR)
        );
        let formatted = [(PATTERN, "$day $hour"), (FORMATTER, "yyyyMMdd HH")];
        let seven = Some(DAY + 7 * HOUR);
        assert_eq!(time_of(&["day", "hour"], &formatted, "day=20260131/hour=07").unwrap(), seven);
        let formatted = [(PATTERN, "$day $hour:00"), (FORMATTER, "yyyyMMdd HH:mm")];
        assert_eq!(
            time_of(&["day", "hour"], &formatted, "day=20260131/hour=07").unwrap(),
            Some(DAY + 7 * HOUR)
        );
        assert_eq!(time_of(&["day"], &[(FORMATTER, "yyyyMMdd")], "day=20260131").unwrap(), Some(DAY));
        assert_eq!(time_of(&["day"], &[], "day=none").unwrap(), None, "NULL stands for no time");
    }

    #[test]
    fn what_is_no_time_is_told_with_what_to_do() {
        let error = time_of(&["day"], &[], "day=monday").unwrap_err().to_string();
        assert!(error.contains("`day=monday`") && error.contains(PATTERN), "{error}");
        let error = time_of(&["day"], &[(PATTERN, "$dya")], "day=2026-01-31").unwrap_err().to_string();
        assert!(error.contains("`$dya`") && error.contains("`day`"), "{error}");
        let error = time_of(&["day"], &[(FORMATTER, "EEE")], "day=2026-01-31").unwrap_err().to_string();
        assert!(error.contains("`EEE`"), "{error}");
        assert!(time_of(&[], &[], "").is_err(), "a table without partitions");
    }
}
