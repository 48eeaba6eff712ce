//! Rows that come too late, in the table that is to have them: which ones, by whom they were left out, and each once whatever happens.

use std::{fs, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use thalweg::{Client, Execution};
use thalweg_graph::{JobId, Options};
use thalweg_integration::{
    processes::{Cluster, ClusterConfig},
    stream_drill::counted,
};
use thalweg_plan::Session;

use crate::place::{Place, binary};

/// Time for whatever is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Behind each row event time is two seconds behind it: at 10.5 s behind the third row, at 23 s behind the sixth.
const ROWS: &str = "\
a,1,2026-01-01 00:00:01
b,2,2026-01-01 00:00:04
a,3,2026-01-01 00:00:12.5
a,4,2026-01-01 00:00:03
b,5,2026-01-01 00:00:10.2
a,6,2026-01-01 00:00:25
b,7,2026-01-01 00:00:11
c,8,2026-01-01 00:00:09.999
a,9,2026-01-01 00:00:24
";

/// The rows that are before event time when they come, as JSON; the second is in a window that is still open.
const LATE: [(&str, &str); 4] = [
    (r#"{"k":"a","v":4,"ts":"2026-01-01 00:00:03"}"#, "2026-01-01T00:00:10.500"),
    (r#"{"k":"b","v":5,"ts":"2026-01-01 00:00:10.200"}"#, "2026-01-01T00:00:10.500"),
    (r#"{"k":"b","v":7,"ts":"2026-01-01 00:00:11"}"#, "2026-01-01T00:00:23"),
    (r#"{"k":"c","v":8,"ts":"2026-01-01 00:00:09.999"}"#, "2026-01-01T00:00:23"),
];

struct Late {
    client: Client,
    folder: TempDir,
    statements: usize,
}

impl Late {
    async fn start(parallelism: u32) -> Self {
        let options: Options = [
            ("execution.runtime-mode", "STREAMING"),
            // One row at a time, and event time behind each.
            ("table.exec.source.rows-per-second", "150"),
            ("pipeline.auto-watermark-interval", "0 ms"),
        ]
        .into_iter()
        .collect();
        let mut late = Self {
            client: Place::Embedded(parallelism).client_with(options).await,
            folder: folder(),
            statements: 0,
        };
        fs::create_dir(late.folder.path().join("bids")).unwrap();
        fs::write(late.folder.path().join("bids/rows.csv"), ROWS).unwrap();
        late.create(
            "bids",
            "k STRING, v BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '2' SECOND",
        )
        .await;
        late
    }

    async fn create(&mut self, table: &str, columns: &str) {
        let path = self.folder.path().join(table);
        let create = format!(
            "CREATE TABLE {table} ({columns}) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'csv')",
            path.display()
        );
        self.client.sql(&create).await.unwrap();
    }

    /// The answer of a query, and the rows that it left out: operator, event time, how far that had come, content.
    async fn answer(&mut self, query: &str) -> (Vec<String>, Vec<String>) {
        self.statements += 1;
        let table = format!("late{}", self.statements);
        self.create(&table, "operator STRING, event_time TIMESTAMP(3), reached TIMESTAMP(3), content STRING")
            .await;
        self.client.sql(&format!("SET 'table.exec.late-rows.table' = '{table}'")).await.unwrap();
        let answer = rows(&self.client.sql(query).await.unwrap());
        self.client.sql("SET 'table.exec.late-rows.table' = ''").await.unwrap();
        (answer, rows(&self.client.sql(&format!("SELECT * FROM {table}")).await.unwrap()))
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Rows as text, sorted.
fn rows(batches: &[arrow::array::RecordBatch]) -> Vec<String> {
    let counted = counted(batches).unwrap();
    counted.into_iter().flat_map(|(row, count)| std::iter::repeat_n(row, count)).collect()
}

/// Those of [`LATE`] as an operator tells them, each with the time by which it is late.
fn told(operator: &str, late: &[(usize, &str)]) -> Vec<String> {
    let told = late.iter().map(|(at, time)| {
        let (content, reached) = LATE[*at];
        format!("{operator}|2026-01-01T00:00:{time}|{reached}|{content}")
    });
    let mut told: Vec<String> = told.collect();
    told.sort();
    told
}

/// Three rows come when all of their windows are out.
const OF_CLOSED_WINDOWS: [(usize, &str); 3] = [(0, "03"), (2, "11"), (3, "09.999")];
/// Four come when event time has passed them.
const PASSED: [(usize, &str); 4] = [(0, "03"), (1, "10.200"), (2, "11"), (3, "09.999")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregations_of_windows_hand_on_whole_rows() {
    for parallelism in [1, 2] {
        let mut late = Late::start(parallelism).await;
        let (counts, left_out) = late
            .answer(
                "SELECT window_start, COUNT(*) FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)) \
                 GROUP BY window_start, window_end",
            )
            .await;
        assert_eq!(counts, ["2026-01-01T00:00:00|2", "2026-01-01T00:00:10|2", "2026-01-01T00:00:20|2"]);
        assert_eq!(left_out, told("WindowAggregate", &OF_CLOSED_WINDOWS), "parallelism {parallelism}");

        let (counts, left_out) = late
            .answer(
                "SELECT window_start, k, SUM(v) FROM TABLE(HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND)) \
                 GROUP BY window_start, window_end, k",
            )
            .await;
        let of_first = ["2025-12-31T23:59:55|a|1", "2025-12-31T23:59:55|b|2", "2026-01-01T00:00:00|a|1"];
        assert_eq!(counts[..3], of_first);
        let of_third = ["2026-01-01T00:00:05|a|3", "2026-01-01T00:00:05|b|5"];
        assert_eq!(counts[4..6], of_third, "the late row of 9.999 s is in no window");
        assert_eq!(left_out, told("WindowAggregate", &OF_CLOSED_WINDOWS), "parallelism {parallelism}");

        let (sessions, left_out) = late
            .answer(
                "SELECT k, window_start, SUM(v) FROM TABLE(SESSION(TABLE bids PARTITION BY k, DESCRIPTOR(ts), INTERVAL '5' SECOND)) \
                 GROUP BY k, window_start, window_end",
            )
            .await;
        let expected = ["a|2026-01-01T00:00:01|1", "a|2026-01-01T00:00:12.500|3", "a|2026-01-01T00:00:24|15"];
        assert_eq!(sessions[..3], expected);
        assert_eq!(sessions[3..], ["b|2026-01-01T00:00:04|2", "b|2026-01-01T00:00:10.200|5"]);
        assert_eq!(left_out, told("SessionAggregate", &OF_CLOSED_WINDOWS), "parallelism {parallelism}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_holds_rows_until_event_time_has_passed_hands_on_those_that_come_behind_it() {
    let mut late = Late::start(1).await;
    let (sums, left_out) = late.answer("SELECT v, SUM(v) OVER (PARTITION BY k ORDER BY ts) FROM bids").await;
    assert_eq!(sums, ["1|1", "2|2", "3|4", "6|19", "9|13"]);
    assert_eq!(left_out, told("OverAggregate", &PASSED));

    let (before, left_out) =
        late.answer("SELECT v, LAG(v) OVER (PARTITION BY k ORDER BY ts) FROM bids").await;
    assert_eq!(before, ["1|", "2|", "3|1", "6|9", "9|3"]);
    assert_eq!(left_out, told("OverPartitions", &PASSED));

    let (near, left_out) = late
        .answer(
            "SELECT a.v, b.v FROM bids a JOIN bids b ON a.k = b.k AND a.ts BETWEEN b.ts - INTERVAL '12' SECOND AND b.ts - INTERVAL '1' SECOND",
        )
        .await;
    assert_eq!(near, ["1|3", "3|9", "9|6"]);
    let both: Vec<_> = PASSED.iter().flat_map(|row| [*row, *row]).collect();
    assert_eq!(left_out, told("IntervalJoin", &both));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_holds_rows_until_their_window_is_complete_tells_its_end() {
    let mut late = Late::start(1).await;
    let of_windows = |operator: &str, times: u8, columns: fn(usize) -> String| -> Vec<String> {
        let rows = [(0, "10"), (2, "20"), (3, "10")].into_iter().flat_map(|(at, end)| {
            let (content, reached) = LATE[at];
            let content = content.trim_end_matches('}');
            let row = format!("{operator}|2026-01-01T00:00:{end}|{reached}|{content},{}}}", columns(at));
            (0..times).map(move |_| row.clone())
        });
        let mut rows: Vec<String> = rows.collect();
        rows.sort();
        rows
    };
    let borders = |at: usize| {
        let (start, time, end) = if at == 2 { ("10", "19.999", "20") } else { ("00", "09.999", "10") };
        format!(
            r#""window_start":"2026-01-01 00:00:{start}","window_end":"2026-01-01 00:00:{end}","window_time":"2026-01-01 00:00:{time}""#
        )
    };
    let windows = "TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND))";
    let (first, left_out) = late
        .answer(&format!(
            "SELECT v FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY v DESC) AS n FROM {windows}) \
             WHERE n = 1"
        ))
        .await;
    assert_eq!(first, ["2", "5", "9"]);
    assert_eq!(left_out, of_windows("WithinWindows", 1, borders));

    let (joined, left_out) = late
        .answer(&format!(
            "SELECT a.v, b.v FROM (SELECT * FROM {windows}) a JOIN (SELECT * FROM {windows}) b \
             ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.k = b.k AND a.v < b.v"
        ))
        .await;
    assert_eq!(joined, ["6|9"]);
    assert_eq!(left_out, of_windows("WindowJoin", 2, borders));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_comes_when_its_version_is_past_is_handed_on() {
    let mut late = Late::start(1).await;
    let versions = late.folder.path().join("names");
    fs::create_dir(&versions).unwrap();
    fs::write(versions.join("rows.csv"), "a,first,2026-01-01 00:00:00\na,second,2026-01-01 00:00:05\n")
        .unwrap();
    late.create(
        "names",
        "k STRING, name STRING, since TIMESTAMP(3), WATERMARK FOR since AS since + INTERVAL '1' HOUR, PRIMARY KEY (k) NOT ENFORCED",
    )
    .await;
    let (named, left_out) = late
        .answer("SELECT b.v, n.name FROM bids b LEFT JOIN names FOR SYSTEM_TIME AS OF b.ts AS n ON b.k = n.k")
        .await;
    assert_eq!(named, ["1|first", "2|", "3|second", "6|second", "9|second"]);
    assert_eq!(left_out, told("TemporalJoin", &PASSED));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_cannot_have_them_is_refused() {
    let mut late = Late::start(1).await;
    late.create("narrow", "content STRING").await;
    late.create("wrong", "operator STRING, event_time BIGINT, reached TIMESTAMP(3), content STRING").await;
    late.create("counts", "n BIGINT").await;
    let columns = "late rows are put into columns for (operator STRING, event_time TIMESTAMP(3), watermark TIMESTAMP(3), content STRING), \
                   in this order";
    for (table, why) in [
        ("nowhere", "does not exist".to_owned()),
        (
            "narrow",
            format!(
                "the query gives 4 columns, `default_catalog.default_database.narrow` takes 1; {columns}"
            ),
        ),
        ("wrong", format!("say CAST(... AS BIGINT) if that is meant; {columns}")),
        ("a b", "`table.exec.late-rows.table` cannot be `a b`".to_owned()),
    ] {
        late.client.sql(&format!("SET 'table.exec.late-rows.table' = '{table}'")).await.unwrap();
        let refused = late.client.sql("INSERT INTO counts SELECT v FROM bids").await;
        let error = format!("{:#}", refused.expect_err("it must be refused"));
        assert!(error.contains("table.exec.late-rows.table") && error.contains(&why), "{table}: {error}");
    }
}

/// A second of event time for a thousand rows, of which every tenth is of the first second.
const EVENTS: u64 = 60_000;

async fn started(client: &mut Client, folder: &TempDir, table: &str) -> JobId {
    let create = format!(
        "CREATE TABLE {table} (operator STRING, event_time TIMESTAMP(3), reached TIMESTAMP(3), content STRING) \
         WITH ('connector' = 'filesystem', 'path' = '{0}/{table}', 'format' = 'json'); \
         CREATE TABLE {table}_counts (window_end TIMESTAMP(3), n BIGINT) \
         WITH ('connector' = 'filesystem', 'path' = '{0}/{table}_counts', 'format' = 'csv'); \
         SET 'table.exec.late-rows.table' = '{table}'",
        folder.path().display()
    );
    client.sql(&create).await.unwrap();
    let insert = format!(
        "INSERT INTO {table}_counts SELECT window_end, COUNT(*) FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '5' SECOND)) \
         GROUP BY window_start, window_end"
    );
    match client.execute(&Session::parse(&insert).unwrap()[0]).await.unwrap() {
        Execution::Job { job, .. } => job,
        _ => panic!("an INSERT made no job"),
    }
}

struct Stream {
    cluster: Cluster,
    client: Client,
    folder: TempDir,
}

impl Stream {
    async fn start() -> Self {
        let folder = folder();
        let options: Options = [
            ("execution.runtime-mode", "STREAMING".to_owned()),
            ("parallelism.default", "2".to_owned()),
            ("execution.checkpointing.interval", "50 ms".to_owned()),
            ("execution.checkpointing.dir", format!("file://{}/checkpoints", folder.path().display())),
            ("restart-strategy.exponential-delay.initial-backoff", "50 ms".to_owned()),
            ("heartbeat.interval", "50 ms".to_owned()),
        ]
        .into_iter()
        .collect();
        let config = ClusterConfig { options: options.clone(), ..ClusterConfig::new(binary(), 2, 1) };
        let cluster = Cluster::start(config).await.unwrap();
        let mut client = Client::remote(&cluster.address, options).await.unwrap();
        let last = EVENTS - 1;
        let events = format!(
            "CREATE TABLE events (id BIGINT, \
               ts AS CAST(TIMESTAMPADD(SECOND, CAST(CASE WHEN MOD(id, 10) = 9 THEN 0 ELSE id / 1000 END AS INT), TIMESTAMP '2026-01-01 00:00:00') AS TIMESTAMP(3)), \
               WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) \
             WITH ('connector' = 'datagen', 'number-of-rows' = '{EVENTS}', 'rows-per-second' = '30000', \
               'fields.id.kind' = 'sequence', 'fields.id.start' = '0', 'fields.id.end' = '{last}')"
        );
        client.sql(&events).await.unwrap();
        Self { cluster, client, folder }
    }

    /// Waits until an answer of the REST API is as it should be.
    async fn wait_for(&self, path: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.cluster.get(path).await.unwrap();
            if is_it(&answer) {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "{answer}\n{}", self.cluster.logs());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn wait(&self, job: JobId) {
        tokio::time::timeout(PATIENCE, self.client.wait(job)).await.expect("the job ends").unwrap();
    }

    /// How many rows are in the table of late rows; all others, and none of them, are counted in a window.
    async fn check(&mut self, table: &str) -> u64 {
        self.client.sql("SET 'execution.runtime-mode' = 'BATCH'").await.unwrap();
        let late = format!(
            "SELECT COUNT(*), COUNT(DISTINCT id), SUM(MOD(id, 10)), (SELECT SUM(n) FROM {table}_counts) FROM \
             (SELECT CAST(JSON_VALUE(content, '$.id') AS BIGINT) AS id FROM {table})"
        );
        let answer = rows(&self.client.sql(&late).await.unwrap());
        self.client.sql("SET 'execution.runtime-mode' = 'STREAMING'").await.unwrap();
        let cells: Vec<u64> = answer[0].split('|').map(|cell| cell.parse().unwrap()).collect();
        let count = cells[0];
        assert!(count > 0, "there are late rows");
        assert_eq!(cells, [count, count, 9 * count, EVENTS - count], "each once: late, or in its window");
        count
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_rows_are_as_many_as_are_counted_and_a_killed_worker_doubles_none() {
    let mut stream = Stream::start().await;
    let calm = started(&mut stream.client, &stream.folder, "calm").await;
    stream.wait(calm).await;
    let left_out = stream.check("calm").await;
    let details = stream.cluster.get(&format!("/v1/jobs/{calm}")).await.unwrap();
    let mut counted = 0;
    for vertex in details["vertices"].as_array().unwrap() {
        let id = vertex["id"].as_str().unwrap();
        let path =
            format!("/v1/jobs/{calm}/vertices/{id}/subtasks/metrics?get=numLateRecordsDropped&agg=sum");
        let answer = stream.cluster.get(&path).await.unwrap();
        counted += answer[0]["sum"].as_f64().unwrap() as u64;
    }
    assert_eq!(counted, left_out, "the metric and the table");

    let killed = started(&mut stream.client, &stream.folder, "killed").await;
    let completed = |checkpoints: &Value| checkpoints["counts"]["completed"].as_u64() >= Some(4);
    stream.wait_for(&format!("/v1/jobs/{killed}/checkpoints"), completed).await;
    stream.cluster.kill_worker(0);
    stream.cluster.replace_worker(0).await.unwrap();
    stream.wait(killed).await;
    let details = stream.cluster.get(&format!("/v1/jobs/{killed}")).await.unwrap();
    assert!(details["restarts"].as_u64() >= Some(1), "{details}");
    stream.check("killed").await;
}
