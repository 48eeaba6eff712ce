//! A subtask's share of a table's partitions, as a stream of rows.

use std::collections::{HashMap, VecDeque};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use krafka::{
    admin::AlterConsumerGroupOffsetsOptions,
    consumer::{ConsumerRecord, TopicPartition},
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{
    client::{Client, QUESTION_TIMEOUT},
    dead_letters::DeadLetters,
    offsets::{self, Range},
    options::{KafkaOptions, Malformed},
    poller::{Fetched, Poller, lost},
    rows::{MalformedRecord, RowDecoder},
    topics,
};
use crate::{
    error::{Error, Result},
    source::{OpenReader, Share, SourceEvent, SourceReader, SplitPosition},
};

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
    fn name(&self) -> String {
        format!("{}-{}", self.partition.topic, self.partition.partition)
    }

    fn is_done(&self) -> bool {
        self.stop.is_some_and(|stop| self.next >= stop)
    }
}

/// What was fetched and not yet handed out.
enum Pending {
    Begin(usize),
    Rows {
        split: usize,
        batch: RecordBatch,
        next: i64,
    },
    /// Nothing but a new position: there were no rows.
    Advance {
        split: usize,
        next: i64,
    },
}

/// Reads partitions.
pub struct KafkaReader {
    client: Client,
    options: KafkaOptions,
    fetched: mpsc::Receiver<Result<Fetched>>,
    rows: RowDecoder,
    splits: Vec<Split>,
    by_partition: HashMap<TopicPartition, usize>,
    pending: VecDeque<Pending>,
    dead_letters: Option<DeadLetters>,
    malformed_count: u64,
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
    let ranges = offsets::within_bounds(&client, ranges).await?;
    let rows = RowDecoder::new(table, &options, request.scan.projection.as_deref(), &request.schema)?;
    let share = Some(request.share);
    Ok(Box::new(KafkaReader::open(client, options, rows, ranges, share, request.batch_rows).await?))
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
            return Err(lost(&partition.topic, partition.partition));
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

impl KafkaReader {
    /// Begins to read these parts of partitions, and new ones of a share where one is given.
    pub async fn open(
        client: Client,
        options: KafkaOptions,
        rows: RowDecoder,
        ranges: Vec<Range>,
        share: Option<Share>,
        batch_rows: usize,
    ) -> Result<Self> {
        let dead_letters = match &options.malformed {
            Malformed::DeadLetter(topic) => Some(DeadLetters::open(&client, topic).await?),
            _ => None,
        };
        let fetched = Poller::start(client.clone(), options.clone(), share, &ranges, batch_rows).await?;
        let mut reader = Self {
            client,
            options,
            fetched,
            rows,
            splits: Vec::new(),
            by_partition: HashMap::new(),
            pending: VecDeque::new(),
            dead_letters,
            malformed_count: 0,
        };
        reader.begin(ranges);
        Ok(reader)
    }

    fn begin(&mut self, ranges: Vec<Range>) {
        for Range { partition, start, stop } in ranges {
            let number = self.splits.len();
            self.by_partition.insert(partition.clone(), number);
            self.splits.push(Split { partition, next: start, stop, ended: false });
            self.pending.push_back(Pending::Begin(number));
        }
    }

    /// Turns what was fetched into pending events. Nothing waits in here: a caller that stops waiting loses nothing.
    fn take(&mut self, fetched: Fetched) -> Result<()> {
        let (records, positions) = match fetched {
            Fetched::Found(ranges) => {
                self.begin(ranges);
                return Ok(());
            }
            Fetched::Records { records, positions } => (records, positions),
        };
        let mut malformed = Vec::new();
        for run in records.chunk_by(|a, b| a.partition == b.partition && a.topic == b.topic) {
            self.take_run(run, &mut malformed)?;
        }
        for (partition, next) in positions {
            if let Some(&split) = self.by_partition.get(&partition) {
                self.pending.push_back(Pending::Advance { split, next });
            }
        }
        self.put_aside(malformed)
    }

    /// Takes records of one partition.
    fn take_run(&mut self, run: &[ConsumerRecord], malformed: &mut Vec<MalformedRecord>) -> Result<()> {
        let partition = TopicPartition::new(run[0].topic.to_string(), run[0].partition);
        let Some(&split) = self.by_partition.get(&partition) else { return Ok(()) };
        let stop = self.splits[split].stop.unwrap_or(i64::MAX);
        let Some(next) = run.last().map(|record| record.offset + 1) else { return Ok(()) };
        let wanted = &run[..run.partition_point(|record| record.offset < stop)];
        let batch = self.rows.decode(wanted, malformed)?;
        self.pending.push_back(match batch.num_rows() {
            0 => Pending::Advance { split, next },
            _ => Pending::Rows { split, batch, next },
        });
        Ok(())
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

    fn hand_out(&mut self, pending: Pending) -> Option<SourceEvent> {
        match pending {
            Pending::Begin(number) => {
                Some(SourceEvent::Begin { split: number as u32, name: self.splits[number].name() })
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

    /// The end of a split that has given all of its rows.
    fn end_next(&mut self) -> Option<SourceEvent> {
        let number = self.splits.iter().position(|split| !split.ended && split.is_done())?;
        self.splits[number].ended = true;
        Some(SourceEvent::End { split: number as u32 })
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
            if let Some(event) = self.end_next() {
                return Ok(Some(event));
            }
            if self.options.bounded.is_some() && self.splits.iter().all(|split| split.ended) {
                return Ok(None);
            }
            match self.fetched.recv().await {
                Some(fetched) => self.take(fetched?)?,
                None => return Err(Error::Internal("fetching from Kafka has ended too early".to_owned())),
            }
        }
    }

    fn positions(&self) -> Result<Vec<SplitPosition>> {
        let position = |split: &Split| {
            let TopicPartition { topic, partition, .. } = &split.partition;
            let position =
                Position { topic: topic.clone(), partition: *partition, next: split.next, stop: split.stop };
            let bytes = serde_json::to_vec(&position).map_err(|error| Error::Internal(error.to_string()))?;
            Ok(SplitPosition { split: split.name(), position: bytes.into() })
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
        let options = AlterConsumerGroupOffsetsOptions::default().timeout(QUESTION_TIMEOUT);
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
