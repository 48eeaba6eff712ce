//! The rows of a query without an end, between the task that makes them and the one reader that takes them as they come.
//!
//! A task sends no more than [`LIVE_CHUNKS_MAX`] chunks ahead of its reader, so that what waits here is bounded and a reader that
//! is slow slows the job. What was taken is gone: there is no second reader.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use thalweg_graph::Attempt;
use thalweg_rpc::{LIVE_CHUNKS_MAX, ToWorker};
use tokio::sync::{Notify, mpsc};

use crate::{
    clock::{Clock, Timestamp},
    view::JobEnd,
};

/// A result that is read while it is made.
#[derive(Debug)]
pub struct LiveResult {
    clock: Clock,
    state: Mutex<State>,
    changed: Notify,
}

/// How a result is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    AsStream,
    ByPages,
}

#[derive(Debug)]
struct State {
    chunks: VecDeque<Bytes>,
    /// Whose rows they are, and the way to its worker.
    sender: Option<(Attempt, mpsc::WeakSender<ToWorker>)>,
    end: Option<End>,
    /// Nothing until somebody has begun to.
    reading: Option<Reading>,
    /// Whether a reader waits for what comes next.
    waiting: bool,
    last_read: Timestamp,
    given_up: bool,
}

/// How a live result ends.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// With all of its rows.
    Complete,
    /// With its job, early.
    Broken(JobEnd),
}

/// A task has sent more than it may.
#[derive(Debug, thiserror::Error)]
#[error("more than {LIVE_CHUNKS_MAX} chunks of a live result were sent ahead of its reader")]
pub struct TooFast;

impl LiveResult {
    /// A result of which nothing has come.
    pub fn new(clock: Clock) -> Self {
        let state = State {
            chunks: VecDeque::new(),
            sender: None,
            end: None,
            reading: None,
            waiting: false,
            last_read: clock.now(),
            given_up: false,
        };
        Self { clock, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Takes the next bytes of an attempt; `worker` is the session that it came by.
    pub fn push(
        &self,
        attempt: Attempt,
        bytes: Bytes,
        worker: &mpsc::Sender<ToWorker>,
    ) -> Result<(), TooFast> {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return Ok(());
        }
        if state.chunks.len() >= LIVE_CHUNKS_MAX {
            return Err(TooFast);
        }
        state.chunks.push_back(bytes);
        state.sender.get_or_insert_with(|| (attempt, worker.downgrade()));
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Nothing follows.
    pub fn end(&self, end: End) {
        self.state.lock().end.get_or_insert(end);
        self.changed.notify_one();
    }

    /// Makes the caller the one who reads it as a stream; `false` if somebody else reads it or did.
    pub fn claim(&self) -> bool {
        let mut state = self.state.lock();
        let is_first = state.reading.is_none();
        state.reading.get_or_insert(Reading::AsStream);
        is_first
    }

    /// Has it read page by page; `false` if somebody reads it as a stream or did.
    pub fn is_paged(&self) -> bool {
        *self.state.lock().reading.get_or_insert(Reading::ByPages) == Reading::ByPages
    }

    /// Waits for the next bytes; the end comes behind all of them. A call that is dropped while it waits loses nothing.
    pub async fn next(&self) -> Result<Bytes, End> {
        let _waiting = Waiting::begin(self);
        loop {
            let sender = {
                let state = self.state.lock();
                match (state.chunks.is_empty(), &state.end) {
                    (false, _) => Some(state.sender.clone()),
                    (true, Some(end)) => return Err(end.clone()),
                    (true, None) => None,
                }
            };
            let Some(sender) = sender else {
                self.changed.notified().await;
                continue;
            };
            let worker = sender.and_then(|(attempt, worker)| Some((attempt, worker.upgrade()?)));
            // Without its session the task is over; what it has sent is still read.
            let permit = match &worker {
                Some((attempt, worker)) => worker.reserve().await.ok().map(|permit| (*attempt, permit)),
                None => None,
            };
            let taken = self.state.lock().chunks.pop_front();
            if let Some(bytes) = taken {
                if let Some((attempt, permit)) = permit {
                    permit.send(ToWorker::ResultTaken { attempt, chunks: 1 });
                }
                return Ok(bytes);
            }
        }
    }

    /// Whether there is something to read, or the end.
    pub fn is_ready(&self) -> bool {
        let state = self.state.lock();
        !state.chunks.is_empty() || state.end.is_some()
    }

    /// Whether its job has come to an end.
    pub fn has_ended(&self) -> bool {
        self.state.lock().end.is_some()
    }

    /// When nobody will have read it for too long, unless somebody waits for it now.
    pub fn idle_at(&self, ttl: std::time::Duration) -> Option<Timestamp> {
        let state = self.state.lock();
        (!state.waiting && !state.given_up).then(|| state.last_read.after(ttl))
    }

    /// Nobody is expected to read on.
    pub fn give_up(&self) {
        self.state.lock().given_up = true;
    }
}

/// While a reader waits, a result is not idle.
struct Waiting<'a>(&'a LiveResult);

impl<'a> Waiting<'a> {
    fn begin(result: &'a LiveResult) -> Self {
        result.state.lock().waiting = true;
        Self(result)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.waiting = false;
        state.last_read = self.0.clock.now();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;
    use thalweg_graph::{JobId, JobStatus, SubtaskId, VertexId};

    use super::*;

    fn attempt() -> Attempt {
        let subtask = SubtaskId { vertex: VertexId(0), index: 0 };
        Attempt { job: JobId(1), subtask, number: 0 }
    }

    #[tokio::test]
    async fn what_is_taken_is_told_to_the_worker_and_no_more_than_that_is_held() {
        let result = LiveResult::new(Clock::start());
        let (worker, mut orders) = mpsc::channel(64);
        for chunk in 0..LIVE_CHUNKS_MAX {
            result.push(attempt(), vec![chunk as u8].into(), &worker).unwrap();
        }
        assert!(result.push(attempt(), Bytes::new(), &worker).is_err());
        assert_eq!(result.next().await.unwrap(), vec![0]);
        assert_eq!(orders.recv().await, Some(ToWorker::ResultTaken { attempt: attempt(), chunks: 1 }));
        result.push(attempt(), vec![99].into(), &worker).unwrap();
        result.end(End::Complete);
        let mut rest = Vec::new();
        while let Ok(chunk) = result.next().await {
            rest.extend_from_slice(&chunk);
        }
        assert_eq!(rest.first(), Some(&1));
        assert_eq!(rest.last(), Some(&99));
        assert_eq!(result.next().await, Err(End::Complete));
    }

    #[tokio::test]
    async fn a_job_that_breaks_ends_its_result_behind_what_has_come() {
        let result = LiveResult::new(Clock::start());
        let (worker, _orders) = mpsc::channel(64);
        assert!(result.next().now_or_never().is_none());
        result.push(attempt(), vec![1].into(), &worker).unwrap();
        let end = End::Broken(JobEnd { status: JobStatus::Canceled, failure: None });
        result.end(end.clone());
        assert_eq!(result.next().await.unwrap(), vec![1]);
        assert_eq!(result.next().await, Err(end));
    }

    #[tokio::test]
    async fn a_result_is_idle_while_nobody_waits_for_it() {
        let result = LiveResult::new(Clock::start());
        let ttl = Duration::from_secs(5);
        assert!(result.idle_at(ttl).is_some(), "it was never read");
        let mut next = Box::pin(result.next());
        assert!(next.as_mut().now_or_never().is_none());
        assert_eq!(result.idle_at(ttl), None);
        drop(next);
        assert!(result.idle_at(ttl).is_some());
        result.give_up();
        assert_eq!(result.idle_at(ttl), None, "it is idle once");
        assert!(result.claim() && !result.claim() && !result.is_paged());
    }
}
