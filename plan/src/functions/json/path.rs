//! JSON paths: `[lax | strict] $.key['key'][0][-1][*].*`.
//!
//! Without a mode a path is strict, as in Flink; lax only means that a missing value is empty rather than an error, and does not
//! unwrap arrays.

use super::value::Json;

/// A path.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// Whether a missing value is an error.
    pub strict: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Key(String),
    Index(i64),
    Each,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Found<'a> {
    /// On a lax path, no value or `null`.
    Nothing,
    /// One value.
    Value(Json<'a>),
    /// On a strict path, no value or `null`.
    Missing,
}

impl Path {
    /// Reads a path; nothing if it is malformed or uses what is not supported.
    pub fn parse(text: &str) -> Option<Path> {
        let text = text.trim();
        let (strict, text) = match (text.strip_prefix("strict "), text.strip_prefix("lax ")) {
            (Some(rest), _) => (true, rest.trim()),
            (None, Some(rest)) => (false, rest.trim()),
            (None, None) => (true, text),
        };
        let mut rest = text.strip_prefix('$')?;
        let mut steps = vec![];
        while !rest.is_empty() {
            let (step, left) = step(rest)?;
            steps.push(step);
            rest = left;
        }
        Some(Path { strict, steps })
    }

    /// Follows the path. Where it leads to many places, the values there make an array.
    pub fn follow<'a>(&self, root: Json<'a>) -> Found<'a> {
        let mut found = vec![root];
        let mut many = false;
        for step in &self.steps {
            many |= *step == Step::Each;
            found = found.into_iter().flat_map(|value| step.take(value)).collect();
        }
        match (many, found.pop()) {
            (true, Some(last)) => {
                found.push(last);
                Found::Value(Json::Array(found))
            }
            (true, None) => Found::Value(Json::Array(vec![])),
            (false, Some(value)) if value != Json::Null => Found::Value(value),
            (false, _) if self.strict => Found::Missing,
            (false, _) => Found::Nothing,
        }
    }
}

impl Step {
    fn take<'a>(&self, value: Json<'a>) -> Vec<Json<'a>> {
        match (self, value) {
            (Step::Key(key), Json::Object(members)) => members
                .into_iter()
                .rev()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value)
                .into_iter()
                .collect(),
            (Step::Index(index), Json::Array(mut items)) => {
                let place = if *index < 0 { items.len() as i64 + index } else { *index };
                match usize::try_from(place) {
                    Ok(place) if place < items.len() => vec![items.swap_remove(place)],
                    _ => vec![],
                }
            }
            (Step::Each, Json::Array(items)) => items,
            (Step::Each, Json::Object(members)) => members.into_iter().map(|(_, value)| value).collect(),
            _ => vec![],
        }
    }
}

/// Reads one step, and returns what is left.
fn step(text: &str) -> Option<(Step, &str)> {
    if let Some(rest) = text.strip_prefix('.') {
        if rest.starts_with('[') {
            return bracket(rest);
        }
        if let Some(rest) = rest.strip_prefix('*') {
            return Some((Step::Each, rest));
        }
        let end = rest.find(['.', '[', ' ', '(']).unwrap_or(rest.len());
        let (key, left) = rest.split_at(end);
        let key = key.trim_matches('"');
        return (!key.is_empty() && !left.starts_with([' ', '('])).then(|| (Step::Key(key.to_owned()), left));
    }
    bracket(text)
}

fn bracket(text: &str) -> Option<(Step, &str)> {
    let inside = text.strip_prefix('[')?.trim_start();
    if let Some(quote @ ('\'' | '"')) = inside.chars().next() {
        let end = 1 + inside[1..].find(quote)?;
        let left = inside[end + 1..].trim_start().strip_prefix(']')?;
        return Some((Step::Key(inside[1..end].to_owned()), left));
    }
    let (index, left) = inside.split_once(']')?;
    match index.trim() {
        "*" => Some((Step::Each, left)),
        index => index.parse().ok().map(|index| (Step::Index(index), left)),
    }
}
