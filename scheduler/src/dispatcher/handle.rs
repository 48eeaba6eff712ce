//! The way to the dispatcher for REST, the command line and tests: a cheap clone; each call is one message and its answer.

use std::{cmp::Reverse, collections::HashSet, io, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, stream};
use thalweg_graph::{JobGraph, JobId, JobStatus, VertexId, WorkerId};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Error,
    input::Input,
    request::{Reply, Request, ScriptAccepted, ScriptRequest},
};
use crate::{
    access::TokenRecord,
    history::History,
    job_master::SavepointOrder,
    result_store::{Finished, JobResult, Live, ResultStore, live::End, live_pages::NoPage, page::Page},
    view::{
        EndedJob, JobDetails, JobEnd, JobProgress, JobSummary, Overview, SavepointStatus, SubtaskDetails,
        VertexDetails, VertexEventTime, WorkerDetails,
    },
};

/// The bytes of a result: one Arrow IPC stream.
pub type ResultStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// How long a page of a live result may take before it is answered without rows.
const PAGE_WAIT: Duration = Duration::from_secs(10);

/// What can be read of a query.
enum Readable {
    Finished(Arc<Finished>),
    Live(Arc<Live>),
}

/// Talks to the dispatcher.
#[derive(Clone)]
pub struct DispatcherHandle {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) results: Arc<ResultStore>,
    pub(crate) history: Option<History>,
}

impl DispatcherHandle {
    /// Runs a planned job. It is accepted when this returns; see [`watch`](Self::watch) and [`wait`](Self::wait) for the rest.
    pub async fn submit(&self, graph: JobGraph) -> Result<JobId, Error> {
        self.ask(|reply| Request::Submit(Box::new(graph), reply)).await
    }

    /// Runs a script: its jobs' ids are known at once, they run one after another.
    pub async fn submit_script(&self, script: ScriptRequest) -> Result<ScriptAccepted, Error> {
        self.ask(|reply| Request::Script(Box::new(script), reply)).await
    }

    /// Asks a job to cancel. Does nothing to a job that has ended or is about to make its output visible.
    pub async fn cancel(&self, job: JobId) -> Result<(), Error> {
        self.ask(|reply| Request::Cancel(job, reply)).await
    }

    /// Asks for a savepoint of a streaming job; see [`savepoint_status`](Self::savepoint_status) for how it goes.
    pub async fn savepoint(&self, job: JobId, order: SavepointOrder) -> Result<(), Error> {
        self.ask(|reply| Request::Savepoint(job, order, reply)).await
    }

    /// How a savepoint that was asked for stands.
    pub async fn savepoint_status(&self, job: JobId, trigger: &str) -> Result<SavepointStatus, Error> {
        let asked = self.ask(|reply| Request::SavepointStatus(job, trigger.to_owned(), reply)).await;
        self.or_in_history(job, asked, |ended| ended.savepoints.get(trigger).cloned()).await
    }

    /// Lets a stream go on at another parallelism, from its newest checkpoint. That is decided when this returns; its tasks start then.
    pub async fn rescale(&self, job: JobId, parallelism: u32) -> Result<(), Error> {
        self.ask(|reply| Request::Rescale(job, parallelism, reply)).await
    }

    /// Takes a token in.
    pub async fn create_token(&self, token: TokenRecord) -> Result<(), Error> {
        self.ask(|reply| Request::CreateToken(token, reply)).await
    }

    /// Lets a token count no more.
    pub async fn revoke_token(&self, name: String) -> Result<(), Error> {
        self.ask(|reply| Request::RevokeToken(name, reply)).await
    }

    /// Every job that is remembered, newest first.
    pub async fn jobs(&self) -> Result<Vec<JobSummary>, Error> {
        let mut jobs = self.ask(Request::Jobs).await?;
        let Some(history) = &self.history else { return Ok(jobs) };
        let ended = history.summaries().await.map_err(Error::HistoryUnreadable)?;
        // Of one that has ended under another leader the history knows more, and of one that has ended since it was asked too.
        let known: HashSet<JobId> = ended.iter().map(|job| job.job).collect();
        jobs.retain(|job| !known.contains(&job.job));
        jobs.extend(ended);
        jobs.sort_by_key(|job| (Reverse(job.submitted), job.job));
        Ok(jobs)
    }

    /// All about a job.
    pub async fn job(&self, job: JobId) -> Result<Arc<JobDetails>, Error> {
        let asked = self.ask(|reply| Request::Job(job, reply)).await;
        match asked {
            // One without a graph was not planned, or has ended under another leader.
            Ok(line) if line.mode.is_none() && line.summary.status.is_terminal() => {
                let ended = self.ended(job).await?;
                Ok(ended.map_or(line, |ended| ended.details.clone()))
            }
            asked => self.or_in_history(job, asked, |ended| Some(ended.details.clone())).await,
        }
    }

    /// One vertex of a job with its subtasks.
    pub async fn vertex(
        &self,
        job: JobId,
        vertex: VertexId,
    ) -> Result<(VertexDetails, Vec<SubtaskDetails>), Error> {
        let asked = self.ask(|reply| Request::Vertex(job, vertex, reply)).await;
        self.or_in_history(job, asked, |ended| ended.vertex(vertex)).await
    }

    /// How far event time has come in each vertex of a job, and what holds it back.
    pub async fn event_time(&self, job: JobId) -> Result<Vec<VertexEventTime>, Error> {
        let asked = self.ask(|reply| Request::EventTime(job, reply)).await;
        match asked {
            // One without a graph was not planned, or has ended under another leader.
            Ok(vertices) if vertices.is_empty() => {
                Ok(self.ended(job).await?.map_or(vertices, |ended| ended.event_time()))
            }
            asked => self.or_in_history(job, asked, |ended| Some(ended.event_time())).await,
        }
    }

    /// A job's progress now and whenever it changes; the sender goes when the job has ended and was shown so.
    pub async fn watch(&self, job: JobId) -> Result<watch::Receiver<Arc<JobProgress>>, Error> {
        let asked = self.ask(|reply| Request::Watch(job, reply)).await;
        let of_ended = |ended: &EndedJob| Some(watch::channel(Arc::new(ended.progress())).1);
        self.or_in_history(job, asked, of_ended).await
    }

    /// What the dispatcher says; where it does not know, what the history does.
    async fn or_in_history<T>(
        &self,
        job: JobId,
        asked: Result<T, Error>,
        of: impl FnOnce(&EndedJob) -> Option<T>,
    ) -> Result<T, Error> {
        match asked {
            Err(
                unknown @ (Error::UnknownJob(_) | Error::UnknownVertex { .. } | Error::UnknownTrigger { .. }),
            ) => self.ended(job).await?.and_then(|ended| of(&ended)).ok_or(unknown),
            asked => asked,
        }
    }

    /// A job that is in the history.
    async fn ended(&self, job: JobId) -> Result<Option<Arc<EndedJob>>, Error> {
        match &self.history {
            Some(history) => history.job(job).await.map_err(Error::HistoryUnreadable),
            None => Ok(None),
        }
    }

    /// Whether a job has its graph, or has ended.
    pub(crate) async fn is_planned(&self, job: JobId) -> bool {
        let details = self.job(job).await;
        details.is_ok_and(|details| details.summary.status != JobStatus::Initializing)
    }

    /// Waits for a job's end.
    pub async fn wait(&self, job: JobId) -> Result<JobEnd, Error> {
        let mut progress = self.watch(job).await?;
        let last = progress.wait_for(|progress| progress.status.is_terminal()).await;
        let last = last.map_err(|_| Error::Stopped)?;
        Ok(JobEnd { status: last.status, failure: last.failure.clone() })
    }

    /// The rows of a query as the bytes of an Arrow IPC stream. Waits until the job's output is complete; of a live result gives the
    /// rows as they come, to one reader: when it goes, the job ends.
    pub async fn result(&self, job: JobId) -> Result<ResultStream, Error> {
        match self.readable(job).await? {
            Readable::Finished(finished) => Ok(Box::pin(finished.spool.stream())),
            Readable::Live(live) if live.result.claim() => {
                let reader = LiveReader { job, live: Some(live), inputs: self.inputs.clone() };
                Ok(Box::pin(stream::unfold(reader, LiveReader::next)))
            }
            Readable::Live(_) => Err(Error::ResultTaken(job)),
        }
    }

    /// One page of a query's rows. Waits until the job's output is complete; of a live result until there are rows, but not for ever:
    /// a page without rows that is not the last is to be asked for again.
    pub async fn result_page(&self, job: JobId, token: u64) -> Result<Page, Error> {
        let finished = match self.readable(job).await? {
            Readable::Finished(finished) => finished,
            Readable::Live(live) => return live_page(&live, job, token).await,
        };
        let reading = tokio::task::spawn_blocking(move || finished.pages.lock().page(&finished.spool, token));
        match reading.await {
            Ok(Ok(page)) => page.ok_or(Error::NoPage { job, token }),
            Ok(Err(error)) => Err(Error::ResultUnreadable { job, reason: error.to_string() }),
            Err(error) => Err(Error::ResultUnreadable { job, reason: error.to_string() }),
        }
    }

    async fn readable(&self, job: JobId) -> Result<Readable, Error> {
        let Some(mut states) = self.results.watch(job) else {
            // Tells a job that is no query from one that is not there.
            let details = self.job(job).await?;
            return Err(if details.is_query { Error::ResultGone(job) } else { Error::NoResult(job) });
        };
        let state = states.wait_for(|state| !matches!(state, JobResult::Pending)).await;
        match &*state.map_err(|_| Error::ResultGone(job))? {
            JobResult::Ready(finished) => {
                self.results.touch(finished);
                Ok(Readable::Finished(finished.clone()))
            }
            JobResult::Live(live) => Ok(Readable::Live(live.clone())),
            JobResult::Ended(end) => Err(ended(job, end)),
            JobResult::Pending | JobResult::Gone => Err(Error::ResultGone(job)),
        }
    }

    /// The cluster in a line.
    pub async fn overview(&self) -> Result<Overview, Error> {
        self.ask(Request::Overview).await
    }

    /// The registered workers.
    pub async fn workers(&self) -> Result<Vec<WorkerDetails>, Error> {
        self.ask(Request::Workers).await
    }

    /// One worker.
    pub async fn worker(&self, worker: &WorkerId) -> Result<WorkerDetails, Error> {
        let workers = self.workers().await?;
        let found = workers.into_iter().find(|details| details.worker == *worker);
        found.ok_or_else(|| Error::UnknownWorker(worker.0.clone()))
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.inputs.send(Input::Request(request(reply))).await.map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)?
    }
}

/// Why there are no rows of a job that has ended.
fn ended(job: JobId, end: &JobEnd) -> Error {
    match end {
        JobEnd { failure: Some(failure), .. } => Error::JobFailed { job, failure: failure.clone() },
        JobEnd { status: JobStatus::Canceled, .. } => Error::JobCanceled(job),
        // It has finished under another leader.
        JobEnd { .. } => Error::ResultGone(job),
    }
}

async fn live_page(live: &Live, job: JobId, token: u64) -> Result<Page, Error> {
    if !live.result.is_paged() {
        return Err(Error::ResultTaken(job));
    }
    let page = live.pages.lock().await.page(&live.result, token, PAGE_WAIT).await;
    page.map_err(|why| match why {
        NoPage::OutOfTurn { asked, next } => Error::PageOutOfTurn { job, token: asked, next },
        NoPage::Broken(end) => ended(job, &end),
        NoPage::Unreadable(error) => Error::ResultUnreadable { job, reason: error.to_string() },
    })
}

/// Takes all of a live result. When it is dropped before the end, nobody else can read on.
struct LiveReader {
    job: JobId,
    /// `None` behind the end.
    live: Option<Arc<Live>>,
    inputs: mpsc::Sender<Input>,
}

impl LiveReader {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        let next = self.live.as_ref()?.result.next().await;
        let item = match next {
            Ok(bytes) => Ok(bytes),
            Err(End::Complete) => {
                self.live = None;
                return None;
            }
            Err(End::Broken(end)) => {
                self.live = None;
                Err(io::Error::other(ended(self.job, &end)))
            }
        };
        Some((item, self))
    }
}

impl Drop for LiveReader {
    fn drop(&mut self) {
        if self.live.is_some() {
            // Where it is not heard, the result's time to live ends the job.
            let _ = self.inputs.try_send(Input::ResultAbandoned(self.job));
        }
    }
}
