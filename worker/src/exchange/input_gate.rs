//! What a task reads over its edges: the leaf [`thalweg_plan::exec::ExchangeSourceExec`] of its fragment is given life here.

use std::{collections::VecDeque, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    error::{DataFusionError, Result},
    execution::SendableRecordBatchStream,
    physical_plan::stream::RecordBatchStreamAdapter,
};
use futures::{
    Stream, StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
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
    event::Event,
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
        let gate = self.gate(edge)?;
        let producers = match channel {
            Channel::All => &gate.producers[..],
            Channel::Producer(index) => gate.producers.get(index..=index).ok_or_else(|| {
                DataFusionError::Plan(format!("edge {edge} has no producer with index {index}"))
            })?,
        };
        let streams =
            self.producers(gate, producers, &schema).map(|events| events.try_filter_map(only_rows).boxed());
        let streams: Vec<_> = streams.collect();
        let at_once = match gate.kind {
            ExchangeKind::Pipelined => None,
            ExchangeKind::Blocking => Some(FILES_AT_ONCE),
        };
        let merged = stream::iter(streams).flatten_unordered(at_once);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, merged)))
    }
}

async fn only_rows(event: Event) -> Result<Option<RecordBatch>> {
    match event {
        Event::Rows(batch) => Ok(Some(batch)),
        Event::Signal(_) => Ok(None),
    }
}

impl InputGates {
    /// All that an edge brings to this subtask, of each producer by itself.
    pub fn events(&self, edge: EdgeId, schema: &SchemaRef) -> Result<Vec<BoxStream<'static, Result<Event>>>> {
        let gate = self.gate(edge)?;
        Ok(self.producers(gate, &gate.producers, schema).collect())
    }

    fn gate(&self, edge: EdgeId) -> Result<&InputGate> {
        let found = self.gates.iter().find(|gate| gate.edge == edge);
        found.ok_or_else(|| DataFusionError::Plan(format!("the task has no input for edge {edge}")))
    }

    fn producers<'a>(
        &'a self,
        gate: &'a InputGate,
        producers: &'a [ResultPartitionLocation],
        schema: &'a SchemaRef,
    ) -> impl Iterator<Item = BoxStream<'static, Result<Event>>> + 'a {
        // Sorted inputs are opened one by one but share the gate's window.
        let window = (WINDOWS_BYTES / gate.producers.len().max(1)).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
        producers.iter().map(move |location| {
            let request = OpenRequest {
                partition: location.id,
                subpartition: gate.subpartition,
                kind: gate.kind,
                window_bytes: window as u32,
            };
            self.read(location.clone(), request, schema).boxed()
        })
    }

    /// What one producer sends.
    fn read(
        &self,
        location: ResultPartitionLocation,
        request: OpenRequest,
        schema: &SchemaRef,
    ) -> impl Stream<Item = Result<Event>> + use<> {
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
                let Some((event, bytes)) = next else { return Ok(None) };
                counters.bytes_in.add(bytes as u64);
                let event = match event {
                    Event::Rows(batch) => {
                        counters.records_in.add(batch.num_rows() as u64);
                        Event::Rows(with_schema(&batch, &schema)?)
                    }
                    event => event,
                };
                Ok(Some((event, source)))
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

    /// What comes next and its bytes; `None` at the end.
    async fn next(&mut self) -> Result<Option<(Event, usize)>, String> {
        match self {
            Source::Closed { .. } => Err("it was not opened".to_owned()),
            Source::Remote(channel) => channel.next().await,
            Source::File(file) => {
                let next = file.next().await?;
                Ok(next.map(|(batch, bytes)| (Event::Rows(batch), bytes)))
            }
            Source::Queue(queue) => match queue.next().await {
                Some(Item::Batch(queued)) => Ok(Some((Event::Rows(queued.batch), queued.bytes))),
                Some(Item::Signal(signal, _)) => Ok(Some((Event::Signal(signal), 0))),
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
