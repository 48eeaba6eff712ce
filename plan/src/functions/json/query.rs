//! Looking into JSON: `IS JSON`, `JSON_EXISTS`, `JSON_VALUE`, `JSON_QUERY`.

use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, ListBuilder, StringViewArray, StringViewBuilder},
    compute::interleave,
    datatypes::DataType,
};
use datafusion::common::{Result, exec_err};

use super::{
    path::{Found, Path},
    value::Json,
};
use crate::functions::{
    argument::{Call, Text, booleans, texts},
    conversion::{self, Session},
    zone::Zone,
};

/// `is_json(string, kind)`
pub fn is_json(call: &Call) -> Result<ArrayRef> {
    let (text, kind) = (call.text(0)?, call.text(1)?);
    booleans(call.rows, |row| {
        let value = text.get(row).and_then(Json::parse);
        Ok(Some(value.is_some_and(|value| match kind.get(row) {
            Some("SCALAR") => value.is_scalar(),
            Some("ARRAY") => matches!(value, Json::Array(_)),
            Some("OBJECT") => matches!(value, Json::Object(_)),
            _ => true,
        })))
    })
}

/// `json_exists(json, path, on_error)`
pub fn exists(call: &Call) -> Result<ArrayRef> {
    let (text, on_error) = (call.text(0)?, call.text(2)?);
    let mut paths = Paths::new(call.text(1)?);
    booleans(call.rows, |row| {
        let Some(text) = text.get(row) else { return Ok(None) };
        match look(text, paths.get(row)) {
            Outcome::Value(_) => Ok(Some(true)),
            Outcome::Empty => Ok(Some(false)),
            Outcome::Error(problem) => match on_error.get(row) {
                Some("TRUE") => Ok(Some(true)),
                Some("UNKNOWN") => Ok(None),
                Some("ERROR") => exec_err!("JSON_EXISTS: {problem} in '{text}'"),
                _ => Ok(Some(false)),
            },
        }
    })
}

/// `json_value(json, path, type, on_empty, empty_default, on_error, error_default)`
pub fn value(call: &Call) -> Result<ArrayRef> {
    let (text, on_empty, on_error) = (call.text(0)?, call.text(3)?, call.text(5)?);
    let mut paths = Paths::new(call.text(1)?);
    let mut outcomes = Vec::with_capacity(call.rows);
    let found = texts(call.rows, |row, out| {
        let Some(text) = text.get(row) else {
            outcomes.push(None);
            return Ok(None);
        };
        let outcome = match (look(text, paths.get(row)), paths.is_strict(row)) {
            (Outcome::Value(value), strict) if !value.is_scalar() => match strict {
                true => Outcome::Error("the value is no scalar"),
                false => Outcome::Empty,
            },
            (Outcome::Value(value), _) if !suits(&value, call.return_type) => {
                Outcome::Error("the value is of another type")
            }
            (outcome, _) => outcome,
        };
        let written = match &outcome {
            Outcome::Value(value) => {
                value.write_text(out);
                Some(())
            }
            _ => None,
        };
        outcomes.push(Some(outcome.without_value()));
        Ok(written)
    })?;
    let session = Session { zone: Zone::of_session(call.config), lenient: true };
    let found = conversion::cast(&found, call.return_type, &session)?;
    let defaults = [call.column(4)?, call.column(6)?];
    let mut chosen = Vec::with_capacity(call.rows);
    for (row, outcome) in outcomes.into_iter().enumerate() {
        let (behaviour, default, problem) = match outcome {
            Some(Outcome::Empty) => (&on_empty, 1, "the result is empty"),
            Some(Outcome::Error(problem)) => (&on_error, 2, problem),
            Some(Outcome::Value(_)) if found.is_null(row) => (&on_error, 2, "the value is of another type"),
            _ => {
                chosen.push((0, row));
                continue;
            }
        };
        match behaviour.get(row) {
            Some("ERROR") => {
                return exec_err!("JSON_VALUE: {problem} in '{}'", text.get(row).unwrap_or_default());
            }
            Some("DEFAULT") => chosen.push((default, row)),
            _ => chosen.push((0, row)),
        }
    }
    Ok(interleave(&[found.as_ref(), defaults[0].as_ref(), defaults[1].as_ref()], &chosen)?)
}

/// Whether a scalar may be returned as a type: a number for numbers, a truth value for truth values, anything as text.
fn suits(value: &Json, target: &DataType) -> bool {
    match value {
        Json::Number(digits) if target.is_integer() => {
            digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        }
        Json::Number(_) => target.is_numeric() || target.is_string(),
        Json::Bool(_) => *target == DataType::Boolean || target.is_string(),
        _ => target.is_string(),
    }
}

/// `json_query(json, path, type, wrapper, on_empty, on_error)`
pub fn query(call: &Call) -> Result<ArrayRef> {
    let (text, wrapper, on_empty, on_error) = (call.text(0)?, call.text(3)?, call.text(4)?, call.text(5)?);
    let mut paths = Paths::new(call.text(1)?);
    let found = texts(call.rows, |row, out| {
        let Some(text) = text.get(row) else { return Ok(None) };
        let strict = paths.is_strict(row);
        let outcome = match look(text, paths.get(row)) {
            Outcome::Value(value) => match (wrapper.get(row), value) {
                (Some("UNCONDITIONAL"), value) => Outcome::Value(Json::Array(vec![value])),
                (Some("CONDITIONAL"), array @ Json::Array(_)) => Outcome::Value(array),
                (Some("CONDITIONAL"), value) => Outcome::Value(Json::Array(vec![value])),
                (_, value) if !value.is_scalar() => Outcome::Value(value),
                _ if strict => Outcome::Error("the value is a scalar"),
                _ => Outcome::Empty,
            },
            other => other,
        };
        let (behaviour, problem) = match outcome {
            Outcome::Value(value) => {
                value.write(out);
                return Ok(Some(()));
            }
            Outcome::Empty => (&on_empty, "the result is empty"),
            Outcome::Error(problem) => (&on_error, problem),
        };
        match behaviour.get(row) {
            Some("ERROR") => return exec_err!("JSON_QUERY: {problem} in '{text}'"),
            Some("ARRAY") => out.push_str("[]"),
            Some("OBJECT") => out.push_str("{}"),
            _ => return Ok(None),
        }
        Ok(Some(()))
    })?;
    match call.return_type {
        DataType::List(_) => as_lists(&found, call.return_type),
        other => Ok(arrow::compute::cast(&found, other)?),
    }
}

/// `RETURNING ARRAY<STRING>`
fn as_lists(found: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let found: &StringViewArray = datafusion::common::cast::as_string_view_array(found)?;
    let mut lists = ListBuilder::new(StringViewBuilder::new());
    for text in found {
        let items = match text.and_then(Json::parse) {
            Some(Json::Array(items)) => Some(items),
            _ => None,
        };
        let valid = items.is_some();
        for item in items.into_iter().flatten() {
            let mut text = String::new();
            item.write_text(&mut text);
            lists.values().append_option((item != Json::Null).then_some(text));
        }
        lists.append(valid);
    }
    Ok(arrow::compute::cast(&(Arc::new(lists.finish()) as ArrayRef), target)?)
}

enum Outcome<'a> {
    Value(Json<'a>),
    Empty,
    Error(&'static str),
}

impl Outcome<'_> {
    fn without_value(self) -> Outcome<'static> {
        match self {
            Outcome::Value(_) => Outcome::Value(Json::String(Cow::Borrowed(""))),
            Outcome::Empty => Outcome::Empty,
            Outcome::Error(problem) => Outcome::Error(problem),
        }
    }
}

fn look<'a>(text: &'a str, path: Option<&Path>) -> Outcome<'a> {
    let Some(path) = path else { return Outcome::Error("the path is malformed") };
    let json = match Json::parse(text) {
        Some(json) => json,
        None if path.strict => return Outcome::Error("there is no JSON"),
        None => return Outcome::Empty,
    };
    match path.follow(json) {
        Found::Value(value) => Outcome::Value(value),
        Found::Nothing => Outcome::Empty,
        Found::Missing => Outcome::Error("the path leads nowhere"),
    }
}

/// The paths of a column, which is nearly always a constant.
struct Paths<'a> {
    sources: Text<'a>,
    known: Option<(&'a str, Option<Path>)>,
}

impl<'a> Paths<'a> {
    fn new(sources: Text<'a>) -> Self {
        Self { sources, known: None }
    }

    fn get(&mut self, row: usize) -> Option<&Path> {
        let source = self.sources.get(row)?;
        if self.known.as_ref().is_none_or(|(known, _)| *known != source) {
            self.known = Some((source, Path::parse(source)));
        }
        self.known.as_ref().and_then(|(_, path)| path.as_ref())
    }

    fn is_strict(&mut self, row: usize) -> bool {
        self.get(row).is_some_and(|path| path.strict)
    }
}
