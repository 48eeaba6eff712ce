//! The rows on their way from one producer to one consumer while both run: a queue bounded in bytes.
//!
//! Every batch in the queue holds its share of the bound and of the worker's memory pool, and gives both back when it is dropped,
//! wherever that happens.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::MemoryReservation;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};

use super::event::Signal;
use crate::counters::Stopwatch;

/// What a signal counts for in a queue.
const SIGNAL_BYTES: usize = 64;

/// One batch and what it occupies.
pub struct QueuedBatch {
    /// The rows.
    pub batch: RecordBatch,
    /// Their bytes.
    pub bytes: usize,
    /// Given back when the batch has left the queue for good: taken by a local consumer, or written to a connection.
    pub held: Held,
}

/// A share of a queue's bound and of the memory pool.
pub struct Held {
    _space: OwnedSemaphorePermit,
    _memory: MemoryReservation,
}

/// What comes out of a queue. After `End` or `Failed` nothing comes. A queue that yields `None` without them lost its producer.
pub enum Item {
    /// Rows.
    Batch(QueuedBatch),
    /// What is said between rows, and its share of the bound.
    Signal(Signal, Held),
    /// The producer is done.
    End,
    /// The producer failed: why.
    Failed(String),
}

/// Whether somebody still reads what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Go on.
    Wanted,
    /// The consumer is gone or has enough.
    Over,
}

/// The producer's end.
pub struct QueueWriter {
    items: mpsc::UnboundedSender<Item>,
    space: Arc<Semaphore>,
    capacity_bytes: u32,
    memory: MemoryReservation,
}

/// The consumer's end.
pub struct QueueReader {
    items: mpsc::UnboundedReceiver<Item>,
    space: Arc<Semaphore>,
}

/// A queue of at most `capacity_bytes`, or one batch where that is larger. `memory` says which pool the bytes count against.
pub fn queue(capacity_bytes: u32, memory: &MemoryReservation) -> (QueueWriter, QueueReader) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let space = Arc::new(Semaphore::new(capacity_bytes as usize));
    let writer =
        QueueWriter { items: sender, space: Arc::clone(&space), capacity_bytes, memory: memory.new_empty() };
    (writer, QueueReader { items: receiver, space })
}

impl QueueWriter {
    /// Puts a batch of `bytes` into the queue, after waiting for space, for as long as `waits` counts.
    pub async fn push(&self, batch: RecordBatch, bytes: usize, waits: &Stopwatch) -> Demand {
        self.put(bytes, waits, |held| Item::Batch(QueuedBatch { batch, bytes, held })).await
    }

    /// Puts what is said between rows into the queue; it waits and counts like a small batch.
    pub async fn signal(&self, signal: Signal, waits: &Stopwatch) -> Demand {
        self.put(SIGNAL_BYTES, waits, |held| Item::Signal(signal, held)).await
    }

    async fn put(&self, bytes: usize, waits: &Stopwatch, item: impl FnOnce(Held) -> Item) -> Demand {
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.capacity_bytes);
        let space = match Arc::clone(&self.space).try_acquire_many_owned(wanted) {
            Ok(space) => Ok(space),
            Err(TryAcquireError::Closed) => return Demand::Over,
            Err(TryAcquireError::NoPermits) => {
                let _waiting = waits.start();
                Arc::clone(&self.space).acquire_many_owned(wanted).await
            }
        };
        let Ok(space) = space else { return Demand::Over };
        let memory = self.memory.new_empty();
        // The bound is what keeps this small; the pool is told so that operators leave room.
        memory.grow(bytes);
        match self.items.send(item(Held { _space: space, _memory: memory })) {
            Ok(()) => Demand::Wanted,
            Err(_) => Demand::Over,
        }
    }

    /// Whether the consumer's end still exists.
    pub fn demand(&self) -> Demand {
        if self.items.is_closed() { Demand::Over } else { Demand::Wanted }
    }

    /// Says that all rows were written.
    pub fn end(&self) {
        // A consumer that left does not want to know.
        let _ = self.items.send(Item::End);
    }

    /// Says that the rest will not come.
    pub fn fail(&self, why: String) {
        let _ = self.items.send(Item::Failed(why));
    }
}

impl QueueReader {
    /// The next item; `None` if the producer vanished.
    pub async fn next(&mut self) -> Option<Item> {
        self.items.recv().await
    }
}

impl Drop for QueueReader {
    fn drop(&mut self) {
        self.space.close();
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};
    use futures::poll;

    use super::*;

    fn pool() -> (Arc<dyn MemoryPool>, MemoryReservation) {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1 << 20));
        let reservation = MemoryConsumer::new("queue").register(&pool);
        (pool, reservation)
    }

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1; 10])) as ArrayRef)]).unwrap()
    }

    #[tokio::test]
    async fn a_slow_consumer_stops_its_producer_at_the_bound() {
        let (pool, reservation) = pool();
        let waits = Stopwatch::default();
        let (writer, mut reader) = queue(200, &reservation);
        assert_eq!(writer.push(batch(), 80, &waits).await, Demand::Wanted);
        assert_eq!(writer.push(batch(), 80, &waits).await, Demand::Wanted);
        let mut third = Box::pin(writer.push(batch(), 80, &waits));
        assert!(poll!(third.as_mut()).is_pending());
        assert_eq!(pool.reserved(), 160);
        assert!(matches!(reader.next().await, Some(Item::Batch(_))));
        assert_eq!(third.await, Demand::Wanted);
        writer.end();
        assert!(matches!(reader.next().await, Some(Item::Batch(_))));
        assert!(matches!(reader.next().await, Some(Item::Batch(_))));
        assert_eq!(pool.reserved(), 0);
        assert!(matches!(reader.next().await, Some(Item::End)));
    }

    #[tokio::test]
    async fn a_batch_above_the_bound_passes_alone() {
        let (_pool, reservation) = pool();
        let waits = Stopwatch::default();
        let (writer, mut reader) = queue(100, &reservation);
        assert_eq!(writer.push(batch(), 5_000, &waits).await, Demand::Wanted);
        assert!(poll!(Box::pin(writer.push(batch(), 1, &waits))).is_pending());
        assert!(matches!(reader.next().await, Some(Item::Batch(_))));
        assert_eq!(writer.push(batch(), 1, &waits).await, Demand::Wanted);
    }

    #[tokio::test]
    async fn a_consumer_that_leaves_frees_its_producer_and_the_memory() {
        let (pool, reservation) = pool();
        let waits = Stopwatch::default();
        let (writer, reader) = queue(100, &reservation);
        writer.push(batch(), 100, &waits).await;
        let mut waiting = Box::pin(writer.push(batch(), 100, &waits));
        assert!(poll!(waiting.as_mut()).is_pending());
        drop(reader);
        assert_eq!(waiting.await, Demand::Over);
        assert_eq!(writer.demand(), Demand::Over);
        assert_eq!(pool.reserved(), 0);
    }
}
