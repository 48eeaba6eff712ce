//! What is measured of a running stream: under Flink's paths, as Prometheus reads it, and what holds event time back.

use std::time::Duration;

use serde_json::Value;
use thalweg::{Client, Execution};
use thalweg_graph::{JobId, Options};
use thalweg_integration::processes::{Cluster, ClusterConfig};
use thalweg_plan::Session;

use crate::place::binary;

/// Time for whatever is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A second of event time for each row of `quick`, of which every tenth is from the beginning; `slow` stays there.
const TABLES: &str = "\
    CREATE TABLE quick (id BIGINT, \
      ts AS CAST(TIMESTAMPADD(SECOND, CAST(CASE WHEN MOD(id, 10) = 9 THEN 0 ELSE id END AS INT), TIMESTAMP '2026-01-01 00:00:00') AS TIMESTAMP(3)), \
      WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) \
    WITH ('connector' = 'datagen', 'rows-per-second' = '500', 'fields.id.kind' = 'sequence', 'fields.id.start' = '0', \
      'fields.id.end' = '1000000000'); \
    CREATE TABLE slow (id BIGINT, ts AS CAST(TIMESTAMP '2026-01-01 00:00:00' AS TIMESTAMP(3)), \
      WATERMARK FOR ts AS ts) \
    WITH ('connector' = 'datagen', 'rows-per-second' = '10'); \
    CREATE TABLE counts (window_end TIMESTAMP(3), n BIGINT) WITH ('connector' = 'blackhole');";

struct Stream {
    cluster: Cluster,
    client: Client,
}

impl Stream {
    async fn start() -> Self {
        let options: Options = [("heartbeat.interval", "50 ms")].into_iter().collect();
        let config = ClusterConfig { options, ..ClusterConfig::new(binary(), 1, 2) };
        let cluster = Cluster::start(config).await.unwrap();
        let options: Options =
            [("execution.runtime-mode", "STREAMING"), ("parallelism.default", "2")].into_iter().collect();
        let mut client = Client::remote(&cluster.address, options).await.unwrap();
        client.sql(TABLES).await.unwrap();
        Self { cluster, client }
    }

    async fn insert(&mut self, from: &str) -> JobId {
        let insert = format!(
            "INSERT INTO counts SELECT window_end, COUNT(*) FROM TABLE(TUMBLE({from}, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) \
             GROUP BY window_start, window_end"
        );
        match self.client.execute(&Session::parse(&insert).unwrap()[0]).await.unwrap() {
            Execution::Job { job, .. } => job,
            _ => panic!("an INSERT made no job"),
        }
    }

    async fn wait_for(&self, path: &str, mut is_it: impl FnMut(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let waiting = async {
            loop {
                if let Ok(answer) = self.cluster.get(path).await {
                    if is_it(&answer) {
                        return answer;
                    }
                    last = answer;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(answer) => answer,
            Err(_) => panic!("{path} did not become so, but {last}\n{}", self.cluster.logs()),
        }
    }

    /// The vertices of a job by a part of their name.
    async fn vertex(&self, job: JobId, name: &str) -> String {
        let details = self
            .wait_for(&format!("/v1/jobs/{job}"), |details| {
                details["vertices"].as_array().is_some_and(|vertices| !vertices.is_empty())
            })
            .await;
        let vertices = details["vertices"].as_array().unwrap();
        let found = vertices.iter().find(|vertex| vertex["name"].as_str().unwrap().contains(name));
        found.unwrap_or_else(|| panic!("no {name} in {details}"))["id"].as_str().unwrap().to_owned()
    }
}

/// A measurement among others.
fn measured(answer: &Value, id: &str, field: &str) -> Option<f64> {
    let line = answer.as_array()?.iter().find(|line| line["id"] == id)?;
    line[field].as_f64().or_else(|| line[field].as_str()?.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_measured_task_by_task() {
    let mut stream = Stream::start().await;
    let job = stream.insert("TABLE quick").await;
    let (source, window) = (stream.vertex(job, "Source: quick").await, stream.vertex(job, "Sink: ").await);
    let path = |vertex: &str, what: &str| format!("/v1/jobs/{job}/vertices/{vertex}/{what}");

    let late = path(&window, "subtasks/metrics?get=numLateRecordsDropped,numRecordsIn&agg=sum,max");
    let answer =
        stream.wait_for(&late, |answer| measured(answer, "numLateRecordsDropped", "sum") >= Some(5.0)).await;
    assert!(answer[0].get("min").is_none(), "{answer}");
    let listed = stream.cluster.get(&path(&source, "metrics")).await.unwrap();
    assert!(
        listed.as_array().unwrap().iter().any(|line| line["id"] == "1.numRecordsOutPerSecond"),
        "{listed}"
    );

    let shares = path(
        &source,
        "subtasks/0/metrics?get=busyTimeMsPerSecond,idleTimeMsPerSecond,backPressuredTimeMsPerSecond,numRecordsInPerSecond",
    );
    let answer = stream
        .wait_for(&shares, |answer| measured(answer, "numRecordsInPerSecond", "value") > Some(0.0))
        .await;
    let share = |name: &str| measured(&answer, name, "value").unwrap();
    let all =
        share("busyTimeMsPerSecond") + share("idleTimeMsPerSecond") + share("backPressuredTimeMsPerSecond");
    assert!((900.0..=1_001.0).contains(&all), "{answer}");
    assert!(share("idleTimeMsPerSecond") > 500.0, "250 rows a second are little work: {answer}");

    let watermarks = stream
        .wait_for(&path(&window, "watermarks"), |answer| {
            measured(answer, "0.currentInputWatermark", "value").is_some()
        })
        .await;
    let first = measured(&watermarks, "0.currentInputWatermark", "value").unwrap();
    assert!((1_767_225_599_000.0..1_800_000_000_000.0).contains(&first), "{watermarks}");
    let backpressure = stream.cluster.get(&path(&source, "backpressure")).await.unwrap();
    assert_eq!((&backpressure["status"], &backpressure["backpressureLevel"]), (&"ok".into(), &"ok".into()));

    let text = reqwest::get(stream.cluster.url("/metrics")).await.unwrap().text().await.unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("thalweg_") && value.parse::<f64>().is_ok(), "{line}");
    }
    for wanted in
        ["thalweg_jobs{state=\"RUNNING\"} 1", "thalweg_workers 1", "thalweg_task_records_late_total{job="]
    {
        assert!(text.contains(wanted), "{wanted} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_holds_event_time_back_is_named() {
    let mut stream = Stream::start().await;
    let union = "(SELECT ts FROM quick UNION ALL SELECT ts FROM slow)";
    let view = format!("CREATE TEMPORARY VIEW both_tables AS {union}");
    stream.client.sql(&view).await.unwrap();
    let job = stream.insert("TABLE both_tables").await;
    let is_told = |answer: &Value| {
        let vertices = answer["vertices"].as_array().unwrap();
        let sink = vertices.iter().find(|vertex| vertex["name"].as_str().unwrap().contains("Sink: "));
        sink.is_some_and(|sink| {
            sink["held-by"]["name"].as_str().is_some_and(|name| name.contains("Source: slow"))
                && !sink["watermark"].is_null()
        })
    };
    stream.wait_for(&format!("/v1/jobs/{job}/event-time"), is_told).await;
    let rows = stream.client.sql(&format!("EXPLAIN WATERMARK '{job}'")).await.unwrap();
    let shown = arrow::util::pretty::pretty_format_batches(&rows).unwrap().to_string();
    let sink = shown.lines().find(|line| line.contains("Sink: ")).unwrap_or_else(|| panic!("{shown}"));
    assert!(sink.contains("Source: slow") && sink.contains("| 2026-01-01 00:00:00.000"), "{shown}");
}

/// Rows whose times are so many seconds after 2020 began.
fn table(name: &str, seconds: &str, rate: u32, options: &str) -> String {
    format!(
        "CREATE TABLE {name} (id BIGINT, \
           ts AS CAST(TIMESTAMPADD(SECOND, CAST({seconds} AS INT), TIMESTAMP '2020-01-01 00:00:00') AS TIMESTAMP(3)), \
           WATERMARK FOR ts AS ts) \
         WITH ('connector' = 'datagen', 'rows-per-second' = '{rate}', 'fields.id.kind' = 'sequence', \
           'fields.id.start' = '0', 'fields.id.end' = '1000000000', {options})"
    )
}

/// 2020-01-01 in milliseconds.
const START_MS: i64 = 1_577_836_800_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_far_ahead_of_the_clock_does_not_move_event_time() {
    let mut stream = Stream::start().await;
    let eighty_years = "CASE WHEN MOD(id, 10) = 9 THEN 2000000000 ELSE id END";
    let events = table("events", eighty_years, 500, "'scan.watermark.max-ahead' = '1 h'");
    stream.client.sql(&events).await.unwrap();
    let job = stream.insert("TABLE events").await;
    let source = stream.vertex(job, "Source: events").await;
    let path = format!(
        "/v1/jobs/{job}/vertices/{source}/subtasks/metrics?get=numRecordsAheadOfTime,currentOutputWatermark&agg=max"
    );
    let answer = stream
        .wait_for(&path, |answer| {
            measured(answer, "numRecordsAheadOfTime", "max") >= Some(20.0)
                && measured(answer, "currentOutputWatermark", "max").is_some()
        })
        .await;
    let watermark = measured(&answer, "currentOutputWatermark", "max").unwrap() as i64;
    assert!((START_MS..START_MS + 1_000_000_000).contains(&watermark), "{answer}");

    let wrong = table("half", "id", 1, "'scan.watermark.alignment.group' = 'g'");
    let why = stream.client.sql(&format!("{wrong}; INSERT INTO counts SELECT ts, id FROM half")).await;
    assert!(format!("{:#}", why.unwrap_err()).contains("belong together"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_waits_for_the_slowest_of_its_group() {
    let mut stream = Stream::start().await;
    let aligned = "'scan.watermark.alignment.group' = 'g', 'scan.watermark.alignment.max-drift' = '60 s', \
                   'scan.watermark.alignment.update-interval' = '20 ms'";
    let tables = [table("hare", "id", 2_000, aligned), table("tortoise", "id", 20, aligned)];
    let view = "CREATE TEMPORARY VIEW race AS (SELECT ts FROM hare UNION ALL SELECT ts FROM tortoise)";
    stream.client.sql(&format!("{}; {}; {view}", tables[0], tables[1])).await.unwrap();
    let job = stream.insert("TABLE race").await;
    let watermark = |answer: &Value, name: &str| {
        let vertices = answer["vertices"].as_array().unwrap();
        let found = vertices.iter().find(|vertex| vertex["name"].as_str().unwrap().contains(name));
        found.and_then(|vertex| vertex["watermark"].as_i64())
    };
    // By then the hare would be two thousand seconds ahead.
    let answer = stream
        .wait_for(&format!("/v1/jobs/{job}/event-time"), |answer| {
            watermark(answer, "Source: tortoise") >= Some(START_MS + 20_000)
        })
        .await;
    let (hare, tortoise) = (watermark(&answer, "Source: hare"), watermark(&answer, "Source: tortoise"));
    let ahead_ms = hare.unwrap() - tortoise.unwrap();
    assert!((20_000..600_000).contains(&ahead_ms), "{ahead_ms} ms ahead: {answer}");
}
