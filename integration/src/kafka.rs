//! A real Kafka (one node, KRaft), started from `integration/services/kafka` and gone with this process; and topics in it, made,
//! filled and read by its client alone, without any code of the connector.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use krafka::{
    Kafka as KafkaClient, Record,
    admin::{CreateTopicsOptions, DeleteTopicsOptions, ListTransactionsOptions, NewTopic},
    consumer::{AutoOffsetReset, Consumer, ConsumerRecord, IsolationLevel},
};

/// Time in which a topic must be made, filled or read.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Time for records to come, and before what was refused is asked for again.
const POLL_TIME: Duration = Duration::from_millis(100);

/// How often Kafka is started before it is given up.
const STARTS_MAX: u32 = 3;

/// A running Kafka. `run.sh` ends it when the pipe to its standard input closes, which happens at the latest when this process ends,
/// in whichever way.
#[derive(Debug)]
pub struct Kafka {
    /// `host:port`.
    pub bootstrap: String,
    /// The same for those who log in as `alice`, password `alice-secret`, by SASL PLAIN.
    pub sasl: String,
    folder: PathBuf,
    guard: Child,
}

impl Kafka {
    /// The Kafka that all tests of this process share, started at the first call.
    pub fn shared() -> &'static Kafka {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| {
            Kafka::start(&[]).unwrap_or_else(|error| panic!("Kafka did not start: {error:#}"))
        })
    }

    /// Starts one with more broker properties (`key=value`), and waits until topics can be made. The free ports that it looks for are no
    /// longer free where another process takes them before Kafka does: then it looks for others.
    pub fn start(properties: &[&str]) -> Result<Self> {
        for _ in 1..STARTS_MAX {
            match Self::try_start(properties) {
                Ok(kafka) => return Ok(kafka),
                Err(error) => eprintln!("starting Kafka again: {error:#}"),
            }
        }
        Self::try_start(properties)
    }

    fn try_start(properties: &[&str]) -> Result<Self> {
        let mut guard = Command::new(script("run.sh"))
            .args(properties)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C in the terminal ends the tests; the guard then sees its input close and cleans up.
            .process_group(0)
            .spawn()
            .context("run.sh")?;
        let output = guard.stdout.take().expect("standard output is piped");
        let (mut bootstrap, mut sasl, mut folder) = (None, None, None);
        for line in BufReader::new(output).lines() {
            let line = line?;
            match line.split_once('=') {
                Some(("bootstrap", value)) => bootstrap = Some(value.to_owned()),
                Some(("sasl", value)) => sasl = Some(value.to_owned()),
                Some(("data", value)) => folder = Some(PathBuf::from(value)),
                _ if line == "ready" => break,
                _ => bail!("run.sh printed `{line}`"),
            }
        }
        match (bootstrap, sasl, folder) {
            (Some(bootstrap), Some(sasl), Some(folder)) => Ok(Self { bootstrap, sasl, folder, guard }),
            _ => bail!("Kafka ended while it started ({})", guard.wait()?),
        }
    }

    /// Ends the node with SIGKILL.
    pub fn kill(&self) -> Result<()> {
        run(Command::new(script("stop.sh")).arg(&self.folder))
    }

    /// Brings it back on its old ports, with its data, and waits until it is ready.
    pub fn restart(&self) -> Result<()> {
        run(Command::new(script("start.sh")).arg(&self.folder))
    }

    /// Sends the node a signal.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let pid = std::fs::read_to_string(self.folder.join("pid"))?.trim().parse()?;
        // SAFETY: kill has no memory preconditions.
        unsafe { libc::kill(pid, signal) };
        Ok(())
    }

    /// A client of it.
    pub async fn topics(&self) -> Result<Topics> {
        Ok(Topics { kafka: KafkaClient::builder(&self.bootstrap).connect().await? })
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // Waits, so that nothing of it is left when the next thing starts.
        let _ = self.guard.wait();
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("services/kafka").join(name)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Topics of a cluster.
#[derive(Debug)]
pub struct Topics {
    /// The client.
    pub kafka: KafkaClient,
}

/// A record to be written: its partition, key and value.
pub type Written<'a> = (i32, Option<&'a str>, Option<&'a str>);

impl Topics {
    /// Makes a topic and waits until it can be used.
    pub async fn create(&self, topic: &str, partitions: i32) -> Result<()> {
        let new = NewTopic::new(topic, partitions, 1)?;
        let made =
            self.kafka.admin().create_topics([new], CreateTopicsOptions::default().timeout(TIMEOUT)).await?;
        made.into_values().collect::<Result<Vec<()>, _>>()?;
        let producer = self.kafka.producer().build().await?;
        let deadline = Instant::now() + TIMEOUT;
        while producer.partitions_for(topic).await.map_or(0, |found| found.len()) < partitions as usize {
            ensure!(Instant::now() < deadline, "topic `{topic}` did not come to be");
            tokio::task::yield_now().await;
        }
        Ok(producer.close().await?)
    }

    /// Gives a topic more partitions; returns a client that knows of them.
    pub async fn grow(&self, topic: &str, partitions: i32, kafka: &Kafka) -> Result<Topics> {
        let grown = self.kafka.admin().create_partitions([(topic, partitions)], Default::default()).await?;
        grown.into_values().collect::<Result<Vec<()>, _>>()?;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let fresh = kafka.topics().await?;
            let known = fresh.kafka.producer().build().await?.partitions_for(topic).await?.len();
            if known == partitions as usize {
                return Ok(fresh);
            }
            ensure!(Instant::now() < deadline, "topic `{topic}` did not grow");
        }
    }

    /// Deletes a topic.
    pub async fn delete(&self, topic: &str) -> Result<()> {
        let options = DeleteTopicsOptions::default().timeout(TIMEOUT);
        let deleted = self.kafka.admin().delete_topics([topic], options).await?;
        deleted.into_values().collect::<Result<Vec<()>, _>>()?;
        Ok(())
    }

    /// Writes records in order.
    pub async fn write(&self, topic: &str, records: &[Written<'_>]) -> Result<()> {
        let producer = self.kafka.producer().build().await?;
        let mut deliveries = Vec::new();
        for record in records {
            deliveries.push(producer.enqueue(record_of(topic, record)).await?);
        }
        for delivery in deliveries {
            let _written = delivery.await?;
        }
        Ok(producer.close().await?)
    }

    /// Writes records in one transaction, and commits or aborts it.
    pub async fn write_in_transaction(
        &self,
        topic: &str,
        transaction: &str,
        records: &[Written<'_>],
        commit: bool,
    ) -> Result<()> {
        let producer = self.kafka.producer().build_transactional(transaction).await?;
        producer.begin()?;
        for record in records {
            let _written = producer.send(record_of(topic, record)).await?;
        }
        match commit {
            true => producer.commit().await?,
            false => producer.abort().await?,
        }
        Ok(producer.close().await?)
    }

    /// Reads committed records of a topic until there are `count`, in the order of each partition.
    pub async fn read(&self, topic: &str, count: usize) -> Result<Vec<ConsumerRecord>> {
        let records = self.read_all(topic, IsolationLevel::ReadCommitted).await?;
        ensure!(records.len() == count, "{} records, and not {count}", records.len());
        Ok(records)
    }

    /// Reads what there is of a topic up to its end now.
    pub async fn read_all(&self, topic: &str, isolation: IsolationLevel) -> Result<Vec<ConsumerRecord>> {
        let consumer = self
            .kafka
            .consumer_without_group()
            .isolation_level(isolation)
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .build()
            .await?;
        let partitions = consumer.fetch_metadata(Some(topic)).await?.topics.remove(0).partitions;
        let partitions: Vec<i32> = partitions.into_values().map(|partition| partition.partition).collect();
        consumer.assign(topic, partitions.clone()).await?;
        let mut ends = Vec::new();
        for partition in partitions {
            ends.push((partition, end_of(&consumer, topic, partition).await?));
        }
        let deadline = Instant::now() + TIMEOUT;
        let mut records = Vec::new();
        loop {
            let mut is_done = true;
            for (partition, end) in &ends {
                is_done &=
                    consumer.position(topic, *partition).await.is_some_and(|position| position >= *end);
            }
            if is_done {
                break;
            }
            ensure!(Instant::now() < deadline, "topic `{topic}` cannot be read to its end");
            match consumer.poll(POLL_TIME).await {
                Ok(more) => records.extend(more),
                Err(error) if error.is_retriable() => tokio::time::sleep(POLL_TIME).await,
                Err(error) => return Err(error.into()),
            }
        }
        consumer.close().await?;
        records.sort_by_key(|record| (record.partition, record.offset));
        Ok(records)
    }

    /// The values of the committed records of a topic, as text, sorted.
    pub async fn values(&self, topic: &str) -> Result<Vec<String>> {
        let records = self.read_all(topic, IsolationLevel::ReadCommitted).await?;
        let text = |record: &ConsumerRecord| record.value_str().unwrap_or("(none)").to_owned();
        let mut values: Vec<String> = records.iter().map(text).collect();
        values.sort();
        Ok(values)
    }

    /// Transactional ids with a prefix whose transaction is open.
    pub async fn open_transactions(&self, prefix: &str) -> Result<Vec<String>> {
        let listed = self.kafka.admin().list_transactions(ListTransactionsOptions::default()).await?;
        let mut open = Vec::new();
        for transactions in listed.into_values() {
            let is_open =
                |state: &str| !matches!(state, "Empty" | "CompleteCommit" | "CompleteAbort" | "Dead");
            let found = transactions?.into_iter().filter(|found| is_open(&found.state));
            open.extend(found.map(|found| found.transactional_id).filter(|id| id.starts_with(prefix)));
        }
        Ok(open)
    }
}

/// The offset behind the last record. It is asked for again where it cannot be told yet: a leader that has just come back refuses it for a
/// moment.
async fn end_of(consumer: &Consumer, topic: &str, partition: i32) -> Result<i64> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match consumer.fetch_watermarks(topic, partition).await {
            Ok((_, end)) => return Ok(end),
            Err(error) if error.is_retriable() && Instant::now() < deadline => {
                tokio::time::sleep(POLL_TIME).await;
            }
            Err(error) => return Err(error).with_context(|| format!("the end of `{topic}`, {partition}")),
        }
    }
}

fn record_of(topic: &str, (partition, key, value): &Written<'_>) -> Record {
    let mut record = match value {
        Some(value) => Record::new(topic, value.as_bytes().to_vec()),
        None => Record::new(topic, Vec::new()).without_value(),
    };
    if let Some(key) = key {
        record = record.key(key.as_bytes().to_vec());
    }
    record.partition(*partition)
}
