//! The rows on their way from one producer to one consumer while both run: a queue bounded in bytes, and in the time that its consumer
//! needs for them.
//!
//! Every batch in the queue holds its share of the bound and of the worker's memory pool, and gives both back when it is dropped,
//! wherever that happens.

use std::{sync::Arc, time::Instant};

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::MemoryReservation;
use tokio::sync::mpsc;

use super::{
    event::Signal,
    pace::Pace,
    space::{Closed, Share, Space},
};
use crate::counters::Stopwatch;

/// What a signal counts for in a queue.
const SIGNAL_BYTES: usize = 64;
/// However slow the consumer is, so many bytes may wait for it.
const CAPACITY_BYTES_MIN: usize = 4 << 10;

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
    _space: Share,
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
    space: Arc<Space>,
    memory: MemoryReservation,
}

/// The consumer's end.
pub struct QueueReader {
    items: mpsc::UnboundedReceiver<Item>,
    space: Arc<Space>,
    capacity_bytes: usize,
    pace: Pace,
}

/// A queue of at most `capacity_bytes`, or one batch where that is larger. `memory` says which pool the bytes count against.
pub fn queue(capacity_bytes: usize, memory: &MemoryReservation) -> (QueueWriter, QueueReader) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let space = Space::new(capacity_bytes);
    let writer = QueueWriter { items: sender, space: Arc::clone(&space), memory: memory.new_empty() };
    (writer, QueueReader { items: receiver, space, capacity_bytes, pace: Pace::default() })
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
        let space = match self.space.try_take(bytes) {
            Ok(Some(space)) => Ok(space),
            Ok(None) => {
                let _waiting = waits.start();
                self.space.take(bytes).await
            }
            Err(Closed) => Err(Closed),
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

    /// How many bytes may wait for the consumer.
    pub fn limit_bytes(&self) -> usize {
        self.space.limit()
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
        self.pace.asked(Instant::now());
        let item = self.items.recv().await?;
        let bytes = if let Item::Batch(queued) = &item { queued.bytes } else { 0 };
        self.pace.handed_out(bytes, Instant::now());
        let least = CAPACITY_BYTES_MIN.min(self.capacity_bytes);
        self.space.set_limit(self.pace.limit(least..=self.capacity_bytes));
        Some(item)
    }
}

impl Drop for QueueReader {
    fn drop(&mut self) {
        self.space.close();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
    async fn less_waits_for_a_consumer_that_needs_long() {
        let (_pool, reservation) = pool();
        let waits = Stopwatch::default();
        let (writer, mut reader) = queue(1 << 20, &reservation);
        writer.push(batch(), 100, &waits).await;
        assert!(matches!(reader.next().await, Some(Item::Batch(_))));
        // It has worked for a second on 100 bytes.
        let second_ago = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        reader.pace.handed_out(100, second_ago);
        writer.push(batch(), 100, &waits).await;
        assert!(matches!(reader.next().await, Some(Item::Batch(_))));
        writer.push(batch(), CAPACITY_BYTES_MIN, &waits).await;
        let mut next = Box::pin(writer.push(batch(), 100, &waits));
        assert!(poll!(next.as_mut()).is_pending());
        assert!(matches!(reader.next().await, Some(Item::Batch(_))));
        assert_eq!(next.await, Demand::Wanted);
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
