//! A SQL session: its catalogs, its options, and running one statement after another.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use thalweg_graph::{JobGraph, JobId, Options, SqlError, sql_error::SqlErrorCode};

use crate::{
    connect::Connectors,
    sql::{self, Statement},
    target::Target,
};

/// What running a statement led to.
#[derive(Debug)]
pub enum Outcome {
    /// It is done; a message for people, where there is more to say than that.
    Ok {
        /// The message.
        message: Option<String>,
    },
    /// Rows that the session itself knows: `SHOW`, `DESCRIBE`, `EXPLAIN`.
    Rows {
        /// Their columns.
        schema: SchemaRef,
        /// The rows.
        batches: Vec<RecordBatch>,
    },
    /// A job to run.
    Job(Box<JobGraph>),
    /// `QUIT`: the client ends.
    Quit,
    /// `CLEAR`: the client empties its screen.
    Clear,
    /// `HELP`: a text for people.
    Help(String),
}

/// A SQL session.
#[derive(Debug)]
pub struct Session {
    connectors: Arc<dyn Connectors>,
    options: Options,
    target: Target,
}

impl Session {
    /// Opens a session with Flink's default catalog and database.
    pub fn new(connectors: Arc<dyn Connectors>, options: Options, target: Target) -> Self {
        Self { connectors, options, target }
    }

    /// Splits a script into statements and checks the syntax of each, so that a script with a mistake does nothing.
    pub fn parse(script: &str) -> Result<Vec<Statement>, SqlError> {
        sql::parse_script(script)
    }

    /// Runs one statement. `job` is the id that its job gets, where it makes one.
    pub async fn execute(&mut self, statement: &Statement, job: JobId) -> Result<Outcome, SqlError> {
        let message = format!("running `{}` for {job} is not supported yet", statement.text());
        tracing::debug!(?self.connectors, ?self.target, "{message}");
        Err(SqlError::new(SqlErrorCode::Unsupported, message).at(statement.position()))
    }

    /// The options in force: those of the session's start, overridden by `SET`.
    pub fn options(&self) -> &Options {
        &self.options
    }
}
