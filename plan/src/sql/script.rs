//! A script and its statements: where each starts, what its text is, what it does.

use std::{fmt, ops::Range, sync::Arc};

use thalweg_graph::{
    SqlError,
    sql_error::{Position, SqlErrorCode},
};

use super::{
    Source,
    command::Command,
    parse,
    split::{Piece, split},
};
use crate::deep_stack;

/// The longest statement that is taken. Its tokens and its tree take some hundred times its length in memory, and a statement
/// that is longer is data, which belongs into a file.
pub const STATEMENT_BYTES_MAX: usize = 2 << 20;

/// The longest script that is taken: it is checked as a whole before its first statement runs, and nobody waits long for that.
pub const SCRIPT_BYTES_MAX: usize = 16 << 20;

/// What running a statement leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementKind {
    /// Makes a job whose rows go to the client.
    Query,
    /// `INSERT`: makes a job that writes a table.
    Insert,
    /// `EXECUTE STATEMENT SET`: makes one job that writes several tables.
    StatementSet,
    /// `CREATE TABLE ... AS`: declares a table and makes a job that writes it.
    CreateTableAs,
    /// Changes or shows the session; no job.
    Other,
}

impl StatementKind {
    /// Whether running the statement gives a [`crate::Outcome::Job`].
    pub fn makes_job(self) -> bool {
        self != StatementKind::Other
    }
}

/// One statement of a script, known to be well formed.
#[derive(Clone)]
pub struct Statement {
    script: Arc<str>,
    range: Range<usize>,
    position: Position,
    kind: StatementKind,
}

impl Statement {
    /// The text of the statement, without its semicolon.
    pub fn text(&self) -> &str {
        &self.script[self.range.clone()]
    }

    /// Where its text starts in the script.
    pub fn position(&self) -> Position {
        self.position
    }

    /// What running it leads to.
    pub fn kind(&self) -> StatementKind {
        self.kind
    }

    /// Reads it again. A script of many statements keeps their texts, which are far smaller than their trees.
    pub fn command(&self) -> Result<Command, SqlError> {
        parse(self.source())
    }

    /// Its text and place.
    pub fn source(&self) -> Source<'_> {
        Source { text: self.text(), start: self.position }
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?}: {}", self.kind, self.position, self.text())
    }
}

/// Splits a script into its statements and checks the syntax of each.
pub fn parse_script(script: &str) -> Result<Vec<Statement>, SqlError> {
    if script.len() > SCRIPT_BYTES_MAX {
        let message = format!(
            "the script is {} bytes long, at most {SCRIPT_BYTES_MAX} are taken: split it, or put its data into files",
            script.len()
        );
        return Err(SqlError::new(SqlErrorCode::Invalid, message).at(Position { line: 1, column: 1 }));
    }
    let script: Arc<str> = script.into();
    let pieces = split(&script);
    deep_stack::call(|| pieces.into_iter().map(|piece| check(&script, piece)).collect())
}

fn check(script: &Arc<str>, Piece { range, position }: Piece) -> Result<Statement, SqlError> {
    if range.len() > STATEMENT_BYTES_MAX {
        let message = format!(
            "the statement is {} bytes long, at most {STATEMENT_BYTES_MAX} are taken: put its data into a file and read that",
            range.len()
        );
        return Err(SqlError::new(SqlErrorCode::Invalid, message).at(position));
    }
    let command = parse(Source { text: &script[range.clone()], start: position })?;
    Ok(Statement { script: Arc::clone(script), range, position, kind: kind_of(&command) })
}

fn kind_of(command: &Command) -> StatementKind {
    match command {
        Command::Query(_) => StatementKind::Query,
        Command::Insert(_) => StatementKind::Insert,
        Command::StatementSet(_) => StatementKind::StatementSet,
        Command::CreateTable(create) if create.query.is_some() => StatementKind::CreateTableAs,
        _ => StatementKind::Other,
    }
}
