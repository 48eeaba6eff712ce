//! What a client needs of the place where its jobs run: this process (`embedded`) or a cluster (`remote`).

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use futures::stream::BoxStream;
use thalweg_graph::{JobId, JobStatus};
use thalweg_plan::{Session, Statement};
use thalweg_scheduler::{JobProgress, view::VertexEventTime};

use crate::rows::Rows;

/// A job's progress, again and again until it has ended.
pub type ProgressStream = BoxStream<'static, Result<Arc<JobProgress>>>;

/// Where a client's statements become jobs.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Starts the job of a statement that makes one; `None` if there is nothing to do, as when its table is there already.
    async fn start(&mut self, session: &mut Session, statement: &Statement) -> Result<Option<JobId>>;

    /// Takes note of a statement that changed the session.
    fn remember(&mut self, statement: &Statement);

    /// The jobs that were started here.
    fn jobs(&self) -> Arc<dyn Jobs>;
}

/// A job in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobLine {
    /// Its id.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: JobStatus,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub start_ms: i64,
}

/// Running jobs.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// The jobs that are remembered, newest first.
    async fn list(&self) -> Result<Vec<JobLine>>;

    /// Follows a job to its end.
    async fn watch(&self, job: JobId) -> Result<ProgressStream>;

    /// Waits until a query's rows are complete, and reads them.
    async fn result(&self, job: JobId) -> Result<Rows>;

    /// Reads the rows of a query without an end as they come, which may take any time. Whoever drops them ends the query.
    async fn live_result(&self, job: JobId) -> Result<Rows>;

    /// How far event time has come in each vertex of a job, and what holds it back.
    async fn event_time(&self, job: JobId) -> Result<Vec<VertexEventTime>>;

    /// Asks a job to cancel; returns when it is asked.
    async fn cancel(&self, job: JobId) -> Result<()>;

    /// Ends a streaming job behind a savepoint, in the folder that its options name; returns the savepoint's own when it is complete.
    async fn stop_with_savepoint(&self, job: JobId, drain: bool) -> Result<String>;
}
