//! The records, the job, and what the job must leave, by plain arithmetic.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use krafka::{Record, consumer::IsolationLevel};
use serde_json::Value;
use thalweg::Client;
use thalweg_graph::Options;

use crate::{
    kafka::Kafka,
    stream_drill::{Counted, compare, counted},
};

const KEYS: u64 = 50;
const PARTITIONS: i32 = 4;
/// Records of one second of event time, and seconds of a window.
const RECORDS_PER_SECOND: u64 = 1_000;
const WINDOW_SECONDS: u64 = 10;
/// Records that are on their way at once while topics are filled.
const IN_FLIGHT: usize = 10_000;

/// Time in which what a job leaves must be gone behind its end, and pause between two looks.
pub const REMOVAL_TIMEOUT: Duration = Duration::from_secs(10);
pub const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// One job with three outputs: windows as files, windows joined with names in a topic, and totals that change with every record, joined with
/// names, as a topic of newest values.
pub const JOB: &str = "EXECUTE STATEMENT SET BEGIN \
   INSERT INTO windows SELECT CAST(window_end AS STRING), k, COUNT(*), SUM(v) \
     FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, k; \
   INSERT INTO named SELECT w.window_end, n.name, w.n, w.s FROM \
     (SELECT CAST(window_end AS STRING) AS window_end, k, COUNT(*) AS n, SUM(v) AS s \
      FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, k) w \
     JOIN names n ON w.k = n.k; \
   INSERT INTO totals SELECT n.name, t.n, t.s FROM (SELECT k, COUNT(*) AS n, SUM(v) AS s FROM events GROUP BY k) t \
     JOIN names n ON t.k = n.k; \
 END";

/// Topics that have been filled, and what follows from them.
pub struct Workload {
    windows: Counted,
    named: Counted,
    totals: Counted,
}

fn key(id: u64) -> u64 {
    id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40
}

fn name(k: u64) -> String {
    format!("name {k}")
}

/// `2026-01-01 00:00:00` and so many seconds later.
fn time(second: u64) -> String {
    let start = chrono::DateTime::from_timestamp(1_767_225_600, 0).expect("it is a time");
    let time = start + chrono::TimeDelta::seconds(second as i64);
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

impl Workload {
    /// Fills the topics of the sources.
    pub async fn prepare(kafka: &Kafka, records: u64) -> Result<Workload> {
        let topics = kafka.topics().await?;
        topics.create("events", PARTITIONS).await?;
        topics.create("names", 1).await?;
        let names = (0..KEYS).map(|k| (0, format!("{{\"k\":{k},\"name\":\"{}\"}}", name(k))));
        fill(&topics.kafka, "names", names).await?;
        let (mut windows, mut totals) =
            (BTreeMap::<(u64, u64), (u64, u64)>::new(), BTreeMap::<u64, (u64, u64)>::new());
        let events = (0..records).map(|id| {
            let (k, v, second) = (key(id) % KEYS, id * 7 % 1_000, id / RECORDS_PER_SECOND);
            let window_end = (second / WINDOW_SECONDS + 1) * WINDOW_SECONDS;
            for (n, s) in [windows.entry((window_end, k)).or_default(), totals.entry(k).or_default()] {
                *n += 1;
                *s += v;
            }
            let text = format!("{{\"id\":{id},\"k\":{k},\"v\":{v},\"ts\":\"{}\"}}", time(second));
            ((id % PARTITIONS as u64) as i32, text)
        });
        fill(&topics.kafka, "events", events).await?;
        let window = |window_end: &u64, name: String, (n, s): &(u64, u64)| {
            (format!("{}.000|{name}|{n}|{s}", time(*window_end)), 1)
        };
        Ok(Workload {
            windows: windows.iter().map(|((end, k), sums)| window(end, k.to_string(), sums)).collect(),
            named: windows.iter().map(|((end, k), sums)| window(end, name(*k), sums)).collect(),
            totals: totals.iter().map(|(k, (n, s))| (format!("{}|{n}|{s}", name(*k)), 1)).collect(),
        })
    }

    /// Makes the topics of one job's sinks.
    pub async fn create_outputs(&self, kafka: &Kafka, job: &str) -> Result<()> {
        let topics = kafka.topics().await?;
        topics.create(&format!("{job}-named"), 2).await?;
        topics.create(&format!("{job}-totals"), 2).await
    }

    /// The tables of one job.
    pub fn create_tables(&self, kafka: &Kafka, job: &str, files: &Path) -> String {
        let servers = format!("'properties.bootstrap.servers' = '{}'", kafka.bootstrap);
        let source = |topic: &str| {
            format!(
                "'connector' = 'kafka', 'topic' = '{topic}', {servers}, 'format' = 'json', \
                 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset'"
            )
        };
        let sink = |topic: &str| {
            format!(
                "'topic' = '{job}-{topic}', {servers}, 'sink.delivery-guarantee' = 'exactly-once', \
                 'sink.transactional-id-prefix' = '{job}-{topic}'"
            )
        };
        format!(
            "CREATE TABLE events (id BIGINT, k BIGINT, v BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ({}); \
             CREATE TABLE names (k BIGINT, name STRING) WITH ({}); \
             CREATE TABLE windows (window_end STRING, k BIGINT, n BIGINT, s BIGINT) \
               WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'parquet'); \
             CREATE TABLE named (window_end STRING, name STRING, n BIGINT, s BIGINT) WITH ('connector' = 'kafka', 'format' = 'json', {}); \
             CREATE TABLE totals (name STRING, n BIGINT, s BIGINT, PRIMARY KEY (name) NOT ENFORCED) \
               WITH ('connector' = 'upsert-kafka', 'key.format' = 'json', 'value.format' = 'json', {});",
            source("events"),
            source("names"),
            files.display(),
            sink("named"),
            sink("totals"),
        )
    }

    /// Whether a job has made something visible.
    pub fn has_output(&self, files: &Path) -> bool {
        visible_files(files).is_ok_and(|files| !files.is_empty())
    }

    /// Compares what a job has left with what it must; returns how many rows those are.
    pub async fn check(&self, kafka: &Kafka, job: &str, files: &Path) -> Result<usize> {
        let topics = kafka.topics().await?;
        // A worker that was stopped may come back behind the job's end, and begins one before it is told.
        let deadline = Instant::now() + REMOVAL_TIMEOUT;
        loop {
            let open = topics.open_transactions(job).await?;
            if open.is_empty() {
                break;
            }
            ensure!(Instant::now() < deadline, "transactions were left open: {open:?}");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let mut named = Counted::new();
        for value in topics.values(&format!("{job}-named")).await? {
            *named.entry(cells(&value, &["window_end", "name", "n", "s"])?).or_default() += 1;
        }
        if let Err(error) = compare(&self.named, &named) {
            let written =
                topics.read_all(&format!("{job}-named"), IsolationLevel::ReadUncommitted).await?.len();
            let what = format!("windows with names, in Kafka, which has {written}, visible or not");
            return Err(error.context(what));
        }
        let mut newest = BTreeMap::new();
        for record in topics.read_all(&format!("{job}-totals"), IsolationLevel::ReadCommitted).await? {
            let key = record.key_str().context("each record has a key")?.to_owned();
            newest.insert(key, record.value_str().map(str::to_owned));
        }
        let mut totals = Counted::new();
        for value in newest.into_values().flatten() {
            *totals.entry(cells(&value, &["name", "n", "s"])?).or_default() += 1;
        }
        compare(&self.totals, &totals).context("totals, in Kafka")?;
        visible_files(files)?;
        let mut client = Client::embedded(Options::default()).await?;
        let create = format!(
            "CREATE TABLE windows (window_end STRING, k BIGINT, n BIGINT, s BIGINT) \
             WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'parquet'); SELECT * FROM windows",
            files.display()
        );
        compare(&self.windows, &counted(&client.sql(&create).await?)?).context("windows, in files")?;
        Ok(self.windows.len() + self.named.len() + self.totals.len())
    }
}

/// The files of a table; fails where there is anything else.
fn visible_files(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ensure!(name.ends_with(".parquet") && !name.starts_with(['.', '_']), "`{name}` was left behind");
        files.push(name);
    }
    Ok(files)
}

/// Fields of a JSON object, as the rows of a result are compared.
fn cells(json: &str, fields: &[&str]) -> Result<String> {
    let object: Value = serde_json::from_str(json).with_context(|| json.to_owned())?;
    let cell = |field: &&str| match &object[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Ok(fields.iter().map(cell).collect::<Vec<_>>().join("|"))
}

async fn fill(
    kafka: &krafka::Kafka,
    topic: &str,
    records: impl Iterator<Item = (i32, String)>,
) -> Result<()> {
    let producer = kafka.producer().build().await?;
    let mut deliveries = std::collections::VecDeque::new();
    for (partition, text) in records {
        deliveries
            .push_back(producer.enqueue(Record::new(topic, text.into_bytes()).partition(partition)).await?);
        if deliveries.len() > IN_FLIGHT
            && let Some(oldest) = deliveries.pop_front()
        {
            let _written = oldest.await?;
        }
    }
    for delivery in deliveries {
        let _written = delivery.await?;
    }
    Ok(producer.close().await?)
}
