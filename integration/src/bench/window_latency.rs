//! How long after the end of a window its count is in a topic: records of now through Kafka, a count second by second, Kafka again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use krafka::{Record, consumer::IsolationLevel};
use serde_json::{Value, json};
use thalweg::{Client, Execution};
use thalweg_graph::Options;
use thalweg_plan::Session;
use tokio::time::{MissedTickBehavior, interval};

use super::report::{Report, quantile};
use crate::{
    kafka::{Kafka, Topics},
    processes::{Cluster, ClusterConfig},
};

const KEYS: u64 = 100;
const PARTITIONS: i32 = 2;
/// Records are written in portions, one each time.
const TICK: Duration = Duration::from_millis(1);
/// Windows that do not count: connections are made, caches filled.
const WARM_UP_MS: u64 = 5_000;
/// Records are on their way for so long at most.
const LINGER: Duration = Duration::from_millis(1);

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct WindowLatency {
    /// Records a second.
    pub rate: u64,
    /// For how long.
    pub seconds: u64,
}

/// Measures it without and with checkpoints every second.
pub async fn run(config: ClusterConfig, workload: WindowLatency) -> Result<Report> {
    // Brokers stamp records when they append them.
    let kafka = Kafka::start(&["log.message.timestamp.type=LogAppendTime"])?;
    let method = format!(
        "{} records a second of {KEYS} keys, {PARTITIONS} partitions, one worker of two slots, COUNT(*) by key and second, {} s; from the window's \
         end to the broker's time of the result, read uncommitted.",
        workload.rate, workload.seconds
    );
    let columns = ["checkpoints", "p50 ms", "p90 ms", "p99 ms", "max ms", "results"];
    let mut report = Report::new("Latency of a window through Kafka", &method, &columns);
    let mut figures = Vec::new();
    for checkpoints in [None, Some("1 s")] {
        let latencies = measure(config.clone(), &kafka, workload, checkpoints).await?;
        let quantiles = [0.5, 0.9, 0.99, 1.0].map(|fraction| quantile(&latencies, fraction));
        let label = checkpoints.map_or("none".to_owned(), |every| format!("{every}, exactly once"));
        let cells = quantiles.iter().map(|time| format!("{time:.0}"));
        report.row([label.clone()].into_iter().chain(cells).chain([latencies.len().to_string()]));
        figures.push(json!({ "checkpoints": label, "p50_ms": quantiles[0], "p90_ms": quantiles[1], "p99_ms": quantiles[2], "max_ms": quantiles[3] }));
    }
    report.figures = json!(figures);
    Ok(report)
}

async fn measure(
    mut config: ClusterConfig,
    kafka: &Kafka,
    workload: WindowLatency,
    checkpoints: Option<&str>,
) -> Result<Vec<f64>> {
    let folder = tempfile::Builder::new().prefix("thalweg-latency-").tempdir()?;
    let dir = format!("file://{}", folder.path().display());
    config.options.0.insert("execution.checkpointing.dir".to_owned(), dir);
    if let Some(every) = checkpoints {
        config.options.0.insert("execution.checkpointing.interval".to_owned(), every.to_owned());
    }
    let cluster = Cluster::start(config).await?;
    let name = if checkpoints.is_some() { "with" } else { "without" };
    let (events, counts) = (format!("events-{name}"), format!("counts-{name}"));
    let topics = kafka.topics().await?;
    topics.create(&events, PARTITIONS).await?;
    topics.create(&counts, 1).await?;
    let guarantee = match checkpoints {
        Some(_) => {
            format!("'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '{counts}'")
        }
        None => "'sink.delivery-guarantee' = 'at-least-once'".to_owned(),
    };
    let table = |topic: &str| {
        let servers = &kafka.bootstrap;
        format!(
            "'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{servers}', 'format' = 'json'"
        )
    };
    let tables = format!(
        "CREATE TABLE events (k BIGINT, t BIGINT, ts AS TO_TIMESTAMP_LTZ(t, 3), WATERMARK FOR ts AS ts) \
           WITH ({}, 'scan.startup.mode' = 'earliest-offset'); \
         CREATE TABLE counts (window_end STRING, k BIGINT, n BIGINT) WITH ({}, {guarantee});",
        table(&events),
        table(&counts),
    );
    let options: Options =
        [("parallelism.default", "2"), ("table.local-time-zone", "UTC")].into_iter().collect();
    let mut client = Client::remote(&cluster.address, options).await?;
    client.sql(&tables).await?;
    let insert = "INSERT INTO counts SELECT CAST(window_end AS STRING), k, COUNT(*) \
                  FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY window_start, window_end, k";
    let statement = Session::parse(insert)?.into_iter().next().context("there is a statement")?;
    let Execution::Job { job, .. } = client.execute(&statement).await? else { bail!("there is no job") };
    let begun = now_ms();
    produce(&topics, &events, workload).await?;
    let latencies = latencies(&topics, &counts, begun + WARM_UP_MS).await.with_context(|| cluster.logs())?;
    client.jobs().cancel(job).await?;
    Ok(latencies)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Writes records of now for as long as is asked for, whatever happens to them later.
async fn produce(topics: &Topics, topic: &str, workload: WindowLatency) -> Result<()> {
    let producer = topics.kafka.producer().linger(LINGER).build().await?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let per_tick = workload.rate * TICK.as_millis() as u64 / 1_000;
    ensure!(per_tick > 0, "the rate is below one record in {} ms", TICK.as_millis());
    let mut number = 0u64;
    for _ in 0..workload.seconds * 1_000 / TICK.as_millis() as u64 {
        ticks.tick().await;
        for _ in 0..per_tick {
            let text = format!("{{\"k\":{},\"t\":{}}}", number % KEYS, now_ms());
            let partition = (number / per_tick % PARTITIONS as u64) as i32;
            let _delivered_later =
                producer.enqueue(Record::new(topic, text.into_bytes()).partition(partition)).await?;
            number += 1;
        }
    }
    Ok(producer.close().await?)
}

/// Of each result, from its window's end until it was appended; of windows that end after `from_ms`.
async fn latencies(topics: &Topics, topic: &str, from_ms: u64) -> Result<Vec<f64>> {
    let records = topics.read_all(topic, IsolationLevel::ReadUncommitted).await?;
    let mut latencies = Vec::new();
    for record in &records {
        let Some(text) = record.value_str() else { continue };
        let value: Value = serde_json::from_str(text).with_context(|| text.to_owned())?;
        let end = value["window_end"].as_str().context("there is a window")?;
        let end =
            chrono::NaiveDateTime::parse_from_str(end, "%Y-%m-%d %H:%M:%S%.f")?.and_utc().timestamp_millis();
        if end as u64 >= from_ms {
            latencies.push((record.timestamp - end) as f64);
        }
    }
    ensure!(!latencies.is_empty(), "no window came out of {} results", records.len());
    Ok(latencies)
}
