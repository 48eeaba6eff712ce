//! A script and its statements: where each starts, what its text is, what it does.

use std::{fmt, ops::Range, sync::Arc};

use thalweg_graph::sql_error::Position;

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
    pub(super) fn new(
        script: Arc<str>,
        range: Range<usize>,
        position: Position,
        kind: StatementKind,
    ) -> Self {
        Self { script, range, position, kind }
    }

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
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?}: {}", self.kind, self.position, self.text())
    }
}
