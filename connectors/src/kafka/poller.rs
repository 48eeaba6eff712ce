//! Fetches records beside the reader: while it decodes some, the next are on their way, and a reader that stops waiting for them
//! leaves no request half done. It owns the consumer, waits out failures that may pass, and looks for new partitions.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use krafka::{
    KrafkaError,
    admin::{ListOffsetsOptions, OffsetSpec},
    consumer::{Consumer, ConsumerRecord, TopicPartition},
};
use tokio::{
    sync::mpsc,
    time::{Instant as Moment, sleep, sleep_until},
};

use super::{
    client::{Client, RETRY_PAUSE, failed, is_missing},
    offsets::{self, Range},
    options::KafkaOptions,
    topics,
};
use crate::{
    error::{Error, Result},
    source::Share,
};

/// How long one call waits for records.
const POLL_TIMEOUT: Duration = Duration::from_millis(500);
/// Silence after which the brokers are asked whether they are there.
const SILENCE: Duration = Duration::from_secs(10);
/// Fetched records that wait to be decoded, in calls.
const FETCHED_AHEAD: usize = 2;

/// What was fetched.
pub enum Fetched {
    /// Partitions that were found, read from now on.
    Found(Vec<Range>),
    /// Records, and the offsets that reading has come to where that is behind the last record: over the marks of transactions and
    /// the rows of those that were aborted.
    Records { records: Vec<ConsumerRecord>, positions: Vec<(TopicPartition, i64)> },
}

/// Fetches.
pub struct Poller {
    client: Client,
    options: KafkaOptions,
    /// Whose new partitions are looked for, if any are.
    share: Option<Share>,
    consumer: Consumer,
    partitions: BTreeMap<(String, i32), Progress>,
    last_heard: Instant,
}

struct Progress {
    /// What was told of its position.
    told: i64,
    stop: Option<i64>,
    done: bool,
}

impl Poller {
    /// Begins to fetch; what is fetched comes out of the channel, which a failure ends.
    pub async fn start(
        client: Client,
        options: KafkaOptions,
        share: Option<Share>,
        ranges: &[Range],
        batch_rows: usize,
    ) -> Result<mpsc::Receiver<Result<Fetched>>> {
        let consumer = client.properties.consumer(&client.kafka, batch_rows).build().await;
        let consumer = consumer.map_err(|error| failed("read from", &client.servers, error))?;
        let share = share.filter(|_| options.bounded.is_none());
        let partitions = BTreeMap::new();
        let mut poller = Self { client, options, share, consumer, partitions, last_heard: Instant::now() };
        poller.begin(ranges).await?;
        let (sender, receiver) = mpsc::channel(FETCHED_AHEAD);
        tokio::spawn(async move {
            if let Err(error) = poller.run(&sender).await {
                // Nobody is there to hear it when the reader is gone.
                let _ = sender.send(Err(error)).await;
            }
            if let Err(error) = poller.consumer.close().await {
                tracing::debug!(%error, "a consumer did not close");
            }
        });
        Ok(receiver)
    }

    async fn begin(&mut self, ranges: &[Range]) -> Result<()> {
        for Range { partition, start, stop } in ranges {
            let key = (partition.topic.clone(), partition.partition);
            self.partitions.insert(key, Progress { told: *start, stop: *stop, done: false });
        }
        let mut by_topic: HashMap<&str, Vec<i32>> = HashMap::new();
        for (topic, partition) in self.partitions.keys() {
            by_topic.entry(topic).or_default().push(*partition);
        }
        let is_new = |topic: &str| ranges.iter().any(|range| range.partition.topic == topic);
        for (topic, partitions) in by_topic.into_iter().filter(|(topic, _)| is_new(topic)) {
            let assigned = self.consumer.assign(topic, partitions).await;
            assigned.map_err(|error| failed("read from", topic, error))?;
        }
        for Range { partition: TopicPartition { topic, partition, .. }, start, .. } in ranges {
            let sought = self.consumer.seek(topic, *partition, *start).await;
            sought.map_err(|error| failed("read from", topic, error))?;
        }
        Ok(())
    }

    async fn run(&mut self, sender: &mpsc::Sender<Result<Fetched>>) -> Result<()> {
        let interval = self.options.discovery_interval.filter(|_| self.share.is_some());
        let mut discover_at = interval.map(|interval| Moment::now() + interval);
        loop {
            self.rest_where_done().await;
            if self.options.bounded.is_some() && self.partitions.values().all(|progress| progress.done) {
                return Ok(());
            }
            let polled = tokio::select! {
                biased;
                () = sender.closed() => return Ok(()),
                () = until(discover_at) => {
                    let found = self.discover().await?;
                    if !found.is_empty() && sender.send(Ok(Fetched::Found(found))).await.is_err() {
                        return Ok(());
                    }
                    discover_at = interval.map(|interval| Moment::now() + interval);
                    continue;
                }
                polled = self.consumer.poll(POLL_TIMEOUT) => polled,
            };
            let records = match polled {
                Ok(records) => records,
                Err(error) => {
                    self.endure(error).await?;
                    continue;
                }
            };
            match records.is_empty() {
                true => self.probe().await?,
                false => self.last_heard = Instant::now(),
            }
            let positions = self.positions(&records).await?;
            if records.is_empty() && positions.is_empty() {
                continue;
            }
            if sender.send(Ok(Fetched::Records { records, positions })).await.is_err() {
                return Ok(());
            }
        }
    }

    /// The positions that are news, apart from what the records tell.
    async fn positions(&mut self, records: &[ConsumerRecord]) -> Result<Vec<(TopicPartition, i64)>> {
        for record in records {
            if let Some(progress) = self.partitions.get_mut(&(record.topic.to_string(), record.partition)) {
                progress.told = record.offset + 1;
            }
        }
        let mut news = Vec::new();
        for ((topic, partition), progress) in
            self.partitions.iter_mut().filter(|(_, progress)| !progress.done)
        {
            let Some(position) = self.consumer.position(topic, *partition).await else { continue };
            if position < progress.told && self.client.properties.offset_reset().is_none() {
                // The client goes back where a log ends earlier than it did.
                return Err(offsets::out_of_range(topic, *partition, progress.told));
            }
            if position > progress.told {
                progress.told = position;
                news.push((TopicPartition::new(topic.clone(), *partition), position));
            }
        }
        Ok(news)
    }

    /// Partitions that were read to where they end are not fetched further.
    async fn rest_where_done(&mut self) {
        for ((topic, partition), progress) in &mut self.partitions {
            if !progress.done && progress.stop.is_some_and(|stop| progress.told >= stop) {
                progress.done = true;
                self.consumer.pause(topic, &[*partition]).await;
            }
        }
    }

    async fn discover(&mut self) -> Result<Vec<Range>> {
        let Some(share) = self.share else { return Ok(Vec::new()) };
        let mut own = match topics::partitions(&self.client, &self.options.topics).await {
            Ok(own) => own,
            // A cluster that does not answer is told of when nothing can be fetched for as long as it is to be waited for.
            Err(error @ Error::Kafka { .. }) => {
                tracing::warn!(error = error.chain(), "could not look for new partitions");
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        own.retain(|partition| topics::is_own(partition, share));
        for (topic, partition) in self.partitions.keys() {
            if !own.iter().any(|own| own.topic == *topic && own.partition == *partition) {
                return Err(lost(topic, *partition));
            }
        }
        own.retain(|own| !self.partitions.contains_key(&(own.topic.clone(), own.partition)));
        if own.is_empty() {
            return Ok(Vec::new());
        }
        let found = offsets::from_the_beginning(&self.client, own).await?;
        // What the consumer knows of the topic is older than the partition.
        let listed = self.client.admin().list_topics(Default::default()).await;
        listed.map_err(|error| failed("list the topics of", &self.client.servers, error))?;
        self.begin(&found).await?;
        Ok(found)
    }

    /// Waits, where a failure may pass, for as long as the table's settings say.
    async fn endure(&mut self, error: KrafkaError) -> Result<()> {
        if let KrafkaError::NoOffset { partitions } = &error
            && let Some((topic, partition)) = partitions.first()
        {
            let next = self.partitions.get(&(topic.clone(), *partition)).map_or(0, |progress| progress.told);
            return Err(offsets::out_of_range(topic, *partition, next));
        }
        let may_pass = error.is_retriable() || is_missing(&error);
        if may_pass && self.last_heard.elapsed() < self.client.properties.patience() {
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
        let patience = self.client.properties.patience();
        if self.last_heard.elapsed() < SILENCE.min(patience / 2) || self.partitions.is_empty() {
            return Ok(());
        }
        let partition = |(topic, partition): &(String, i32)| TopicPartition::new(topic.clone(), *partition);
        let asked = self.partitions.keys().map(|key| (partition(key), OffsetSpec::Latest));
        let options = ListOffsetsOptions::default().timeout(SILENCE.min(patience));
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

/// A partition that was read before is not there.
pub fn lost(topic: &str, partition: i32) -> Error {
    Error::Invalid(format!(
        "partition {partition} of topic `{topic}` was read before and is gone; was the topic deleted or made anew? Start the job \
         without its old state, or bring the partition back"
    ))
}

async fn until(moment: Option<Moment>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
