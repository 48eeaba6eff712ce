//! Runs SQL statement by statement: the session's own statements here, jobs where the backend runs them. What the shell, scripts
//! and Rust programs share.

use std::sync::Arc;

use anyhow::{Result, bail};
use arrow::{array::RecordBatch, datatypes::SchemaRef};
use chrono::DateTime;
use futures::StreamExt as _;
use thalweg_graph::{Failure, JobId, JobStatus, Options};
use thalweg_plan::{
    Outcome, Session, Statement, StatementKind, StopMode, session, session_config::session_zone,
};

use thalweg_scheduler::view::HeldBack;

use crate::{
    backend::{Backend, Jobs},
    embedded::Embedded,
    job_id,
    remote::Remote,
    rows::Rows,
};

/// A SQL session with a place to run its jobs.
pub struct Client {
    session: Session,
    backend: Box<dyn Backend>,
}

/// What a statement came to.
pub enum Execution {
    /// It is done; a message for people, where there is more to say than that.
    Done(Option<String>),
    /// Rows that the session itself knows.
    Listing {
        /// Their columns.
        schema: SchemaRef,
        /// The rows.
        batches: Vec<RecordBatch>,
    },
    /// A job was started.
    Job {
        /// Its id.
        job: JobId,
        /// Whether it returns rows.
        is_query: bool,
    },
    /// The client is to end.
    Quit,
    /// The client is to empty its screen.
    Clear,
    /// The client is to show this text.
    Help(String),
}

/// A job that did not finish.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// It failed.
    #[error("{0}")]
    Failed(Failure),
    /// It was cancelled.
    #[error("job `{0}` was cancelled")]
    Canceled(JobId),
}

impl Client {
    /// Runs everything in this process, on threads of its own; opens no ports. Must be called inside a tokio runtime of several threads.
    pub async fn embedded(options: Options) -> Result<Client> {
        let embedded = Embedded::start(&options).await?;
        Ok(Client { session: embedded.session(options), backend: Box::new(embedded) })
    }

    /// Runs jobs on the cluster whose JobManager is at `address` (`host:port`), with the token that the options give.
    pub async fn remote(address: &str, options: Options) -> Result<Client> {
        let remote = Remote::connect(address, &options).await?;
        Ok(Client { session: remote.session(options)?, backend: Box::new(remote) })
    }

    /// Runs one statement; a job is started, not waited for.
    pub async fn execute(&mut self, statement: &Statement) -> Result<Execution> {
        if statement.kind().makes_job() {
            let is_query = statement.kind() == StatementKind::Query;
            let started = self.backend.start(&mut self.session, statement).await?;
            return Ok(started.map_or(Execution::Done(None), |job| Execution::Job { job, is_query }));
        }
        let outcome = self.session.execute(statement, job_id::random()).await?;
        Ok(match outcome {
            Outcome::Ok { message } => {
                self.backend.remember(statement);
                Execution::Done(message)
            }
            Outcome::Rows { schema, batches } => Execution::Listing { schema, batches },
            Outcome::ShowJobs => self.show_jobs().await?,
            Outcome::StopJob(job, mode) => self.stop_job(job, mode).await?,
            Outcome::ExplainWatermark(job) => self.explain_watermark(job).await?,
            Outcome::Quit => Execution::Quit,
            Outcome::Clear => Execution::Clear,
            Outcome::Help(text) => Execution::Help(text),
            Outcome::Job(graph) => bail!("`{}` made a job without being known for it", graph.statement),
        })
    }

    /// Flink's columns.
    async fn show_jobs(&self) -> Result<Execution> {
        let zone = session_zone(self.session.options());
        let mut rows = session::Rows::new(&["job id", "job name", "status", "start time"]);
        for job in self.jobs().list().await? {
            let start =
                zone.local(DateTime::from_timestamp_millis(job.start_ms).unwrap_or_default().naive_utc());
            let start = start.format("%Y-%m-%d %H:%M:%S%.3f").to_string();
            rows.push([job.job.to_string(), job.name, job.status.to_string(), start].map(Some));
        }
        let (schema, batches) = rows.batches()?;
        Ok(Execution::Listing { schema, batches })
    }

    /// A row for each vertex.
    async fn explain_watermark(&self, job: JobId) -> Result<Execution> {
        let zone = session_zone(self.session.options());
        let shown = |ms: i64| match DateTime::from_timestamp_millis(ms) {
            // The end of event time is no date.
            Some(time) => zone.local(time.naive_utc()).format("%Y-%m-%d %H:%M:%S%.3f").to_string(),
            None => "the end".to_owned(),
        };
        let told = |ms: Option<i64>| ms.map_or("none yet".to_owned(), shown);
        let mut rows = session::Rows::new(&["vertex", "watermark", "held back by", "at"]);
        for vertex in self.jobs().event_time(job).await? {
            let (by, at) = match &vertex.held_by {
                None => ("nothing".to_owned(), None),
                Some(HeldBack { name, subtask, split, watermark_ms, .. }) => {
                    let split =
                        split.as_ref().map(|split| format!("split `{split}` of ")).unwrap_or_default();
                    (format!("{split}`{name}`, subtask {subtask}"), Some(told(*watermark_ms)))
                }
            };
            let name = format!("{}: {}", vertex.vertex.0, vertex.name);
            rows.push([Some(name), Some(told(vertex.watermark_ms)), Some(by), at]);
        }
        let (schema, batches) = rows.batches()?;
        Ok(Execution::Listing { schema, batches })
    }

    async fn stop_job(&self, job: JobId, mode: StopMode) -> Result<Execution> {
        let jobs = self.jobs();
        let savepoint = match mode {
            StopMode::Savepoint { drain } => Some(jobs.stop_with_savepoint(job, drain).await?),
            StopMode::Cancel => {
                jobs.cancel(job).await?;
                None
            }
        };
        let mut progress = jobs.watch(job).await?;
        let mut status = None;
        while let Some(now) = progress.next().await {
            status = Some(now?.status);
        }
        match (status, savepoint) {
            (Some(JobStatus::Finished), Some(folder)) => {
                let mut rows = session::Rows::new(&["savepoint path"]);
                rows.push([Some(folder)]);
                let (schema, batches) = rows.batches()?;
                Ok(Execution::Listing { schema, batches })
            }
            (Some(JobStatus::Canceled), None) => {
                Ok(Execution::Done(Some("[INFO] The specified job is stopped.".to_owned())))
            }
            (status, _) => {
                let status = status.map_or("unknown".to_owned(), |status| status.to_string());
                bail!("job `{job}` could not be stopped any more: it is {status}")
            }
        }
    }

    /// Runs a script to its end, each job before the next statement, and returns the rows of its last statement that has any.
    pub async fn sql(&mut self, script: &str) -> Result<Vec<RecordBatch>> {
        let mut rows = Vec::new();
        for statement in Session::parse(script)? {
            match self.execute(&statement).await? {
                Execution::Listing { batches, .. } => rows = batches,
                Execution::Job { job, is_query: true } => rows = self.all_rows(job).await?,
                Execution::Job { job, is_query: false } => self.wait(job).await?,
                Execution::Quit => break,
                Execution::Done(_) | Execution::Clear | Execution::Help(_) => {}
            }
        }
        Ok(rows)
    }

    /// Waits until a query has finished, and reads its rows: those that change with their weights in a last column.
    async fn all_rows(&self, job: JobId) -> Result<Vec<RecordBatch>> {
        let mut progress = self.jobs().watch(job).await?;
        while let Some(now) = progress.next().await {
            if now?.has_live_result {
                // It goes on only while it is read.
                let rows = async { self.jobs().live_result(job).await?.collect().await }.await;
                self.wait(job).await?;
                return rows;
            }
        }
        self.wait(job).await?;
        self.rows(job).await?.collect().await
    }

    /// Waits until a job has finished; fails if it came to another end.
    pub async fn wait(&self, job: JobId) -> Result<()> {
        let mut progress = self.jobs().watch(job).await?;
        let mut last = None;
        while let Some(now) = progress.next().await {
            last = Some(now?);
        }
        match last {
            Some(last) => ended(job, last.status, last.failure.clone()),
            None => bail!("nothing is known of job `{job}`"),
        }
    }

    /// The rows of a query that was started.
    pub async fn rows(&self, job: JobId) -> Result<Rows> {
        self.jobs().result(job).await
    }

    /// The jobs that were started here.
    pub fn jobs(&self) -> Arc<dyn Jobs> {
        self.backend.jobs()
    }

    /// The SQL session: its options and names.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

/// Whether a job's end is a good one.
pub fn ended(job: JobId, status: JobStatus, failure: Option<Failure>) -> Result<()> {
    match (status, failure) {
        (JobStatus::Finished, _) => Ok(()),
        (JobStatus::Canceled, _) => Err(JobError::Canceled(job).into()),
        (_, Some(failure)) => Err(JobError::Failed(failure).into()),
        (status, None) => bail!("job `{job}` ended as {status} without saying why"),
    }
}
