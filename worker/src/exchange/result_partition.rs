//! What a task writes over one edge: rows are dealt to lanes, gathered to full batches, and put into queues or a file.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use arrow::{array::RecordBatch, compute::BatchCoalescer, datatypes::SchemaRef};
use datafusion::{
    error::{DataFusionError, Result},
    execution::{TaskContext, memory_pool::MemoryReservation},
};
use parking_lot::Mutex;
use thalweg_graph::{
    EdgeId,
    exchange::{ExchangeKind, Partitioning, ResultPartitionDescriptor},
};

use super::{
    Exchange,
    block::batch_bytes,
    event::Signal,
    partitioner::Partitioner,
    shuffle_file::ShuffleWriter,
    subpartition_queue::{Demand, QueueWriter, queue},
};
use crate::counters::TaskCounters;

/// Fewer rows than this are never sent for lack of room to gather more.
const BATCH_ROWS_MIN: usize = 256;
/// A batch for a slow consumer is not cut into pieces of fewer rows than this.
const PIECE_ROWS_MIN: usize = 1024;
/// Bytes that one stream gathers over one edge, all lanes together.
const GATHERED_BYTES_MAX: usize = 16 << 20;
/// Bytes queued over one edge by one task, all subpartitions together, as far as each has its minimum.
const QUEUED_BYTES: usize = 16 << 20;
const QUEUE_BYTES_MIN: usize = 256 << 10;
const QUEUE_BYTES_MAX: usize = 4 << 20;

/// The output of one attempt over one edge, shared by the streams that the attempt runs.
pub struct ResultPartition {
    descriptor: ResultPartitionDescriptor,
    schema: SchemaRef,
    target: Target,
    exchange: Arc<Exchange>,
    counters: Arc<TaskCounters>,
    writers: AtomicUsize,
}

enum Target {
    Queues(Vec<QueueWriter>),
    File(Mutex<ShuffleWriter>),
}

impl ResultPartition {
    /// Makes the queues, which consumers then find, or the file, which they find when it is complete.
    pub fn create(
        descriptor: &ResultPartitionDescriptor,
        schema: &SchemaRef,
        exchange: &Arc<Exchange>,
        counters: &Arc<TaskCounters>,
    ) -> Result<Self> {
        let subpartitions = descriptor.subpartitions.max(1) as usize;
        let broadcast = descriptor.partitioning == Partitioning::Broadcast;
        let target = match descriptor.kind {
            ExchangeKind::Pipelined => {
                let capacity = (QUEUED_BYTES / subpartitions).clamp(QUEUE_BYTES_MIN, QUEUE_BYTES_MAX);
                let (writers, readers) =
                    (0..subpartitions).map(|_| queue(capacity, &exchange.memory)).unzip();
                exchange.store.register_queues(descriptor.id, readers, broadcast).map_err(external)?;
                Target::Queues(writers)
            }
            ExchangeKind::Blocking => {
                let lanes = if broadcast { 1 } else { subpartitions };
                let path = shuffle_path(exchange, descriptor);
                let writer = ShuffleWriter::create(path, schema, lanes).map_err(external)?;
                Target::File(Mutex::new(writer))
            }
        };
        Ok(Self {
            descriptor: descriptor.clone(),
            schema: Arc::clone(schema),
            target,
            exchange: Arc::clone(exchange),
            counters: Arc::clone(counters),
            writers: AtomicUsize::new(0),
        })
    }

    /// The edge that it goes over.
    pub fn edge(&self) -> EdgeId {
        self.descriptor.id.edge
    }

    /// A writer for one of the task's streams.
    pub fn writer(self: &Arc<Self>, context: &TaskContext) -> Result<PartitionWriter> {
        let ResultPartitionDescriptor { id, partitioning, subpartitions, .. } = &self.descriptor;
        let subpartitions = (*subpartitions).max(1) as usize;
        let lanes = match partitioning {
            Partitioning::Single | Partitioning::Broadcast => 1,
            Partitioning::Hash { .. }
            | Partitioning::KeyGroups { .. }
            | Partitioning::Forward
            | Partitioning::RoundRobin => subpartitions,
        };
        let subtask = id.producer.subtask.index as usize;
        let start = subtask + self.writers.fetch_add(1, Relaxed);
        let partitioner =
            Partitioner::new(partitioning, subpartitions, subtask, start, &self.schema, context)?;
        Ok(PartitionWriter {
            partition: Arc::clone(self),
            partitioner,
            lanes: Lanes::Unsized(lanes),
            batch_rows: context.session_config().batch_size().max(BATCH_ROWS_MIN),
            gathered: self.exchange.memory.new_empty(),
        })
    }

    /// Completes the output: all writers have flushed.
    pub fn finish(self) -> Result<()> {
        match self.target {
            Target::Queues(queues) => {
                queues.iter().for_each(QueueWriter::end);
                Ok(())
            }
            Target::File(writer) => {
                let file = writer.into_inner().finish().map_err(external)?;
                let same = self.descriptor.partitioning == Partitioning::Broadcast;
                self.exchange.store.register_file(self.descriptor.id, file, same).map_err(external)
            }
        }
    }

    /// Whether consumers read it while it is being written: they notice when it is given up.
    pub fn is_read_meanwhile(&self) -> bool {
        matches!(self.target, Target::Queues(_))
    }

    /// Gives the output up. Consumers are told why.
    pub fn fail(&self, why: &str) {
        if let Target::Queues(queues) = &self.target {
            queues.iter().for_each(|queue| queue.fail(why.to_owned()));
            // A job that is over has no consumers.
            let _ = self.exchange.store.give_up(self.descriptor.id, why.to_owned());
        }
    }

    async fn send(&self, lane: usize, batch: RecordBatch) -> Result<()> {
        self.counters.records_out.add(batch.num_rows() as u64);
        match &self.target {
            Target::File(writer) => {
                let bytes = writer.lock().write(lane, &batch).map_err(external)?;
                self.counters.bytes_out.add(bytes);
            }
            Target::Queues(queues) => {
                let bytes = batch_bytes(&batch);
                let receivers = match self.descriptor.partitioning {
                    Partitioning::Broadcast => queues.as_slice(),
                    _ => &queues[lane..=lane],
                };
                for queue in receivers {
                    for (piece, bytes) in pieces(&batch, bytes, queue.limit_bytes()) {
                        queue.push(piece, bytes, &self.counters.backpressured).await;
                    }
                    self.counters.bytes_out.add(bytes as u64);
                }
            }
        }
        Ok(())
    }

    /// Tells all consumers something between rows.
    async fn signal(&self, signal: Signal) {
        let Target::Queues(queues) = &self.target else { return };
        for queue in queues {
            queue.signal(signal.clone(), &self.counters.backpressured).await;
        }
    }

    fn demand(&self) -> Demand {
        match &self.target {
            Target::Queues(queues) if queues.iter().all(|queue| queue.demand() == Demand::Over) => {
                Demand::Over
            }
            _ => Demand::Wanted,
        }
    }
}

/// A batch in pieces of what may wait for its consumer, each with its bytes: a slow one then has a barrier sooner. Not in smaller ones than it
/// may need to be as fast as it is.
fn pieces(
    batch: &RecordBatch,
    bytes: usize,
    limit_bytes: usize,
) -> impl Iterator<Item = (RecordBatch, usize)> + use<'_> {
    let rows = batch.num_rows().max(1);
    let row_bytes = bytes.div_ceil(rows).max(1);
    let piece_rows = if bytes <= limit_bytes { rows } else { (limit_bytes / row_bytes).max(PIECE_ROWS_MIN) };
    (0..rows).step_by(piece_rows).map(move |start| {
        let length = piece_rows.min(rows - start);
        (batch.slice(start, length.min(batch.num_rows())), length * row_bytes)
    })
}

/// A name that no other attempt, and no other worker below the same folder, uses.
fn shuffle_path(exchange: &Exchange, descriptor: &ResultPartitionDescriptor) -> PathBuf {
    let id = descriptor.id;
    let folders = &exchange.shuffle_dirs;
    let folder = &folders[id.producer.subtask.index as usize % folders.len()];
    folder.join(format!("{}_{}.shuffle", id.producer, id.edge))
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// One stream's way into a result partition.
pub struct PartitionWriter {
    partition: Arc<ResultPartition>,
    partitioner: Partitioner,
    lanes: Lanes,
    /// Rows of a full batch.
    batch_rows: usize,
    /// What the lanes hold, as the pool is told.
    gathered: MemoryReservation,
}

enum Lanes {
    /// How many there will be: how many rows each gathers is decided by the first batch.
    Unsized(usize),
    Sized {
        lanes: Vec<BatchCoalescer>,
        row_bytes: usize,
    },
}

impl PartitionWriter {
    /// Deals a batch, and sends what is full then.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<Demand> {
        if batch.num_rows() == 0 {
            return Ok(self.partition.demand());
        }
        let (lanes, row_bytes) = self.lanes.sized(&batch, self.batch_rows);
        for (lane, part) in self.partitioner.deal(batch)? {
            lanes[lane].push_batch(part)?;
            while let Some(full) = lanes[lane].next_completed_batch() {
                self.partition.send(lane, full).await?;
            }
        }
        let rows: usize = lanes.iter().map(BatchCoalescer::get_buffered_rows).sum();
        self.gathered.resize(rows * row_bytes);
        Ok(self.partition.demand())
    }

    /// Sends what is gathered, full or not.
    pub async fn flush(&mut self) -> Result<()> {
        let Lanes::Sized { lanes, .. } = &mut self.lanes else { return Ok(()) };
        for (lane, coalescer) in lanes.iter_mut().enumerate() {
            coalescer.finish_buffered_batch()?;
            while let Some(rest) = coalescer.next_completed_batch() {
                self.partition.send(lane, rest).await?;
            }
        }
        self.gathered.free();
        Ok(())
    }

    /// Sends what is gathered, and behind it what is said between rows.
    pub async fn signal(&mut self, signal: Signal) -> Result<()> {
        self.flush().await?;
        self.partition.signal(signal).await;
        Ok(())
    }

    /// Whether rows wait here for more to come while a consumer may wait for them.
    pub fn holds_back(&self) -> bool {
        self.gathered.size() > 0 && matches!(self.partition.target, Target::Queues(_))
    }
}

impl Lanes {
    fn sized(&mut self, first: &RecordBatch, batch_rows: usize) -> (&mut Vec<BatchCoalescer>, usize) {
        if let Lanes::Unsized(count) = *self {
            let row_bytes = (batch_bytes(first) / first.num_rows()).max(1);
            let rows = (GATHERED_BYTES_MAX / (count * row_bytes)).clamp(BATCH_ROWS_MIN, batch_rows);
            let lane = || {
                // A part that is large already goes on as it is.
                BatchCoalescer::new(first.schema(), rows).with_biggest_coalesce_batch_size(Some(rows / 4))
            };
            *self = Lanes::Sized { lanes: (0..count).map(|_| lane()).collect(), row_bytes };
        }
        match self {
            Lanes::Sized { lanes, row_bytes } => (lanes, *row_bytes),
            Lanes::Unsized(_) => unreachable!("sized above"),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{ArrayRef, Int64Array},
        compute::concat_batches,
    };

    use super::*;

    #[test]
    fn a_batch_for_a_slow_consumer_is_cut() {
        let column = Arc::new(Int64Array::from_iter_values(0..10_000)) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let bytes = batch_bytes(&batch);
        let rows =
            |limit| pieces(&batch, bytes, limit).map(|(piece, _)| piece.num_rows()).collect::<Vec<_>>();
        assert_eq!(rows(bytes), [10_000]);
        assert_eq!(rows(bytes / 2), [5_000, 5_000]);
        assert_eq!(rows(1), [[1024].repeat(9), vec![784]].concat());
        let all: Vec<_> = pieces(&batch, bytes, bytes / 3).collect();
        assert_eq!(all.iter().map(|(_, bytes)| bytes).sum::<usize>(), bytes);
        let all: Vec<_> = all.into_iter().map(|(piece, _)| piece).collect();
        assert_eq!(concat_batches(&batch.schema(), &all).unwrap(), batch);
    }
}
