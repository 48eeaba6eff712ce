//! What a task reads over its edges: the leaf [`thalweg_plan::exec::ExchangeSourceExec`] of its fragment is given life here.

use std::{collections::VecDeque, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    error::{DataFusionError, Result},
    execution::SendableRecordBatchStream,
    physical_plan::stream::RecordBatchStreamAdapter,
};
use futures::{Stream, StreamExt as _, stream};
use thalweg_graph::{
    EdgeId,
    exchange::{ExchangeKind, InputGate, ResultPartitionLocation},
};
use thalweg_plan::exec::{Channel, OpenExchange};

use super::{
    Exchange,
    block::{BlockDecoder, with_schema},
    data_client::RemoteChannel,
    data_server::read_block,
    fetch_failed::FetchFailed,
    frame::OpenRequest,
    partition_store::{Taken, chain},
    shuffle_file::ShuffleReader,
    subpartition_queue::{Item, QueueReader},
};
use crate::counters::TaskCounters;

/// Bytes under way to one gate from other workers, all channels together, as far as each has its minimum.
const WINDOWS_BYTES: usize = 16 << 20;
const WINDOW_BYTES_MIN: usize = 64 << 10;
const WINDOW_BYTES_MAX: usize = 1 << 20;
/// Finished producers that are read at the same time. Running ones are all read at once, or they would wait for each other.
const FILES_AT_ONCE: usize = 8;

/// The gates of one task.
pub struct InputGates {
    /// What the task was told to read.
    pub gates: Vec<InputGate>,
    /// The worker's exchange.
    pub exchange: Arc<Exchange>,
    /// The task's counters.
    pub counters: Arc<TaskCounters>,
}

impl OpenExchange for InputGates {
    fn open(&self, edge: EdgeId, channel: Channel, schema: SchemaRef) -> Result<SendableRecordBatchStream> {
        let Some(gate) = self.gates.iter().find(|gate| gate.edge == edge) else {
            return Err(DataFusionError::Plan(format!("the task has no input for edge {edge}")));
        };
        let producers = match channel {
            Channel::All => &gate.producers[..],
            Channel::Producer(index) => gate.producers.get(index..=index).ok_or_else(|| {
                DataFusionError::Plan(format!("edge {edge} has no producer with index {index}"))
            })?,
        };
        // Sorted inputs are opened one by one but share the gate's window.
        let window = (WINDOWS_BYTES / gate.producers.len().max(1)).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
        let streams: Vec<_> = producers
            .iter()
            .map(|location| {
                let request = OpenRequest {
                    partition: location.id,
                    subpartition: gate.subpartition,
                    kind: gate.kind,
                    window_bytes: window as u32,
                };
                self.read(location.clone(), request, &schema).boxed()
            })
            .collect();
        let at_once = match gate.kind {
            ExchangeKind::Pipelined => None,
            ExchangeKind::Blocking => Some(FILES_AT_ONCE),
        };
        let merged = stream::iter(streams).flatten_unordered(at_once);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, merged)))
    }
}

impl InputGates {
    /// The rows of one producer.
    fn read(
        &self,
        location: ResultPartitionLocation,
        request: OpenRequest,
        schema: &SchemaRef,
    ) -> impl Stream<Item = Result<RecordBatch>> + use<> {
        let counters = Arc::clone(&self.counters);
        let source = Source::Closed {
            exchange: Arc::clone(&self.exchange),
            location,
            request,
            schema: Arc::clone(schema),
        };
        let schema = Arc::clone(schema);
        stream::try_unfold(source, move |source| {
            let (counters, schema) = (Arc::clone(&counters), Arc::clone(&schema));
            async move {
                let mut source = source.opened().await.map_err(|why| fetch_failed(request, why))?;
                let next = source.next().await.map_err(|why| fetch_failed(request, why))?;
                let Some((batch, bytes)) = next else { return Ok(None) };
                counters.records_in.add(batch.num_rows() as u64);
                counters.bytes_in.add(bytes as u64);
                Ok(Some((with_schema(&batch, &schema)?, source)))
            }
        })
    }
}

fn fetch_failed(request: OpenRequest, why: String) -> DataFusionError {
    DataFusionError::External(Box::new(FetchFailed { partition: request.partition, why }))
}

enum Source {
    Closed {
        exchange: Arc<Exchange>,
        location: ResultPartitionLocation,
        request: OpenRequest,
        schema: SchemaRef,
    },
    Queue(QueueReader),
    File(Box<FileSource>),
    Remote(RemoteChannel),
}

impl Source {
    async fn opened(self) -> Result<Self, String> {
        let Source::Closed { exchange, location, request, schema } = self else { return Ok(self) };
        if location.worker != exchange.worker {
            return exchange.client.open(&location.data_address, request, schema).await.map(Source::Remote);
        }
        Ok(match exchange.store.take(&request).await.map_err(|failed| failed.why)? {
            Taken::Queue(queue) => Source::Queue(queue),
            Taken::File(reader) => Source::File(Box::new(FileSource {
                reader: Some(reader),
                decoder: BlockDecoder::new(schema),
                decoded: VecDeque::new(),
            })),
        })
    }

    /// The next batch and its bytes; `None` at the end.
    async fn next(&mut self) -> Result<Option<(RecordBatch, usize)>, String> {
        match self {
            Source::Closed { .. } => Err("it was not opened".to_owned()),
            Source::Remote(channel) => channel.next().await,
            Source::File(file) => file.next().await,
            Source::Queue(queue) => match queue.next().await {
                Some(Item::Batch(queued)) => Ok(Some((queued.batch, queued.bytes))),
                Some(Item::End) => Ok(None),
                Some(Item::Failed(why)) => Err(why),
                None => Err("its task ended without completing it".to_owned()),
            },
        }
    }
}

/// A file of this worker.
struct FileSource {
    /// `None` after the last block.
    reader: Option<ShuffleReader>,
    decoder: BlockDecoder,
    decoded: VecDeque<RecordBatch>,
}

impl FileSource {
    async fn next(&mut self) -> Result<Option<(RecordBatch, usize)>, String> {
        let mut bytes = 0;
        loop {
            if let Some(batch) = self.decoded.pop_front() {
                return Ok(Some((batch, bytes)));
            }
            let Some(reader) = self.reader.take() else { return Ok(None) };
            let (reader, block) = read_block(reader).await?;
            let Some(block) = block else { return Ok(None) };
            self.reader = Some(reader);
            bytes += block.len();
            self.decoded = self.decoder.decode(block).map_err(|error| chain(&error))?.into();
        }
    }
}
