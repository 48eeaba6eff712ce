//! The rows of queries between the task that makes them and the client that reads them.
//!
//! Each attempt's bytes go into a spool of its own; when the attempt has finished its spool becomes the job's result, so that a
//! retry never shows rows twice. A result that nobody reads for its time to live is freed. A live result is read while it is made;
//! when nobody reads it for that long, its job is to end.

pub mod page;
mod spool;
pub mod live;
pub mod live_pages;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use thalweg_graph::{Attempt, FailureKind, JobId, JobStatus, options};
use thalweg_rpc::ToWorker;
use tokio::sync::{mpsc, watch};

pub use self::spool::Spool;
use self::{
    live::{End, LiveResult, TooFast},
    live_pages::LivePages,
    page::PageReader,
};
use crate::{
    clock::{Clock, Timestamp},
    view::JobEnd,
};

/// The result of one job.
#[derive(Debug, Clone)]
pub enum JobResult {
    /// It is being made.
    Pending,
    /// It is read while it is made.
    Live(Arc<Live>),
    /// It is there.
    Ready(Arc<Finished>),
    /// The job ended without one.
    Ended(JobEnd),
    /// It was there and nobody read it in time.
    Gone,
}

/// A result that is read while it is made.
#[derive(Debug)]
pub struct Live {
    /// Its bytes as they come.
    pub result: LiveResult,
    /// What was read of them page by page.
    pub pages: tokio::sync::Mutex<LivePages>,
}

/// A complete result.
#[derive(Debug)]
pub struct Finished {
    /// Its bytes: one Arrow IPC stream.
    pub spool: Spool,
    /// Where the last reader of pages stopped.
    pub pages: Mutex<PageReader>,
    last_read: Mutex<Timestamp>,
}

struct Entry {
    state: watch::Sender<JobResult>,
    attempts: BTreeMap<Attempt, Spool>,
}

/// A result's rows cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum CannotKeep {
    /// They cannot be written.
    #[error(
        "the JobManager cannot keep the result's rows in `{}`: {source}; free space there or set `{}` to another folder",
        folder.display(),
        options::TMP_DIRS.name
    )]
    Spool {
        /// Where.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There are too many of them.
    #[error(transparent)]
    TooFast(#[from] TooFast),
}

impl CannotKeep {
    /// What kind of failure it is for the task whose rows they are.
    pub fn kind(&self) -> FailureKind {
        let CannotKeep::Spool { source, .. } = self else { return FailureKind::Internal };
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::ResourceExhausted,
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => FailureKind::Deterministic,
            _ => FailureKind::Io,
        }
    }
}

/// All results.
pub struct ResultStore {
    clock: Clock,
    ttl: Duration,
    folder: Arc<Path>,
    jobs: Mutex<BTreeMap<JobId, Entry>>,
}

impl ResultStore {
    /// Without results; large ones go into files in `folder`.
    pub fn new(clock: Clock, ttl: Duration, folder: PathBuf) -> Self {
        Self { clock, ttl, folder: folder.into(), jobs: Mutex::default() }
    }

    /// A query is going to run.
    pub fn expect(&self, job: JobId) {
        self.jobs.lock().entry(job).or_insert_with(|| Entry {
            state: watch::Sender::new(JobResult::Pending),
            attempts: BTreeMap::new(),
        });
    }

    /// A query is going to run whose rows are read as they come.
    pub fn expect_live(&self, job: JobId) {
        self.expect(job);
        if let Some(entry) = self.jobs.lock().get(&job) {
            let live = Live { result: LiveResult::new(self.clock), pages: Default::default() };
            entry.state.send_replace(JobResult::Live(Arc::new(live)));
        }
    }

    /// Adds an attempt's next bytes, which came from a worker's session. Bytes of jobs that are not expected are dropped.
    pub async fn append(
        &self,
        attempt: Attempt,
        bytes: Bytes,
        worker: &mpsc::Sender<ToWorker>,
    ) -> Result<(), CannotKeep> {
        if let Some(live) = self.live(attempt.job) {
            return Ok(live.result.push(attempt, bytes, worker)?);
        }
        let spool = match self.jobs.lock().get_mut(&attempt.job) {
            Some(entry) if matches!(*entry.state.borrow(), JobResult::Pending) => {
                entry.attempts.remove(&attempt).unwrap_or_default()
            }
            _ => return Ok(()),
        };
        // Bytes of one attempt come one after another, from its worker's session.
        let spool = spool.append(bytes, &self.folder).await;
        let spool =
            spool.map_err(|source| CannotKeep::Spool { folder: self.folder.to_path_buf(), source })?;
        if let Some(entry) = self.jobs.lock().get_mut(&attempt.job) {
            entry.attempts.insert(attempt, spool);
        }
        Ok(())
    }

    fn live(&self, job: JobId) -> Option<Arc<Live>> {
        match &*self.jobs.lock().get(&job)?.state.borrow() {
            JobResult::Live(live) => Some(Arc::clone(live)),
            _ => None,
        }
    }

    /// The attempt has finished: its rows are the result.
    pub fn publish(&self, attempt: Attempt) {
        if let Some(live) = self.live(attempt.job) {
            return live.result.end(End::Complete);
        }
        if let Some(entry) = self.jobs.lock().get_mut(&attempt.job) {
            let spool = entry.attempts.remove(&attempt).unwrap_or_default();
            entry.attempts.clear();
            let last_read = Mutex::new(self.clock.now());
            let finished = Finished { spool, pages: Mutex::default(), last_read };
            entry.state.send_replace(JobResult::Ready(Arc::new(finished)));
        }
    }

    /// The attempt's rows are void.
    pub fn drop_attempt(&self, attempt: Attempt) {
        if let Some(entry) = self.jobs.lock().get_mut(&attempt.job) {
            entry.attempts.remove(&attempt);
            if matches!(*entry.state.borrow(), JobResult::Ready(_)) {
                entry.state.send_replace(JobResult::Pending);
            }
        }
    }

    /// The job is over; without a published result there will be none.
    pub fn job_ended(&self, job: JobId, end: &JobEnd) {
        if let Some(live) = self.live(job) {
            return live.result.end(End::Broken(end.clone()));
        }
        if let Some(entry) = self.jobs.lock().get_mut(&job) {
            entry.attempts.clear();
            if matches!(*entry.state.borrow(), JobResult::Pending) {
                entry.state.send_replace(JobResult::Ended(end.clone()));
            }
        }
    }

    /// The job is dropped from memory.
    pub fn forget(&self, job: JobId) {
        self.jobs.lock().remove(&job);
    }

    /// All jobs are another JobManager's now: whoever reads a result of theirs learns that it is gone.
    pub fn forget_all(&self) {
        for entry in std::mem::take(&mut *self.jobs.lock()).into_values() {
            if let JobResult::Live(live) = &*entry.state.borrow() {
                live.result.end(End::Broken(JobEnd { status: JobStatus::Suspended, failure: None }));
            }
        }
    }

    /// What there is of a job's result, now and when it changes; `None` if the job is no query.
    pub fn watch(&self, job: JobId) -> Option<watch::Receiver<JobResult>> {
        self.jobs.lock().get(&job).map(|entry| entry.state.subscribe())
    }

    /// Notes that somebody reads a result.
    pub fn touch(&self, finished: &Finished) {
        *finished.last_read.lock() = self.clock.now();
    }

    /// Frees results that nobody has read for their time to live. Readers that are at it keep theirs until they are done. Returns the
    /// jobs that make rows for nobody.
    pub fn expire(&self, now: Timestamp) -> Vec<JobId> {
        let mut unread = Vec::new();
        for (job, entry) in self.jobs.lock().iter_mut() {
            let expired = match &*entry.state.borrow() {
                JobResult::Ready(finished) => finished.last_read.lock().after(self.ttl) <= now,
                JobResult::Live(live) if live.result.idle_at(self.ttl).is_none_or(|at| at > now) => false,
                JobResult::Live(live) if !live.result.has_ended() => {
                    live.result.give_up();
                    unread.push(*job);
                    false
                }
                JobResult::Live(_) => true,
                _ => false,
            };
            if expired {
                entry.state.send_replace(JobResult::Gone);
            }
        }
        unread
    }

    /// When the next result is due to be freed.
    pub fn deadline(&self) -> Option<Timestamp> {
        let jobs = self.jobs.lock();
        let due = jobs.values().filter_map(|entry| match &*entry.state.borrow() {
            JobResult::Ready(finished) => Some(finished.last_read.lock().after(self.ttl)),
            JobResult::Live(live) => live.result.idle_at(self.ttl),
            _ => None,
        });
        due.min()
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{SubtaskId, VertexId};

    use super::*;

    #[tokio::test]
    async fn rows_that_cannot_be_kept_name_the_folder_and_the_option() {
        let folder = PathBuf::from("/proc/no-such-folder");
        let results = ResultStore::new(Clock::start(), Duration::from_secs(1), folder);
        let subtask = SubtaskId { vertex: VertexId(0), index: 0 };
        let attempt = Attempt { job: JobId(1), subtask, number: 0 };
        results.expect(attempt.job);
        let (worker, _) = mpsc::channel(1);
        let error = results.append(attempt, vec![0; 17 << 20].into(), &worker).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Deterministic);
        let message = error.to_string();
        assert!(message.contains("`/proc/no-such-folder`") && message.contains("`io.tmp.dirs`"), "{message}");
    }
}
