//! The sink of a stream with checkpoints: rows are durable with each of them and visible in files that are not small, whatever dies
//! in between.

use std::{fs, path::Path, sync::Arc};

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use tempfile::TempDir;
use thalweg_connectors::{
    commit,
    sink::{self, Prepared, SinkWriter, StreamSink},
};
use thalweg_graph::{
    CheckpointId,
    checkpoint::{AfterBarrier, Barrier, SinkState},
    table::Committable,
};

use crate::harness::{Fixture, attempt, fixture, job};

/// A table of `a INT, b STRING`, partitioned by `b`, and the job's folder of checkpoints.
struct Stream {
    table: Fixture,
    folder: TempDir,
}

impl Stream {
    fn new(options: &[(&str, &str)]) -> Self {
        Self { table: fixture(&["a INT", "b STRING"], &["b"], options), folder: tempfile::tempdir().unwrap() }
    }

    fn checkpoints(&self) -> String {
        format!("file://{}/checkpoints", self.folder.path().display())
    }

    async fn open(&self, number: u32, restored: Vec<SinkState>) -> Box<dyn SinkWriter> {
        self.try_open(number, Some(self.checkpoints()), restored).await.unwrap()
    }

    async fn try_open(
        &self,
        number: u32,
        checkpoints: Option<String>,
        restored: Vec<SinkState>,
    ) -> Result<Box<dyn SinkWriter>, thalweg_connectors::Error> {
        let stream = StreamSink { uid: "Sink: t 1".to_owned(), checkpoints, restored };
        let (connectors, sink) = (&self.table.connectors, self.table.sink());
        let schema = rows(&[]).schema();
        sink::open_in_stream(connectors, &sink, schema, attempt(job(1), 0, number), 0, Some(stream)).await
    }

    async fn commit(&self, committable: Option<Committable>) {
        let committables: Vec<_> = committable.into_iter().collect();
        for _ in 0..2 {
            commit::commit_checkpoint(&self.table.connectors, &self.table.sink(), &committables)
                .await
                .unwrap();
        }
    }

    fn visible(&self) -> Vec<String> {
        self.table.files().into_iter().filter(|file| !file.starts_with('.')).collect()
    }
}

fn rows(rows: &[(i32, &str)]) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(rows.iter().map(|(a, _)| Some(*a)).collect::<Int32Array>());
    let texts: ArrayRef = Arc::new(rows.iter().map(|(_, b)| Some(*b)).collect::<StringArray>());
    RecordBatch::try_from_iter([("a", numbers), ("b", texts)]).unwrap()
}

fn barrier(checkpoint: u64) -> Barrier {
    Barrier { checkpoint: CheckpointId(checkpoint), savepoint: None, then: AfterBarrier::GoOn }
}

fn parts(state: &SinkState) -> Vec<serde_json::Value> {
    let value: serde_json::Value = serde_json::from_slice(&state.value).unwrap();
    value["parts"].as_array().unwrap().clone()
}

/// Where a file of a state is on this machine.
fn local(url: &str) -> &Path {
    Path::new(url.strip_prefix("file://").unwrap())
}

#[tokio::test]
async fn rows_of_many_checkpoints_become_one_file_of_each_partition() {
    let formats: [&[(&str, &str)]; 5] = [
        &[("format", "parquet")],
        &[("format", "json")],
        &[("format", "csv"), ("csv.header", "true")],
        &[("format", "csv"), ("csv.header", "true"), ("csv.compression", "gzip")],
        &[("format", "json"), ("json.compression", "deflate")],
    ];
    for options in formats {
        let stream = Stream::new(options);
        let mut writer = stream.open(0, Vec::new()).await;
        let mut state = None;
        for n in 0..4 {
            writer.write(rows(&[(2 * n, "x"), (2 * n + 1, "y")])).await.unwrap();
            let prepared = writer.barrier(&barrier(n as u64)).await.unwrap();
            assert_eq!(prepared.committable, None, "{options:?}");
            state = prepared.state;
        }
        // The attempt dies behind its last checkpoint; what it has written since then comes again.
        writer.write(rows(&[(100, "x")])).await.unwrap();
        writer.abort().await;
        let state = state.unwrap();
        assert_eq!(parts(&state).len(), 8);
        for file in &state.files {
            assert_eq!(fs::metadata(local(&file.file)).unwrap().len(), file.bytes, "{options:?}");
        }
        let mut writer = stream.open(1, vec![state]).await;
        writer.write(rows(&[(8, "x")])).await.unwrap();
        let stop = Barrier { then: AfterBarrier::Stop, ..barrier(9) };
        let Prepared { committable, state } = writer.barrier(&stop).await.unwrap();
        assert_eq!(state, None);
        assert_eq!(stream.visible(), [""; 0], "nothing is visible before the checkpoint is complete");
        stream.commit(committable).await;
        assert_eq!(stream.visible().len(), 2, "{options:?}: {:?}", stream.visible());
        let found = stream.table.query("SELECT b, a FROM t ORDER BY b, a").await.unwrap();
        let expected = ["x|0", "x|2", "x|4", "x|6", "x|8", "y|1", "y|3", "y|5", "y|7"];
        assert_eq!(found, expected, "{options:?}");
    }
}

#[tokio::test]
async fn rows_are_visible_when_there_are_enough_of_them_or_they_have_waited() {
    let large = Stream::new(&[("format", "json"), ("sink.rolling-policy.file-size", "40 b")]);
    let mut writer = large.open(0, Vec::new()).await;
    for n in 0..3 {
        writer.write(rows(&[(n, "x")])).await.unwrap();
        let prepared = writer.barrier(&barrier(n as u64)).await.unwrap();
        assert_eq!(prepared.committable, None);
    }
    for n in 3..5 {
        writer.write(rows(&[(n, "x")])).await.unwrap();
    }
    let prepared = writer.barrier(&barrier(5)).await.unwrap();
    assert_eq!(prepared.state, None, "five rows of eight bytes are enough");
    large.commit(prepared.committable).await;
    assert_eq!(large.visible().len(), 1);
    assert_eq!(large.table.query("SELECT sum(a) FROM t").await.unwrap(), ["10"]);

    let old = Stream::new(&[("format", "parquet"), ("sink.rolling-policy.rollover-interval", "0 s")]);
    let mut writer = old.open(0, Vec::new()).await;
    writer.write(rows(&[(1, "x")])).await.unwrap();
    let prepared = writer.barrier(&barrier(1)).await.unwrap();
    old.commit(prepared.committable).await;
    assert_eq!(old.table.query("SELECT a FROM t").await.unwrap(), ["1"]);
    assert!(
        !old.folder.path().join("checkpoints").exists(),
        "a file that is visible at once was never a part"
    );
}

#[tokio::test]
async fn a_checkpoint_names_few_parts_however_many_there_were() {
    let stream = Stream::new(&[("format", "parquet")]);
    let mut writer = stream.open(0, Vec::new()).await;
    let mut most = 0;
    for n in 0..200 {
        writer.write(rows(&[(n, "x")])).await.unwrap();
        let state = writer.barrier(&barrier(n as u64)).await.unwrap().state.unwrap();
        most = most.max(parts(&state).len());
    }
    assert!((32..=65).contains(&most), "{most}");
    let committable = writer.finish().await.unwrap().committable;
    stream.commit(committable).await;
    assert_eq!(stream.visible().len(), 1);
    assert_eq!(stream.table.query("SELECT count(*), sum(a) FROM t").await.unwrap(), ["200|19900"]);
}

#[tokio::test]
async fn a_savepoint_has_its_own_copies_and_makes_nothing_visible() {
    let stream = Stream::new(&[("format", "json"), ("sink.rolling-policy.file-size", "100 b")]);
    let mut writer = stream.open(0, Vec::new()).await;
    writer.write(rows(&[(1, "x")])).await.unwrap();
    writer.barrier(&barrier(1)).await.unwrap();
    // One partition that is large enough for a file, and one that is not.
    let many: Vec<(i32, &str)> = (10..30).map(|a| (a, "y")).collect();
    writer.write(rows(&many)).await.unwrap();
    writer.write(rows(&[(2, "x")])).await.unwrap();
    let folder = stream.folder.path().join("savepoint");
    let savepoint = Barrier { savepoint: Some(format!("file://{}", folder.display())), ..barrier(2) };
    let Prepared { committable, state } = writer.barrier(&savepoint).await.unwrap();
    assert_eq!(committable, None);
    let saved = state.unwrap();
    assert!(saved.files.iter().all(|file| local(&file.file).starts_with(&folder)), "{saved:?}");
    let next = writer.barrier(&barrier(3)).await.unwrap();
    assert!(
        next.committable.is_some(),
        "the job itself goes on: what is large is visible with its next checkpoint"
    );
    let kept = next.state.unwrap();
    assert!(!kept.files.iter().any(|file| local(&file.file).starts_with(&folder)), "{kept:?}");
    // The job is gone with all that it had; another one goes on from the savepoint.
    writer.abort().await;
    fs::remove_dir_all(stream.folder.path().join("checkpoints")).unwrap();
    fs::remove_dir_all(stream.table.path()).unwrap();
    let mut writer = stream.open(1, vec![saved]).await;
    let Prepared { committable, state } = writer.barrier(&barrier(1)).await.unwrap();
    stream.commit(committable).await;
    let state = state.unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(state.files.iter().all(|file| local(&file.file).exists()), "what was saved is the job's own now");
    let committable = writer.finish().await.unwrap().committable;
    stream.commit(committable).await;
    let found = stream.table.query("SELECT b, count(*), sum(a) FROM t GROUP BY b ORDER BY b").await.unwrap();
    assert_eq!(found, ["x|2|3", "y|20|390"]);
}

#[tokio::test]
async fn without_checkpoints_what_was_kept_becomes_visible_with_the_rest() {
    let stream = Stream::new(&[("format", "parquet")]);
    let mut writer = stream.open(0, Vec::new()).await;
    writer.write(rows(&[(1, "x")])).await.unwrap();
    let kept = writer.barrier(&barrier(1)).await.unwrap().state.unwrap();
    let mut writer = stream.try_open(1, None, vec![kept]).await.unwrap();
    writer.write(rows(&[(2, "x")])).await.unwrap();
    let committable = writer.finish().await.unwrap().committable;
    stream.commit(committable).await;
    assert_eq!(stream.table.query("SELECT a FROM t ORDER BY a").await.unwrap(), ["1", "2"]);
}

#[tokio::test]
async fn rows_that_were_written_otherwise_are_refused() {
    let mut stream = Stream::new(&[("format", "json")]);
    let mut writer = stream.open(0, Vec::new()).await;
    writer.write(rows(&[(1, "x")])).await.unwrap();
    let kept = writer.barrier(&barrier(1)).await.unwrap().state.unwrap();
    stream.table.table.options.insert("format".to_owned(), "csv".to_owned());
    let Err(error) = stream.try_open(1, None, vec![kept]).await else { panic!("the format is another one") };
    let error = error.to_string();
    assert!(
        error.contains("written as `json (a Int32)`") && error.contains("stop the job with a savepoint"),
        "{error}"
    );
}

const DAY_MS: i64 = 86_400_000;

/// Two writers of a table by day; says what is visible after each checkpoint.
struct Days {
    stream: Stream,
    writers: Vec<Box<dyn SinkWriter>>,
    states: Vec<Option<SinkState>>,
    checkpoint: u64,
}

impl Days {
    async fn new() -> Self {
        let options = [
            ("format", "json"),
            ("sink.partition-commit.policy.kind", "success-file"),
            ("sink.partition-commit.trigger", "partition-time"),
            ("sink.partition-commit.delay", "1 d"),
        ];
        let stream = Stream::new(&options);
        let writers = vec![stream.open_subtask(0, 0, None).await, stream.open_subtask(1, 0, None).await];
        Self { stream, writers, states: vec![None, None], checkpoint: 0 }
    }

    async fn write(&mut self, writer: usize, a: i32, day: &str) {
        self.writers[writer].write(rows(&[(a, day)])).await.unwrap();
    }

    async fn checkpoint(&mut self, then: AfterBarrier) -> Vec<String> {
        self.checkpoint += 1;
        let mut committables = Vec::new();
        for (writer, state) in self.writers.iter_mut().zip(&mut self.states) {
            let prepared = writer.barrier(&Barrier { then, ..barrier(self.checkpoint) }).await.unwrap();
            committables.extend(prepared.committable);
            *state = prepared.state;
        }
        for _ in 0..2 {
            let (connectors, sink) = (&self.stream.table.connectors, self.stream.table.sink());
            commit::commit_checkpoint(connectors, &sink, &committables).await.unwrap();
        }
        let visible = self.stream.visible();
        let named = visible.iter().map(|file| match file.rsplit_once('/') {
            Some((folder, "_SUCCESS")) => format!("{folder} is complete"),
            _ => file.split('/').next().unwrap().to_owned(),
        });
        named.collect()
    }
}

impl Stream {
    async fn open_subtask(&self, index: u32, number: u32, state: Option<SinkState>) -> Box<dyn SinkWriter> {
        let restored = state.into_iter().collect();
        let stream = StreamSink { uid: "s".to_owned(), checkpoints: Some(self.checkpoints()), restored };
        let (connectors, sink, schema) = (&self.table.connectors, self.table.sink(), rows(&[]).schema());
        let attempt = attempt(job(1), index, number);
        sink::open_in_stream(connectors, &sink, schema, attempt, index, Some(stream)).await.unwrap()
    }
}

#[tokio::test]
async fn a_partition_is_marked_once_event_time_has_passed_it_in_all_writers() {
    let mut days = Days::new().await;
    days.write(0, 1, "1970-01-01").await;
    days.write(1, 2, "1970-01-01").await;
    days.write(1, 3, "1970-01-02").await;
    assert_eq!(days.checkpoint(AfterBarrier::GoOn).await, [""; 0]);
    days.writers[0].event_time(Some(DAY_MS + 1));
    assert_eq!(
        days.checkpoint(AfterBarrier::GoOn).await,
        ["b=1970-01-01"],
        "the other writer may bring more"
    );
    days.writers[1].event_time(Some(DAY_MS));
    assert_eq!(days.checkpoint(AfterBarrier::GoOn).await, ["b=1970-01-01"], "the day after has just ended");
    // The job is restored: a writer still knows what it has to announce.
    days.writers = vec![
        days.stream.open_subtask(0, 1, days.states[0].clone()).await,
        days.stream.open_subtask(1, 1, days.states[1].clone()).await,
    ];
    assert_eq!(days.checkpoint(AfterBarrier::GoOn).await, ["b=1970-01-01"], "nobody has said how late it is");
    days.writers[0].event_time(Some(DAY_MS + 1));
    days.writers[1].event_time(Some(DAY_MS + 1));
    let complete = ["b=1970-01-01", "b=1970-01-01", "b=1970-01-01 is complete"];
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(days.checkpoint(AfterBarrier::GoOn).await), complete);
    days.write(0, 4, "1970-01-01").await;
    assert_eq!(sorted(days.checkpoint(AfterBarrier::GoOn).await), complete, "late rows wait like any others");
    let stopped = sorted(days.checkpoint(AfterBarrier::Stop).await);
    let all = ["b=1970-01-01", "b=1970-01-01", "b=1970-01-01", "b=1970-01-01 is complete", "b=1970-01-02"];
    assert_eq!(stopped, all, "all rows are visible when a job stops, and what more may come into stays open");
    let kept = days.states[1].clone().unwrap();
    days.writers =
        vec![days.stream.open_subtask(0, 2, None).await, days.stream.open_subtask(1, 2, Some(kept)).await];
    days.writers.iter_mut().for_each(|writer| writer.event_time(Some(i64::MAX)));
    let drained = sorted(days.checkpoint(AfterBarrier::Drain).await);
    assert_eq!(drained[4..], ["b=1970-01-02", "b=1970-01-02 is complete"]);
    assert_eq!(days.stream.table.query("SELECT count(*), sum(a) FROM t").await.unwrap(), ["4|10"]);
}

#[tokio::test]
async fn a_partition_is_marked_though_its_writer_has_ended() {
    let mut days = Days::new().await;
    days.write(0, 1, "1970-01-01").await;
    days.write(1, 2, "1970-01-02").await;
    let mut first = days.writers.remove(0);
    let _ = days.states.remove(0);
    first.event_time(Some(i64::MAX));
    let left = first.finish().await.unwrap().committable.unwrap();
    let behind = days.writers[0].barrier(&barrier(1)).await.unwrap().committable.unwrap();
    let (connectors, sink) = (&days.stream.table.connectors, days.stream.table.sink());
    commit::commit_checkpoint(connectors, &sink, &[left, behind]).await.unwrap();
    assert_eq!(days.stream.visible().len(), 1, "the other writer may still bring rows of that day");
    days.writers[0].event_time(Some(i64::MAX));
    let complete = days.checkpoint(AfterBarrier::Drain).await;
    let marked: Vec<_> = complete.iter().filter(|name| name.ends_with("is complete")).collect();
    assert_eq!(marked, ["b=1970-01-01 is complete", "b=1970-01-02 is complete"]);
    let left: Vec<_> =
        days.stream.table.files().into_iter().filter(|file| file.contains("announced/b")).collect();
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn a_partition_without_a_time_is_told_at_its_first_row() {
    let mut days = Days::new().await;
    let error = days.writers[0].write(rows(&[(1, "monday")])).await.unwrap_err().to_string();
    assert!(error.contains("`b=monday`") && error.contains("timestamp-pattern"), "{error}");
}

#[tokio::test]
async fn by_the_clock_a_partition_is_marked_when_no_writer_keeps_rows_of_it() {
    let by_clock = |delay: &'static str| {
        [
            ("format", "json"),
            ("sink.partition-commit.policy.kind", "success-file"),
            ("sink.partition-commit.delay", delay),
        ]
    };
    let stream = Stream::new(&by_clock("1 h"));
    let mut writer = stream.open(0, Vec::new()).await;
    writer.write(rows(&[(1, "x")])).await.unwrap();
    let prepared = writer.barrier(&barrier(1)).await.unwrap();
    stream.commit(prepared.committable).await;
    assert_eq!(stream.visible(), [""; 0]);
    let committable = writer.finish().await.unwrap().committable;
    stream.commit(committable).await;
    assert_eq!(stream.visible().len(), 2, "a stream that ends completes all: {:?}", stream.visible());
    assert!(stream.visible().contains(&"b=x/_SUCCESS".to_owned()));
}
