//! Text to statements: a script is split, each statement is tokenised in Flink's dialect and parsed.

mod script;

pub use script::{Statement, StatementKind};

use thalweg_graph::{SqlError, sql_error::SqlErrorCode};

/// Splits a script into its statements and parses each.
pub fn parse_script(script: &str) -> Result<Vec<Statement>, SqlError> {
    let message = format!("reading a script of {} bytes is not supported yet", script.len());
    Err(SqlError::new(SqlErrorCode::Unsupported, message))
}
