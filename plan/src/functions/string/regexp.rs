//! Regular expressions. Flink's are Java's; ours have the same syntax for all that is common, look-around and back references
//! included.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, ListBuilder, StringViewBuilder},
    datatypes::Int32Type,
};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err};
use fancy_regex::Regex;

use super::split::text_item;
use crate::functions::argument::{Call, Text, booleans, numbers, slices, texts};

/// `REGEXP_REPLACE(string, regex, replacement)`: NULL if the expression is malformed.
pub fn replace(call: &Call) -> Result<ArrayRef> {
    let (text, replacement) = (call.text(0)?, call.text(2)?);
    let mut patterns = Patterns::new(call.text(1)?);
    texts(call.rows, |row, out| {
        let (Some(text), Some(replacement)) = (text.get(row), replacement.get(row)) else { return Ok(None) };
        let Some(regex) = patterns.get(row) else { return Ok(None) };
        let mut copied = 0;
        for found in regex.find_iter(text) {
            let found = found.map_err(failed)?;
            out.push_str(&text[copied..found.start()]);
            out.push_str(replacement);
            copied = found.end();
        }
        out.push_str(&text[copied..]);
        Ok(Some(()))
    })
}

/// `REGEXP_EXTRACT(string, regex [, group])`
pub fn extract(call: &Call) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let group = call.has(2).then(|| call.integers(2)).transpose()?;
    let mut patterns = Patterns::new(call.text(1)?);
    slices(call.rows, |row| {
        let group = group.as_ref().map_or(Some(0), |group| group.get(row));
        let (Some(text), Some(group)) = (text.get(row), group) else { return Ok(None) };
        let (Some(regex), Ok(group)) = (patterns.get(row), usize::try_from(group)) else { return Ok(None) };
        let captures = regex.captures(text).map_err(failed)?;
        Ok(captures.and_then(|captures| captures.get(group)).map(|found| found.as_str()))
    })
}

/// `REGEXP_EXTRACT_ALL(string, regex [, group])`: NULL if there is no such group.
pub fn extract_all(call: &Call) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let group = call.has(2).then(|| call.integers(2)).transpose()?;
    let mut patterns = Patterns::new(call.text(1)?);
    let mut lists = ListBuilder::new(StringViewBuilder::new()).with_field(text_item());
    for row in 0..call.rows {
        let group = group.as_ref().map_or(Some(1), |group| group.get(row));
        let group = group.and_then(|group| usize::try_from(group).ok());
        let found = match (text.get(row), patterns.get(row), group) {
            (Some(text), Some(regex), Some(group)) if group < regex.captures_len() => {
                Some((text, regex, group))
            }
            _ => None,
        };
        if let Some((text, regex, group)) = found {
            for captures in regex.captures_iter(text) {
                let captures = captures.map_err(failed)?;
                lists.values().append_option(captures.get(group).map(|found| found.as_str()));
            }
        }
        lists.append(found.is_some());
    }
    Ok(Arc::new(lists.finish()))
}

/// `REGEXP(string, regex)`: an empty or malformed expression matches nothing.
pub fn matches(call: &Call) -> Result<ArrayRef> {
    let (text, pattern) = (call.text(0)?, call.text(1)?);
    let mut patterns = Patterns::new(pattern);
    booleans(call.rows, |row| {
        let (Some(text), Some(source)) = (text.get(row), pattern.get(row)) else { return Ok(None) };
        match patterns.get(row).filter(|_| !source.is_empty()) {
            Some(regex) => regex.is_match(text).map(Some).map_err(failed),
            None => Ok(Some(false)),
        }
    })
}

/// `REGEXP_COUNT(string, regex)`
pub fn count(call: &Call) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let mut patterns = Patterns::new(call.text(1)?);
    numbers::<Int32Type>(call.rows, |row| {
        let (Some(text), Some(regex)) = (text.get(row), patterns.get(row)) else { return Ok(None) };
        let count = regex.find_iter(text).try_fold(0, |count, found| found.map(|_| count + 1));
        count.map(Some).map_err(failed)
    })
}

/// `REGEXP_INSTR(string, regex)`
pub fn instr(call: &Call) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let mut patterns = Patterns::new(call.text(1)?);
    numbers::<Int32Type>(call.rows, |row| {
        let (Some(text), Some(regex)) = (text.get(row), patterns.get(row)) else { return Ok(None) };
        let found = regex.find(text).map_err(failed)?;
        Ok(Some(found.map_or(0, |found| text[..found.start()].chars().count() as i32 + 1)))
    })
}

/// `REGEXP_SUBSTR(string, regex)`
pub fn substr(call: &Call) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let mut patterns = Patterns::new(call.text(1)?);
    slices(call.rows, |row| {
        let (Some(text), Some(regex)) = (text.get(row), patterns.get(row)) else { return Ok(None) };
        Ok(regex.find(text).map_err(failed)?.map(|found| found.as_str()))
    })
}

/// `string SIMILAR TO pattern`: an SQL regular expression over the whole string.
pub fn similar_to(call: &Call) -> Result<ArrayRef> {
    let (text, pattern) = (call.text(0)?, call.text(1)?);
    let mut compiled: Option<(&str, Regex)> = None;
    booleans(call.rows, |row| {
        let (Some(text), Some(source)) = (text.get(row), pattern.get(row)) else { return Ok(None) };
        if compiled.as_ref().is_none_or(|(known, _)| *known != source) {
            let regex = Regex::new(&from_sql_pattern(source));
            let regex = regex
                .map_err(|error| exec_datafusion_err!("malformed SIMILAR TO pattern '{source}': {error}"))?;
            compiled = Some((source, regex));
        }
        let Some((_, regex)) = &compiled else { return Ok(None) };
        regex.is_match(text).map(Some).map_err(failed)
    })
}

/// Writes an SQL regular expression (`%`, `_`, and the usual operators) as one of ours.
fn from_sql_pattern(pattern: &str) -> String {
    let mut regex = String::from("(?s)^(?:");
    let mut in_class = false;
    for character in pattern.chars() {
        in_class = match character {
            '[' => true,
            ']' => false,
            _ => in_class,
        };
        match character {
            '%' if !in_class => regex.push_str(".*"),
            '_' if !in_class => regex.push('.'),
            '.' | '^' | '$' | '\\' if !in_class => {
                regex.push('\\');
                regex.push(character);
            }
            _ => regex.push(character),
        }
    }
    regex.push_str(")$");
    regex
}

/// The compiled expressions of a column, which is nearly always a constant.
pub struct Patterns<'a> {
    sources: Text<'a>,
    compiled: Option<(&'a str, Option<Regex>)>,
}

impl<'a> Patterns<'a> {
    /// Expressions by row.
    pub fn new(sources: Text<'a>) -> Self {
        Self { sources, compiled: None }
    }

    /// The expression of a row; nothing if it is NULL or malformed.
    pub fn get(&mut self, row: usize) -> Option<&Regex> {
        let source = self.sources.get(row)?;
        if self.compiled.as_ref().is_none_or(|(known, _)| *known != source) {
            self.compiled = Some((source, Regex::new(source).ok()));
        }
        self.compiled.as_ref().and_then(|(_, regex)| regex.as_ref())
    }
}

/// An expression that backtracks without end is given up.
pub fn failed(error: fancy_regex::Error) -> DataFusionError {
    exec_datafusion_err!("the regular expression cannot be run: {error}")
}
