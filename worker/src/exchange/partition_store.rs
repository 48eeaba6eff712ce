//! What this worker's tasks have written for other tasks: queues of running producers, files of finished ones.
//!
//! Producers register, consumers take. A consumer of a pipelined partition may come first: it waits for its producer for a
//! bounded time. A job's partitions live until they are taken, released, or the job is forgotten.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
pub use thalweg_graph::failure::chain;
use thalweg_graph::{
    Attempt, JobId,
    exchange::{ExchangeKind, ResultPartitionId},
};
use tokio::sync::Notify;

use super::{
    fetch_failed::FetchFailed,
    frame::OpenRequest,
    shuffle_file::{ShuffleFile, ShuffleReader},
    subpartition_queue::QueueReader,
};

/// How long a consumer waits for a producer that is being deployed.
const PRODUCER_WAIT: Duration = Duration::from_secs(30);

/// The partitions of one worker.
pub struct PartitionStore {
    state: Mutex<State>,
    registered: Notify,
    producer_wait: Duration,
}

impl Default for PartitionStore {
    fn default() -> Self {
        Self::with_producer_wait(PRODUCER_WAIT)
    }
}

#[derive(Default)]
struct State {
    jobs: HashSet<JobId>,
    partitions: HashMap<ResultPartitionId, Stored>,
}

enum Stored {
    /// Each queue until it is taken.
    Pipelined {
        queues: Vec<Option<QueueReader>>,
        same: bool,
    },
    Blocking {
        file: Arc<ShuffleFile>,
        same: bool,
    },
    /// Nothing, and why: a consumer that comes late need not wait to learn it.
    GivenUp(String),
}

/// What a consumer gets.
pub enum Taken {
    /// The queue of a producer that runs, or has run with its last rows still queued.
    Queue(QueueReader),
    /// A file.
    File(ShuffleReader),
}

/// The job was forgotten meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("job `{0}` has ended on this worker")]
pub struct JobOver(pub JobId);

impl PartitionStore {
    /// A store whose consumers wait so long for a producer that is not there yet.
    pub fn with_producer_wait(producer_wait: Duration) -> Self {
        Self { state: Mutex::default(), registered: Notify::new(), producer_wait }
    }

    /// Lets partitions of a job in.
    pub fn open_job(&self, job: JobId) {
        self.state.lock().jobs.insert(job);
    }

    /// Drops a job's partitions and lets no more in.
    pub fn forget_job(&self, job: JobId) {
        self.drop_where(|state| {
            state.jobs.remove(&job);
            state.take_where(|id| id.producer.job == job)
        });
    }

    /// Offers the queues of a producer that starts. Where all carry the `same` rows, a consumer gets any that is free.
    pub fn register_queues(
        &self,
        id: ResultPartitionId,
        queues: Vec<QueueReader>,
        same: bool,
    ) -> Result<(), JobOver> {
        self.register(id, Stored::Pipelined { queues: queues.into_iter().map(Some).collect(), same })
    }

    /// Offers the file of a producer that finished. Where all consumers read the `same` rows, the file holds them once.
    pub fn register_file(&self, id: ResultPartitionId, file: ShuffleFile, same: bool) -> Result<(), JobOver> {
        self.register(id, Stored::Blocking { file: Arc::new(file), same })
    }

    /// Says that a partition will not be completed. Queues that are taken already must be told by their writers.
    pub fn give_up(&self, id: ResultPartitionId, why: String) -> Result<(), JobOver> {
        self.register(id, Stored::GivenUp(why))
    }

    fn register(&self, id: ResultPartitionId, stored: Stored) -> Result<(), JobOver> {
        let mut state = self.state.lock();
        if !state.jobs.contains(&id.producer.job) {
            return Err(JobOver(id.producer.job));
        }
        let replaced = state.partitions.insert(id, stored);
        drop(state);
        drop(replaced);
        self.registered.notify_waiters();
        Ok(())
    }

    /// Drops a partition that is not needed any more.
    pub fn release(&self, id: ResultPartitionId) {
        self.drop_where(|state| state.partitions.remove(&id).into_iter().collect());
    }

    /// Drops what an attempt that did not finish had offered.
    pub fn release_attempt(&self, producer: Attempt) {
        self.drop_where(|state| state.take_where(|id| id.producer == producer));
    }

    /// Removing files may take time, so it is done outside of the lock.
    fn drop_where(&self, take: impl FnOnce(&mut State) -> Vec<Stored>) {
        let taken = take(&mut self.state.lock());
        drop(taken);
    }

    /// The finished files held: what a worker tells a new leader.
    pub fn files(&self) -> Vec<ResultPartitionId> {
        let state = self.state.lock();
        let is_file = |stored: &Stored| matches!(stored, Stored::Blocking { .. });
        state.partitions.iter().filter(|(_, stored)| is_file(stored)).map(|(id, _)| *id).collect()
    }

    /// How many partitions are held.
    pub fn held(&self) -> usize {
        self.state.lock().partitions.len()
    }

    /// Gives a consumer what it asks for, after waiting for its producer where that is still to come.
    pub async fn take(&self, request: &OpenRequest) -> Result<Taken, FetchFailed> {
        let failed = |why: String| FetchFailed { partition: request.partition, why };
        let wait = async {
            loop {
                let registered = self.registered.notified();
                tokio::pin!(registered);
                registered.as_mut().enable();
                if let Some(taken) = self.try_take(request) {
                    return taken;
                }
                if request.kind == ExchangeKind::Blocking {
                    return Err("this worker does not hold it (any more)".to_owned());
                }
                registered.await;
            }
        };
        match tokio::time::timeout(self.producer_wait, wait).await {
            Ok(taken) => taken.map_err(failed),
            Err(_) => {
                Err(failed(format!("its task did not start within {} ms", self.producer_wait.as_millis())))
            }
        }
    }

    fn try_take(&self, request: &OpenRequest) -> Option<Result<Taken, String>> {
        let mut state = self.state.lock();
        let subpartition = request.subpartition as usize;
        match state.partitions.get_mut(&request.partition)? {
            Stored::GivenUp(why) => Some(Err(why.clone())),
            Stored::Blocking { file, same } => {
                let file = Arc::clone(file);
                let subpartition = if *same { 0 } else { subpartition };
                drop(state);
                Some(match ShuffleReader::open(file, subpartition) {
                    Ok(Some(reader)) => Ok(Taken::File(reader)),
                    Ok(None) => Err(format!("it has no subpartition {subpartition}")),
                    Err(error) => Err(chain(&error)),
                })
            }
            Stored::Pipelined { queues, same } => {
                let mut queue = queues.get_mut(subpartition).and_then(Option::take);
                if *same && queue.is_none() {
                    queue = queues.iter_mut().find_map(Option::take);
                }
                if queues.iter().all(Option::is_none) {
                    state.partitions.remove(&request.partition);
                }
                let missing = || format!("its subpartition {subpartition} was read before or does not exist");
                Some(queue.map(Taken::Queue).ok_or_else(missing))
            }
        }
    }
}

impl State {
    fn take_where(&mut self, wanted: impl Fn(&ResultPartitionId) -> bool) -> Vec<Stored> {
        self.partitions.extract_if(|id, _| wanted(id)).map(|(_, stored)| stored).collect()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, UnboundedMemoryPool};
    use thalweg_graph::{EdgeId, SubtaskId, VertexId};

    use super::*;
    use crate::exchange::subpartition_queue::queue;

    const JOB: JobId = JobId(1);

    fn request(kind: ExchangeKind, subpartition: u32) -> OpenRequest {
        let producer = Attempt { job: JOB, subtask: SubtaskId { vertex: VertexId(0), index: 0 }, number: 0 };
        OpenRequest {
            partition: ResultPartitionId { producer, edge: EdgeId(0) },
            subpartition,
            kind,
            window_bytes: 1,
        }
    }

    fn queue_reader() -> QueueReader {
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        queue(1, &MemoryConsumer::new("test").register(&pool)).1
    }

    #[tokio::test]
    async fn a_consumer_may_come_before_its_producer_but_not_wait_for_ever() {
        let store = PartitionStore::with_producer_wait(Duration::from_millis(20));
        store.open_job(JOB);
        let request = request(ExchangeKind::Pipelined, 0);
        let (taken, registered) = tokio::join!(store.take(&request), async {
            tokio::task::yield_now().await;
            store.register_queues(request.partition, vec![queue_reader()], false)
        });
        assert!(taken.is_ok() && registered.is_ok());
        assert_eq!(store.held(), 0, "a partition whose queues are all taken is not held");

        let failed = store.take(&request).await.err().unwrap();
        assert!(failed.to_string().contains("did not start within 20 ms"), "{failed}");
    }

    #[tokio::test]
    async fn what_was_read_or_forgotten_is_refused_at_once() {
        let store = PartitionStore::default();
        store.open_job(JOB);
        let first = request(ExchangeKind::Pipelined, 0);
        store.register_queues(first.partition, vec![queue_reader(), queue_reader()], false).unwrap();
        assert!(store.take(&first).await.is_ok());
        assert!(store.take(&first).await.is_err());

        store.register_queues(first.partition, vec![queue_reader(), queue_reader()], true).unwrap();
        assert!(store.take(&first).await.is_ok());
        assert!(store.take(&first).await.is_ok(), "any copy of a broadcast will do");

        store.forget_job(JOB);
        assert_eq!(store.held(), 0);
        assert_eq!(store.register_queues(first.partition, vec![queue_reader()], false), Err(JobOver(JOB)));
        assert!(store.take(&request(ExchangeKind::Blocking, 0)).await.is_err());
    }
}
