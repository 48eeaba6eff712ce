//! A name as a statement gives it: one to three parts, with its place.

use std::fmt;

use thalweg_graph::{
    SqlError,
    sql_error::{Position, SqlErrorCode},
};

/// `[[catalog.]database.]object`, not yet completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Its parts, outermost first.
    pub parts: Vec<String>,
    /// Where it stands.
    pub position: Position,
}

impl Name {
    /// The last part.
    pub fn last(&self) -> &str {
        self.parts.last().map_or("", String::as_str)
    }

    /// A refusal at the name's place.
    pub fn error(&self, code: SqlErrorCode, message: impl Into<String>) -> SqlError {
        SqlError::new(code, message).at(self.position)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts.join("."))
    }
}
