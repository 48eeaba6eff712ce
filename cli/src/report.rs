//! What a person reads when something went wrong: Flink's line, the reason, and for SQL the place with a caret.

use thalweg_graph::{FailureKind, SqlError};

use crate::client::JobError;

/// The text for an error of a statement in `script`.
pub fn statement_error(error: &anyhow::Error, script: &str) -> String {
    format!("[ERROR] Could not execute SQL statement. Reason:\n{}", reason(error, script))
}

fn reason(error: &anyhow::Error, script: &str) -> String {
    if let Some(error) = error.downcast_ref::<SqlError>() {
        return error.with_caret(script);
    }
    if let Some(JobError::Failed(failure)) = error.downcast_ref::<JobError>() {
        let place =
            failure.worker.as_ref().map(|worker| format!("\n(on worker {worker})")).unwrap_or_default();
        if failure.kind == FailureKind::PlanRejected
            && let Some(error) = SqlError::from_text(&failure.message)
        {
            return error.with_caret(script);
        }
        return match failure.kind {
            // The kinds whose text says it all.
            FailureKind::Deterministic | FailureKind::NoSlots | FailureKind::CommitFailed => {
                failure.message.clone()
            }
            _ => format!("{} [{}]{place}", failure.message, failure.kind.code()),
        };
    }
    format!("{error:#}")
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{
        Failure,
        sql_error::{Position, SqlErrorCode},
    };

    use super::*;

    #[test]
    fn sql_errors_have_a_caret_and_chains_say_each_thing_once() {
        let error =
            SqlError::new(SqlErrorCode::Syntax, "expected an expression").at(Position { line: 1, column: 8 });
        assert_eq!(
            statement_error(&error.into(), "SELECT FROM t"),
            "[ERROR] Could not execute SQL statement. Reason:\n\
             line 1, column 8: expected an expression\n  |\n1 | SELECT FROM t\n  |        ^"
        );
        let chain = anyhow::anyhow!("no such file").context("cannot read `x`");
        assert!(statement_error(&chain, "").ends_with("cannot read `x`: no such file"));
        let failure = JobError::Failed(Failure::new(FailureKind::Io, "disk is full"));
        assert!(statement_error(&failure.into(), "").ends_with("disk is full [io]"));
        let planned = Failure::new(FailureKind::PlanRejected, "line 2, column 8: column `x` does not exist");
        let text = statement_error(&JobError::Failed(planned).into(), "\nSELECT x");
        assert!(text.ends_with("2 | SELECT x\n  |        ^"), "{text}");
    }
}
