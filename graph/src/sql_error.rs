//! A refusal of SQL text, with the place in it. What the shell prints with a caret and REST answers with line and column.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of refusal it is; the stable `code` of REST answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SqlErrorCode {
    /// The text is not Flink SQL.
    Syntax,
    /// A statement or clause that we know of and do not run yet.
    Unsupported,
    /// A table, view, database or catalog that does not exist.
    UnknownTable,
    /// A column that does not exist.
    UnknownColumn,
    /// A function that does not exist.
    UnknownFunction,
    /// An option that does not exist, or a value that it cannot take.
    InvalidOption,
    /// Types that do not fit together.
    TypeMismatch,
    /// The object exists already.
    AlreadyExists,
    /// Any other rule of the language that the statement breaks.
    Invalid,
    /// Reading the catalog or the files for planning failed.
    Io,
    /// A bug of ours.
    Internal,
}

impl SqlErrorCode {
    /// The stable word of this code.
    pub fn as_str(self) -> &'static str {
        match self {
            SqlErrorCode::Syntax => "sql-syntax",
            SqlErrorCode::Unsupported => "sql-unsupported",
            SqlErrorCode::UnknownTable => "sql-unknown-table",
            SqlErrorCode::UnknownColumn => "sql-unknown-column",
            SqlErrorCode::UnknownFunction => "sql-unknown-function",
            SqlErrorCode::InvalidOption => "sql-invalid-option",
            SqlErrorCode::TypeMismatch => "sql-type-mismatch",
            SqlErrorCode::AlreadyExists => "sql-already-exists",
            SqlErrorCode::Invalid => "sql-invalid",
            SqlErrorCode::Io => "sql-io",
            SqlErrorCode::Internal => "internal",
        }
    }
}

/// A refused statement. `line` and `column` count from one, in the text that was given (the whole script).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlError {
    /// What kind of refusal it is.
    pub code: SqlErrorCode,
    /// What was asked, what was found, what to do; without the place.
    pub message: String,
    /// Line and column, where known.
    pub position: Option<Position>,
}

/// A place in a text, counted from one; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The character in the line.
    pub column: u64,
}

impl SqlError {
    /// An error whose place is not known.
    pub fn new(code: SqlErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), position: None }
    }

    /// The same error at a place; a place that is already known stays.
    pub fn at(mut self, position: Position) -> Self {
        self.position.get_or_insert(position);
        self
    }

    /// Reads an error with its place back from its text, which is all that a failure of planning keeps of it.
    pub fn from_text(text: &str) -> Option<Self> {
        let (place, message) = text.split_once(": ")?;
        let (line, column) = place.strip_prefix("line ")?.split_once(", column ")?;
        let position = Position { line: line.parse().ok()?, column: column.parse().ok()? };
        Some(Self::new(SqlErrorCode::Invalid, message).at(position))
    }

    /// The message with the line of `text` that it is about and a caret under the place.
    pub fn with_caret(&self, text: &str) -> String {
        let Some(Position { line, column }) = self.position else { return self.to_string() };
        let Some(source) = text.lines().nth(line.saturating_sub(1) as usize) else { return self.to_string() };
        let (source, column) = excerpt(source, column.saturating_sub(1) as usize);
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        format!("{self}\n{margin} |\n{number} | {source}\n{margin} | {}^", " ".repeat(column))
    }
}

/// At most 120 characters of a line around a column, and the column in them.
fn excerpt(source: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 120;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let start = if column < WIDTH { 0 } else { column - WIDTH / 2 };
    (source.chars().skip(start).take(WIDTH).map(clean).collect(), column - start)
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(Position { line, column }) => write!(f, "line {line}, column {column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for SqlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_place() {
        let error =
            SqlError::new(SqlErrorCode::Syntax, "expected an expression").at(Position { line: 2, column: 8 });
        assert_eq!(
            error.with_caret("SET 'a'='b';\nSELECT FROM t"),
            "line 2, column 8: expected an expression\n  |\n2 | SELECT FROM t\n  |        ^"
        );
        let read = SqlError::from_text(&error.to_string()).unwrap();
        assert_eq!((read.message, read.position), (error.message, error.position));
        assert_eq!(SqlError::from_text("the disk is full: no space left"), None);
    }
}
