//! Runs a client's jobs on a cluster: what changes the session happens here and is sent along with each statement that makes a
//! job, which the JobManager plans.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow::util::display::array_value_to_string;
use async_trait::async_trait;
use thalweg_graph::{
    JobGraph, JobId, Options, SqlError, VertexOutput, options, sql_error::Position, table::TablePath,
};
use thalweg_plan::{Outcome, Session, Statement, StatementKind, Target};

use crate::{
    backend::{Backend, Jobs},
    connectors, job_id,
};

mod events;
mod rest;

pub use rest::{JobLine, Rest, ScriptJob};

/// A cluster, seen from one SQL session.
pub struct Remote {
    rest: Arc<Rest>,
    slots: u32,
    /// The statements that made the session what it is.
    prelude: String,
}

impl Remote {
    /// Asks the JobManager at `address` (`host:port`) how large the cluster is.
    pub async fn connect(address: &str) -> Result<Remote> {
        let rest = Rest::new(address)?;
        let slots = rest.slots().await?;
        Ok(Remote { rest: Arc::new(rest), slots, prelude: String::new() })
    }

    /// A SQL session for jobs of this cluster.
    pub fn session(&self, options: Options) -> Result<Session> {
        let parallelism = options.get(&options::PARALLELISM_DEFAULT)?;
        let target = Target::Cluster { parallelism, max_slots: self.slots.max(1) };
        Ok(Session::new(connectors::open()?, options, target))
    }
}

impl Remote {
    /// Takes note of the table of a `CREATE TABLE AS`, without the query that filled it: that has run.
    async fn remember_table(&mut self, session: &mut Session, graph: &JobGraph) -> Result<()> {
        let tables = graph.vertices.iter().filter_map(|vertex| match &vertex.output {
            VertexOutput::Sink(sink) => Some(&sink.table.path),
            _ => None,
        });
        for TablePath { catalog, database, table } in tables {
            let show = format!("SHOW CREATE TABLE `{catalog}`.`{database}`.`{table}`");
            let show =
                Session::parse(&show)?.into_iter().next().context("one statement was written above")?;
            if let Outcome::Rows { batches, .. } = session.execute(&show, JobId(0)).await? {
                let text =
                    batches.first().map(|batch| array_value_to_string(batch.column(0), 0)).transpose()?;
                self.prelude.push_str(&text.context("the table is not known")?);
                self.prelude.push_str("\n;\n");
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Backend for Remote {
    async fn start(&mut self, session: &mut Session, statement: &Statement) -> Result<JobId> {
        // Planned here too, though only to find mistakes while their place in the user's text is known.
        let planned = session.execute(statement, job_id::random()).await?;
        let script = format!("{}{}\n;", self.prelude, statement.text());
        let prelude_lines = self.prelude.lines().count() as u64;
        let accepted = self.rest.submit(&script, None, session.options(), None).await;
        let jobs = accepted.map_err(|error| in_place(error, prelude_lines, statement.position()))?;
        if let (StatementKind::CreateTableAs, Outcome::Job(graph)) = (statement.kind(), planned) {
            self.remember_table(session, &graph).await?;
        }
        Ok(jobs.last().context("the JobManager made no job of the statement")?.jobid)
    }

    fn remember(&mut self, statement: &Statement) {
        self.prelude.push_str(statement.text());
        self.prelude.push_str("\n;\n");
    }

    fn jobs(&self) -> Arc<dyn Jobs> {
        self.rest.clone()
    }
}

/// Moves the place of a refusal from the script that was sent to the one that the user gave.
fn in_place(error: anyhow::Error, prelude_lines: u64, statement: Position) -> anyhow::Error {
    let Some(sql) = error.downcast_ref::<SqlError>() else { return error };
    let position = sql.position.map(|Position { line, column }| match line.saturating_sub(prelude_lines) {
        0 | 1 => Position { line: statement.line, column: statement.column + column.saturating_sub(1) },
        line => Position { line: statement.line + line - 1, column },
    });
    SqlError { position, ..sql.clone() }.into()
}

#[cfg(test)]
mod tests {
    use thalweg_graph::sql_error::SqlErrorCode;

    use super::*;

    #[test]
    fn places_are_those_of_the_users_script() {
        let statement = Position { line: 7, column: 3 };
        let moved = |line, column| {
            let error = SqlError::new(SqlErrorCode::Syntax, "x").at(Position { line, column });
            let error = in_place(error.into(), 4, statement);
            error.downcast_ref::<SqlError>().unwrap().position.unwrap()
        };
        assert_eq!(moved(5, 10), Position { line: 7, column: 12 });
        assert_eq!(moved(6, 10), Position { line: 8, column: 10 });
    }
}
