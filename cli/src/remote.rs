//! Runs a client's jobs on a cluster: what changes the session happens here and is sent along with each statement that makes a
//! job, which the JobManager plans.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use arrow::util::display::array_value_to_string;
use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use thalweg_graph::{
    Failure, FailureKind, JobId, Options, SqlError, options, sql_error::Position, table::TablePath,
};
use thalweg_plan::{Outcome, Prepared, Session, Statement, Target};
use thalweg_scheduler::{JobProgress, view::VertexEventTime};

use crate::{
    backend::{Backend, JobLine, Jobs, ProgressStream},
    connectors,
    rows::Rows,
};

mod events;
mod http;
mod rest;
mod operator;

pub use operator::Operator;
pub use rest::{Rest, ScriptJob};

/// A cluster, seen from one SQL session.
pub struct Remote {
    rest: Rest,
    slots: u32,
    /// Where the statements of jobs stand.
    places: Arc<Mutex<BTreeMap<JobId, Place>>>,
    /// The statements that made the session what it is.
    prelude: String,
}

impl Remote {
    /// Asks the JobManager at `address` (`host:port`) how large the cluster is.
    pub async fn connect(address: &str, options: &Options) -> Result<Remote> {
        let rest = Rest::new(address, options)?;
        let slots = rest.slots().await?;
        Ok(Remote { rest, slots, places: Default::default(), prelude: String::new() })
    }

    /// A SQL session for jobs of this cluster.
    pub fn session(&self, options: Options) -> Result<Session> {
        let parallelism = options.get(&options::PARALLELISM_DEFAULT)?;
        let target = Target::Cluster { parallelism, max_slots: self.slots.max(1) };
        Ok(Session::new(connectors::open(&options)?, options, target))
    }
}

impl Remote {
    /// Takes note of the table of a `CREATE TABLE AS`, without the query that filled it: that has run.
    async fn remember_table(&mut self, session: &mut Session, path: &TablePath) -> Result<()> {
        let TablePath { catalog, database, table } = path;
        let show = format!("SHOW CREATE TABLE `{catalog}`.`{database}`.`{table}`");
        let show = Session::parse(&show)?.into_iter().next().context("one statement was written above")?;
        if let Outcome::Rows { batches, .. } = session.execute(&show, JobId(0)).await? {
            let text = batches.first().map(|batch| array_value_to_string(batch.column(0), 0)).transpose()?;
            self.prelude.push_str(&text.context("the table is not known")?);
            self.prelude.push_str("\n;\n");
        }
        Ok(())
    }
}

#[async_trait]
impl Backend for Remote {
    async fn start(&mut self, session: &mut Session, statement: &Statement) -> Result<Option<JobId>> {
        // Mistakes are found here, where their place in the user's text is known; the cluster plans.
        let Prepared::Job { declared } = session.prepare(statement).await? else { return Ok(None) };
        let script = format!("{}{}\n;", self.prelude, statement.text());
        let prelude_lines = self.prelude.lines().count() as u64;
        let place = Place { statement: statement.position(), prelude_lines };
        let accepted = self.rest.submit(&script, None, session.options(), None).await;
        let jobs = accepted.map_err(|error| place.moved_error(error))?;
        let job = jobs.last().context("the JobManager made no job of the statement")?.jobid;
        self.places.lock().unwrap_or_else(PoisonError::into_inner).insert(job, place);
        if let Some(path) = declared {
            self.remember_table(session, &path).await?;
        }
        Ok(Some(job))
    }

    fn remember(&mut self, statement: &Statement) {
        self.prelude.push_str(statement.text());
        self.prelude.push_str("\n;\n");
    }

    fn jobs(&self) -> Arc<dyn Jobs> {
        Arc::new(SessionJobs { rest: self.rest.clone(), places: self.places.clone() })
    }
}

/// Where a statement stands in the user's text, and below how many lines in the script that was sent.
#[derive(Debug, Clone, Copy)]
struct Place {
    statement: Position,
    prelude_lines: u64,
}

impl Place {
    /// A place in the script that was sent as one in the user's text.
    fn moved(self, Position { line, column }: Position) -> Position {
        let Self { statement, prelude_lines } = self;
        match line.saturating_sub(prelude_lines) {
            0 | 1 => Position { line: statement.line, column: statement.column + column.saturating_sub(1) },
            line => Position { line: statement.line + line - 1, column },
        }
    }

    fn moved_error(self, error: anyhow::Error) -> anyhow::Error {
        let Some(sql) = error.downcast_ref::<SqlError>() else { return error };
        SqlError { position: sql.position.map(|position| self.moved(position)), ..sql.clone() }.into()
    }

    /// The same for a job that could not be planned.
    fn moved_progress(self, progress: Arc<JobProgress>) -> Arc<JobProgress> {
        let failure = progress.failure.as_ref().filter(|failure| failure.kind == FailureKind::PlanRejected);
        let Some((failure, sql)) =
            failure.and_then(|failure| Some((failure, SqlError::from_text(&failure.message)?)))
        else {
            return progress;
        };
        let moved = SqlError { position: sql.position.map(|position| self.moved(position)), ..sql };
        let failure = Failure { message: moved.to_string(), ..failure.clone() };
        Arc::new(JobProgress { failure: Some(failure), ..progress.as_ref().clone() })
    }
}

/// The jobs of a session, whose failures are told in terms of the user's text.
struct SessionJobs {
    rest: Rest,
    places: Arc<Mutex<BTreeMap<JobId, Place>>>,
}

#[async_trait]
impl Jobs for SessionJobs {
    async fn list(&self) -> Result<Vec<JobLine>> {
        self.rest.list().await
    }

    async fn watch(&self, job: JobId) -> Result<ProgressStream> {
        let progress = self.rest.watch(job).await?;
        let place = self.places.lock().unwrap_or_else(PoisonError::into_inner).get(&job).copied();
        let Some(place) = place else { return Ok(progress) };
        Ok(progress.map_ok(move |progress| place.moved_progress(progress)).boxed())
    }

    async fn result(&self, job: JobId) -> Result<Rows> {
        self.rest.result(job).await
    }

    async fn live_result(&self, job: JobId) -> Result<Rows> {
        self.rest.live_result(job).await
    }

    async fn event_time(&self, job: JobId) -> Result<Vec<VertexEventTime>> {
        self.rest.event_time(job).await
    }

    async fn cancel(&self, job: JobId) -> Result<()> {
        self.rest.cancel(job).await
    }

    async fn stop_with_savepoint(&self, job: JobId, drain: bool) -> Result<String> {
        self.rest.stop_with_savepoint(job, drain).await
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::JobStatus;

    use super::*;

    #[test]
    fn places_are_those_of_the_users_script() {
        let place = Place { statement: Position { line: 7, column: 3 }, prelude_lines: 4 };
        assert_eq!(place.moved(Position { line: 5, column: 10 }), Position { line: 7, column: 12 });
        assert_eq!(place.moved(Position { line: 6, column: 10 }), Position { line: 8, column: 10 });

        let failure = Failure::new(FailureKind::PlanRejected, "line 5, column 1: no such function");
        let progress = JobProgress {
            job: JobId(1),
            status: JobStatus::Failed,
            waiting: None,
            failure: Some(failure),
            restarts: 0,
            has_live_result: false,
            vertices: Vec::new(),
        };
        let moved = place.moved_progress(Arc::new(progress));
        assert_eq!(moved.failure.as_ref().unwrap().message, "line 7, column 3: no such function");
    }
}
