//! A subtask's share of a table's partitions, as a stream: it finds them by itself, and looks for new ones as it reads.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use krafka::{
    KrafkaError,
    admin::{AlterConsumerGroupOffsetsOptions, ListOffsetsOptions, OffsetSpec},
    consumer::{Consumer, ConsumerRecord, TopicPartition},
};
use serde::{Deserialize, Serialize};
use thalweg_graph::table::TableDescriptor;
use tokio::{sync::mpsc, task::JoinHandle, time::sleep};

use super::{
    client::{Client, RETRY_PAUSE, failed, is_missing},
    dead_letters::DeadLetters,
    offsets::{self, Range},
    options::{KafkaOptions, Malformed},
    rows::{MalformedRecord, RowDecoder},
    topics,
};
use crate::{
    error::{Error, Result},
    source::{OpenReader, Share, SourceEvent, SourceReader, SplitPosition},
};

/// How long one call waits for records.
const POLL_TIMEOUT: Duration = Duration::from_millis(500);
/// Silence after which the brokers are asked whether they are there.
const SILENCE: Duration = Duration::from_secs(10);
/// Malformed records whose reasons are logged, for each reader.
const REASONS_LOGGED: u64 = 10;

/// Where a split's reader is, as checkpoints keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    topic: String,
    partition: i32,
    /// The offset of the record to go on with.
    next: i64,
    /// The offset to end before.
    #[serde(default)]
    stop: Option<i64>,
}

impl Position {
    fn decode(position: &SplitPosition) -> Result<Self> {
        serde_json::from_slice(&position.position).map_err(|error| {
            Error::Internal(format!("the position of split `{}` cannot be read: {error}", position.split))
        })
    }
}

/// A partition that is read.
struct Split {
    partition: TopicPartition,
    next: i64,
    stop: Option<i64>,
    ended: bool,
}

impl Split {
    fn is_done(&self) -> bool {
        self.stop.is_some_and(|stop| self.next >= stop)
    }
}

/// What was read and not yet handed out.
enum Pending {
    Begin(usize),
    Rows { split: usize, batch: arrow::array::RecordBatch, next: i64 },
    /// Nothing but a new position: records without rows.
    Advance { split: usize, next: i64 },
}

/// Reads partitions.
pub struct KafkaReader {
    client: Client,
    options: KafkaOptions,
    consumer: Consumer,
    rows: RowDecoder,
    splits: Vec<Split>,
    by_partition: HashMap<TopicPartition, usize>,
    pending: VecDeque<Pending>,
    /// Partitions that were found and are not read yet.
    found: Vec<Range>,
    discovery: Option<Discovery>,
    dead_letters: Option<DeadLetters>,
    malformed_count: u64,
    last_heard: Instant,
}

/// Opens a reader of one subtask's share of a table.
pub async fn open_reader(request: OpenReader<'_>) -> Result<Box<dyn SourceReader>> {
    let table = &request.scan.table;
    let options = KafkaOptions::of(table)?;
    options.check_source()?;
    let client = Client::connect(&options).await?;
    let mut own = topics::partitions(&client, &options.topics).await?;
    own.retain(|partition| topics::is_own(partition, request.share));
    let ranges = match request.restored {
        None => offsets::ranges(&client, &options, own).await?,
        Some(positions) => restored(&client, &options, own, positions, request.share).await?,
    };
    let projection = request.scan.projection.as_deref();
    let mut reader = KafkaReader::new(client, options, table, projection, &request.schema, request.batch_rows).await?;
    reader.add(ranges).await?;
    if reader.options.bounded.is_none() {
        reader.discovery = Discovery::start(&reader, request.share);
    }
    Ok(Box::new(reader))
}

/// Where to go on, for those of the partitions that are this subtask's. Partitions that are new since begin at their beginning; a
/// table that ends does not have them.
async fn restored(
    client: &Client,
    options: &KafkaOptions,
    own: Vec<TopicPartition>,
    positions: &[SplitPosition],
    share: Share,
) -> Result<Vec<Range>> {
    let mut ranges = Vec::new();
    for position in positions {
        let Position { topic, partition, next, stop } = Position::decode(position)?;
        let partition = TopicPartition::new(topic, partition);
        if !topics::is_own(&partition, share) {
            continue;
        }
        if !own.contains(&partition) {
            return Err(lost(&partition));
        }
        ranges.push(Range { partition, start: next, stop });
    }
    if options.bounded.is_some() {
        return Ok(ranges);
    }
    let is_new = |partition: &TopicPartition| !ranges.iter().any(|range| range.partition == *partition);
    let new: Vec<_> = own.into_iter().filter(is_new).collect();
    ranges.extend(offsets::from_the_beginning(client, new).await?);
    Ok(ranges)
}

fn lost(partition: &TopicPartition) -> Error {
    Error::Invalid(format!(
        "partition {} of topic `{}` was read before and is gone; was the topic deleted or made anew? Start the job without its \
         old state, or bring the partition back",
        partition.partition, partition.topic
    ))
}

impl KafkaReader {
    /// Reads nothing yet.
    pub async fn new(
        client: Client,
        options: KafkaOptions,
        table: &TableDescriptor,
        projection: Option<&[usize]>,
        schema: &SchemaRef,
        batch_rows: usize,
    ) -> Result<Self> {
        let rows = RowDecoder::new(table, &options, projection, schema)?;
        let consumer = client.properties.consumer(&client.kafka, batch_rows).build().await;
        let consumer = consumer.map_err(|error| failed("read from", &client.servers, error))?;
        let dead_letters = match &options.malformed {
            Malformed::DeadLetter(topic) => Some(DeadLetters::open(&client, topic).await?),
            _ => None,
        };
        Ok(Self {
            client,
            options,
            consumer,
            rows,
            splits: Vec::new(),
            by_partition: HashMap::new(),
            pending: VecDeque::new(),
            found: Vec::new(),
            discovery: None,
            dead_letters,
            malformed_count: 0,
            last_heard: Instant::now(),
        })
    }

    /// Begins to read partitions. Doing it twice does the same as once.
    pub async fn add(&mut self, ranges: Vec<Range>) -> Result<()> {
        self.found = ranges;
        self.begin_found().await
    }

    async fn begin_found(&mut self) -> Result<()> {
        let mut by_topic: HashMap<&str, Vec<i32>> = HashMap::new();
        let known = self.splits.iter().map(|split| &split.partition);
        for partition in known.chain(self.found.iter().map(|range| &range.partition)) {
            let partitions = by_topic.entry(&partition.topic).or_default();
            if !partitions.contains(&partition.partition) {
                partitions.push(partition.partition);
            }
        }
        for (topic, partitions) in by_topic {
            if self.found.iter().any(|range| range.partition.topic == topic) {
                let assigned = self.consumer.assign(topic, partitions).await;
                assigned.map_err(|error| failed("read from", topic, error))?;
            }
        }
        for range in &self.found {
            let TopicPartition { topic, partition, .. } = &range.partition;
            let sought = self.consumer.seek(topic, *partition, range.start).await;
            sought.map_err(|error| failed("read from", topic, error))?;
        }
        for Range { partition, start, stop } in std::mem::take(&mut self.found) {
            let number = self.splits.len();
            self.by_partition.insert(partition.clone(), number);
            self.splits.push(Split { partition, next: start, stop, ended: false });
            self.pending.push_back(Pending::Begin(number));
        }
        Ok(())
    }

    /// Turns records into pending rows; nothing waits in here, so that nothing is lost when a caller stops waiting.
    fn take(&mut self, records: Vec<ConsumerRecord>) -> Result<()> {
        self.last_heard = Instant::now();
        let mut malformed = Vec::new();
        for run in records.chunk_by(|a, b| a.partition == b.partition && a.topic == b.topic) {
            let partition = TopicPartition::new(run[0].topic.to_string(), run[0].partition);
            let Some(&split) = self.by_partition.get(&partition) else { continue };
            let stop = self.splits[split].stop.unwrap_or(i64::MAX);
            let run = &run[..run.partition_point(|record| record.offset < stop)];
            let Some(last) = run.last() else { continue };
            let next = last.offset + 1;
            let batch = self.rows.decode(run, &mut malformed)?;
            self.pending.push_back(match batch.num_rows() {
                0 => Pending::Advance { split, next },
                _ => Pending::Rows { split, batch, next },
            });
        }
        self.put_aside(malformed)
    }

    fn put_aside(&mut self, malformed: Vec<MalformedRecord>) -> Result<()> {
        for MalformedRecord { record, format, reason } in &malformed {
            if self.options.malformed == Malformed::Fail {
                return Err(Error::MalformedRecord {
                    topic: record.topic.to_string(),
                    partition: record.partition,
                    offset: record.offset,
                    format,
                    reason: reason.clone(),
                });
            }
            self.malformed_count += 1;
            if self.malformed_count <= REASONS_LOGGED {
                tracing::warn!(
                    topic = &*record.topic,
                    partition = record.partition,
                    offset = record.offset,
                    reason,
                    "put a malformed {format} record aside, as `scan.malformed-records` says"
                );
            }
        }
        if let Some(letters) = &mut self.dead_letters {
            letters.push(malformed);
        }
        Ok(())
    }

    /// Moves on where there are no rows to come: over the marks of transactions, and rows that were aborted.
    async fn catch_up(&mut self) {
        for number in 0..self.splits.len() {
            let split = &self.splits[number];
            let TopicPartition { topic, partition, .. } = &split.partition;
            let Some(position) = self.consumer.position(topic, *partition).await else { continue };
            let is_pending = self.pending.iter().any(|pending| match pending {
                Pending::Begin(split) => *split == number,
                Pending::Rows { split, .. } | Pending::Advance { split, .. } => *split == number,
            });
            if !is_pending && position > split.next {
                self.splits[number].next = position;
            }
        }
    }

    async fn end_next(&mut self) -> Option<SourceEvent> {
        let number = self.splits.iter().position(|split| !split.ended && split.is_done())?;
        let TopicPartition { topic, partition, .. } = &self.splits[number].partition;
        self.consumer.pause(topic, &[*partition]).await;
        self.splits[number].ended = true;
        Some(SourceEvent::End { split: number as u32 })
    }

    fn hand_out(&mut self, pending: Pending) -> Option<SourceEvent> {
        match pending {
            Pending::Begin(number) => {
                let TopicPartition { topic, partition, .. } = &self.splits[number].partition;
                Some(SourceEvent::Begin { split: number as u32, name: format!("{topic}-{partition}") })
            }
            Pending::Advance { split, next } => {
                self.splits[split].next = next;
                None
            }
            Pending::Rows { split, batch, next } => {
                self.splits[split].next = next;
                Some(SourceEvent::Rows { split: split as u32, batch })
            }
        }
    }

    /// What a failed read means. Failures that may pass are waited for, for as long as the table's settings say.
    async fn endure(&mut self, error: KrafkaError) -> Result<()> {
        let patience = self.client.properties.patience();
        if let KrafkaError::NoOffset { partitions } = &error
            && let Some((topic, partition)) = partitions.first()
        {
            let split = self.by_partition.get(&TopicPartition::new(topic.clone(), *partition));
            let next = split.map_or(0, |split| self.splits[*split].next);
            return Err(Error::Invalid(format!(
                "partition {partition} of topic `{topic}` does not have offset {next}: its records were deleted, or the topic was \
                 made anew. Set `properties.auto.offset.reset` to `earliest` or `latest` to go on elsewhere and lose what is \
                 between"
            )));
        }
        if (error.is_retriable() || is_missing(&error)) && self.last_heard.elapsed() < patience {
            tracing::debug!(%error, "reading from Kafka is tried again");
            sleep(RETRY_PAUSE).await;
            return Ok(());
        }
        if is_missing(&error) {
            topics::partitions(&self.client, &self.options.topics).await?;
        }
        Err(failed("read from", &self.client.servers, error))
    }

    /// After long silence: are the brokers there at all?
    async fn probe(&mut self) -> Result<()> {
        if self.last_heard.elapsed() < SILENCE || self.splits.is_empty() {
            return Ok(());
        }
        let asked = self.splits.iter().map(|split| (split.partition.clone(), OffsetSpec::Latest));
        let options = ListOffsetsOptions::default().timeout(SILENCE);
        let failure = match self.client.admin().list_offsets(asked, options).await {
            Ok(offsets) => offsets.into_values().find_map(|offset| offset.err()),
            Err(error) => Some(error),
        };
        match failure {
            None => self.last_heard = Instant::now(),
            Some(error) => self.endure(error).await?,
        }
        Ok(())
    }
}

#[async_trait]
impl SourceReader for KafkaReader {
    async fn next(&mut self) -> Result<Option<SourceEvent>> {
        loop {
            // Before the rows around them: a position passes a record by only when that was taken care of.
            if let Some(letters) = &mut self.dead_letters {
                letters.deliver().await?;
            }
            if let Some(pending) = self.pending.pop_front() {
                match self.hand_out(pending) {
                    Some(event) => return Ok(Some(event)),
                    None => continue,
                }
            }
            if !self.found.is_empty() {
                self.begin_found().await?;
                continue;
            }
            self.catch_up().await;
            if let Some(event) = self.end_next().await {
                return Ok(Some(event));
            }
            if self.options.bounded.is_some() && self.splits.iter().all(|split| split.ended) {
                return Ok(None);
            }
            let polled = match &mut self.discovery {
                None => self.consumer.poll(POLL_TIMEOUT).await,
                Some(discovery) => tokio::select! {
                    biased;
                    Some(found) = discovery.found.recv() => {
                        self.found = found?;
                        continue;
                    }
                    polled = self.consumer.poll(POLL_TIMEOUT) => polled,
                },
            };
            match polled {
                Ok(records) if records.is_empty() => self.probe().await?,
                Ok(records) => self.take(records)?,
                Err(error) => self.endure(error).await?,
            }
        }
    }

    fn positions(&self) -> Result<Vec<SplitPosition>> {
        let position = |split: &Split| {
            let TopicPartition { topic, partition, .. } = &split.partition;
            let position =
                Position { topic: topic.clone(), partition: *partition, next: split.next, stop: split.stop };
            let bytes = serde_json::to_vec(&position).map_err(|error| Error::Internal(error.to_string()))?;
            Ok(SplitPosition { split: format!("{topic}-{partition}"), position: bytes.into() })
        };
        self.splits.iter().map(position).collect()
    }

    /// Tells the consumer group, for those who watch it; the job itself goes on from its checkpoints.
    async fn checkpoint_completed(&mut self, positions: &[SplitPosition]) -> Result<()> {
        let Some(group) = self.options.properties.text("group.id") else { return Ok(()) };
        let mut offsets = Vec::with_capacity(positions.len());
        for position in positions {
            let Position { topic, partition, next, .. } = Position::decode(position)?;
            let partition = TopicPartition::new(topic, partition);
            if self.by_partition.contains_key(&partition) {
                offsets.push((partition, next));
            }
        }
        let options = AlterConsumerGroupOffsetsOptions::default().timeout(SILENCE);
        let failure = match self.client.admin().alter_consumer_group_offsets(group, offsets, options).await {
            Ok(results) => results.into_values().find_map(|result| result.err()),
            Err(error) => Some(error),
        };
        if let Some(error) = failure {
            tracing::warn!(group, %error, "could not tell the consumer group where reading has come to");
        }
        Ok(())
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        if self.malformed_count > 0 {
            tracing::warn!(
                records = self.malformed_count,
                "put malformed records aside, as `scan.malformed-records` says"
            );
        }
    }
}

/// Looks for new partitions, beside the reader.
struct Discovery {
    found: mpsc::Receiver<Result<Vec<Range>>>,
    task: JoinHandle<()>,
}

impl Discovery {
    fn start(reader: &KafkaReader, share: Share) -> Option<Self> {
        let interval = reader.options.discovery_interval?;
        let (client, options) = (reader.client.clone(), reader.options.clone());
        let mut known: Vec<TopicPartition> = reader.by_partition.keys().cloned().collect();
        let (sender, found) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            loop {
                sleep(interval).await;
                let result = discover(&client, &options, share, &mut known).await;
                let is_news = result.as_ref().map_or(true, |ranges| !ranges.is_empty());
                if is_news && sender.send(result).await.is_err() {
                    return;
                }
            }
        });
        Some(Self { found, task })
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn discover(
    client: &Client,
    options: &KafkaOptions,
    share: Share,
    known: &mut Vec<TopicPartition>,
) -> Result<Vec<Range>> {
    let mut own = match topics::partitions(client, &options.topics).await {
        Ok(own) => own,
        // A cluster that does not answer is the reader's to report, after as long as it is to be waited for.
        Err(error @ Error::Kafka { .. }) => {
            tracing::warn!(error = error.chain(), "could not look for new partitions");
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    own.retain(|partition| topics::is_own(partition, share));
    if let Some(gone) = known.iter().find(|partition| !own.contains(partition)) {
        return Err(lost(gone));
    }
    own.retain(|partition| !known.contains(partition));
    known.extend(own.iter().cloned());
    offsets::from_the_beginning(client, own).await
}
