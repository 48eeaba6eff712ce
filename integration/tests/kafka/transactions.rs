//! Exactly once: rows are visible when their checkpoint is committed, once, whoever dies in between.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use krafka::consumer::IsolationLevel;
use thalweg_connectors::{BuiltinConnectors, ConnectorsConfig, Error, checkpoint_storage};
use thalweg_graph::{
    CheckpointId, FailureKind, JobId,
    checkpoint::Manifest,
    table::{Committable, SinkOutput},
};
use thalweg_integration::kafka::{Kafka, Topics};

use super::{
    sink::{batch, schema, table},
    table::Table,
};
use crate::place::binary;

const TIMEOUT: Duration = Duration::from_secs(60);

/// A table whose transactional ids begin with its topic's name.
fn exactly_once(topic: &str) -> Table {
    table(topic, &[("sink.delivery-guarantee", "exactly-once"), ("sink.transactional-id-prefix", topic)])
}

async fn topic(name: &str) -> Topics {
    let topics = Kafka::shared().topics().await.unwrap();
    topics.create(name, 2).await.unwrap();
    topics
}

fn row(id: i32) -> String {
    format!("{{\"id\":{id},\"name\":\"n{id}\"}}")
}

async fn write(writer: &mut dyn thalweg_connectors::sink::SinkWriter, ids: &[i32]) -> Result<(), Error> {
    let names: Vec<String> = ids.iter().map(|id| format!("n{id}")).collect();
    let rows: Vec<_> = ids.iter().zip(&names).map(|(id, name)| (*id, name.as_str())).collect();
    writer.write(batch(&rows, None)).await
}

#[tokio::test]
async fn rows_are_visible_once_their_checkpoint_is_committed() {
    let topics = topic("epochs").await;
    let table = exactly_once("epochs");
    let mut writer = table.writer(schema(), 0).await.unwrap();
    let mut visible: Vec<String> = Vec::new();
    let mut earlier = Vec::new();
    for epoch in 0..5 {
        write(writer.as_mut(), &[epoch * 2, epoch * 2 + 1]).await.unwrap();
        let prepared = writer.prepare(CheckpointId(epoch as u64)).await.unwrap().unwrap();
        // What comes before the commit is another transaction already.
        assert_eq!(topics.values("epochs").await.unwrap(), visible);
        assert_eq!(table.commit(std::slice::from_ref(&prepared)).await.unwrap(), 2);
        visible.extend([row(epoch * 2), row(epoch * 2 + 1)]);
        visible.sort();
        assert_eq!(topics.values("epochs").await.unwrap(), visible);
        earlier.push(prepared);
    }
    // A leader that died may have committed them or not: the next one commits them all again.
    assert_eq!(table.commit(&earlier).await.unwrap(), 10);
    assert_eq!(writer.prepare(CheckpointId(9)).await.unwrap(), None, "nothing was written");
    assert!(writer.finish().await.unwrap().committable.is_none());
    assert_eq!(topics.values("epochs").await.unwrap(), visible);
    assert_eq!(topics.open_transactions("epochs").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_commit_that_is_done_again_waits_for_no_other_transaction() {
    let topics = Kafka::shared().topics().await.unwrap();
    topics.create("again", 1).await.unwrap();
    // Open from the first offset on: no committed row behind it can be read.
    let other = table(
        "again",
        &[("sink.delivery-guarantee", "exactly-once"), ("sink.transactional-id-prefix", "again-other")],
    );
    let mut open = other.writer(schema(), 0).await.unwrap();
    write(open.as_mut(), &[1]).await.unwrap();
    let open = open.prepare(CheckpointId(1)).await.unwrap().unwrap();
    let table = exactly_once("again");
    let mut writer = table.writer(schema(), 0).await.unwrap();
    write(writer.as_mut(), &[2]).await.unwrap();
    let first = writer.prepare(CheckpointId(1)).await.unwrap().unwrap();
    assert_eq!(table.commit(std::slice::from_ref(&first)).await.unwrap(), 1);
    write(writer.as_mut(), &[3]).await.unwrap();
    let second = writer.prepare(CheckpointId(2)).await.unwrap().unwrap();
    let again = tokio::time::timeout(TIMEOUT / 2, table.commit(std::slice::from_ref(&first))).await;
    assert_eq!(again.expect("it waits for the one that is open").unwrap(), 1);
    assert_eq!(topics.values("again").await.unwrap(), Vec::<String>::new());
    assert_eq!(table.commit(&[second]).await.unwrap(), 1);
    assert_eq!(other.commit(&[open]).await.unwrap(), 1);
    assert_eq!(topics.values("again").await.unwrap(), [row(1), row(2), row(3)]);
}

#[tokio::test]
async fn checkpoints_may_be_committed_late_and_out_of_order() {
    let topics = topic("late").await;
    let table = exactly_once("late");
    let mut writer = table.writer(schema(), 0).await.unwrap();
    let mut prepared = Vec::new();
    for epoch in 0..3 {
        write(writer.as_mut(), &[epoch]).await.unwrap();
        prepared.push(writer.prepare(CheckpointId(epoch as u64)).await.unwrap().unwrap());
    }
    prepared.rotate_left(1);
    assert_eq!(table.commit(&prepared).await.unwrap(), 3);
    assert_eq!(topics.values("late").await.unwrap(), [row(0), row(1), row(2)]);
    // Their ids are free again: later epochs need no more.
    for epoch in 3..6 {
        write(writer.as_mut(), &[epoch]).await.unwrap();
        let prepared = writer.prepare(CheckpointId(epoch as u64)).await.unwrap().unwrap();
        let text = String::from_utf8(prepared.0.to_vec()).unwrap();
        let job = JobId(7);
        assert!((0..3).any(|n| text.contains(&format!("\"late-{job}-3-0-0-{n}\""))), "{text}");
        table.commit(&[prepared]).await.unwrap();
    }
    assert_eq!(topics.values("late").await.unwrap().len(), 6);
}

/// Runs a process that writes rows and prepares, and kills it then.
fn prepared_by_a_process_that_died(topic: &str, rows: &str) -> Committable {
    let program = std::env::current_exe().unwrap();
    let program = program.parent().unwrap().parent().unwrap().join("prepare-transaction");
    let mut child = Command::new(&program)
        .args([Kafka::shared().bootstrap.as_str(), topic, rows])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    Committable(line.trim().to_owned().into())
}

#[tokio::test]
async fn what_a_dead_process_has_prepared_is_committed_by_another() {
    let topics = topic("dead").await;
    let prepared = prepared_by_a_process_that_died("dead", "3");
    assert_eq!(topics.values("dead").await.unwrap(), Vec::<String>::new());
    assert_eq!(topics.read_all("dead", IsolationLevel::ReadUncommitted).await.unwrap().len(), 3);
    let table = exactly_once("dead");
    assert_eq!(table.commit(std::slice::from_ref(&prepared)).await.unwrap(), 3);
    assert_eq!(topics.values("dead").await.unwrap(), [row(0), row(1), row(2)]);
    // The next attempt goes on, and the commit stays one when it is done again.
    let mut writer = table.writer(schema(), 1).await.unwrap();
    write(writer.as_mut(), &[7]).await.unwrap();
    let next = writer.finish().await.unwrap().committable.unwrap();
    assert_eq!(table.commit(&[prepared, next]).await.unwrap(), 4);
    assert_eq!(topics.values("dead").await.unwrap(), [row(0), row(1), row(2), row(7)]);
    assert_eq!(topics.open_transactions("dead").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_new_attempt_fences_the_old_one_off() {
    let topics = topic("zombie").await;
    let table = exactly_once("zombie");
    let mut zombie = table.writer(schema(), 0).await.unwrap();
    write(zombie.as_mut(), &[1]).await.unwrap();
    // Prepared for a checkpoint that is never complete.
    let forgotten = zombie.prepare(CheckpointId(1)).await.unwrap().unwrap();
    write(zombie.as_mut(), &[2]).await.unwrap();
    let mut writer = table.writer(schema(), 1).await.unwrap();
    assert_eq!(topics.open_transactions("zombie").await.unwrap(), Vec::<String>::new());
    write(writer.as_mut(), &[3]).await.unwrap();
    let good = writer.prepare(CheckpointId(2)).await.unwrap().unwrap();
    // The old attempt finds out at the latest when it is asked for a checkpoint.
    let result = match write(zombie.as_mut(), &[4]).await {
        Ok(()) => zombie.prepare(CheckpointId(2)).await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert_eq!(result.unwrap_err().kind(), FailureKind::Io);
    assert_eq!(table.commit(&[good]).await.unwrap(), 1);
    assert_eq!(topics.values("zombie").await.unwrap(), [row(3)]);
    let error = table.commit(&[forgotten]).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::CommitFailed);
    let lost = format!("1 rows of transaction `zombie-{}-3-0-0-0` are lost", JobId(7));
    assert!(error.to_string().contains(&lost), "{error}");
}

#[tokio::test]
async fn an_attempt_that_stood_still_ends_nothing_of_its_successor() {
    let topics = topic("still").await;
    let table = exactly_once("still");
    let mut writer = table.writer(schema(), 2).await.unwrap();
    write(writer.as_mut(), &[1]).await.unwrap();
    let first = writer.prepare(CheckpointId(1)).await.unwrap().unwrap();
    write(writer.as_mut(), &[2]).await.unwrap();
    // It was ordered before, and begins now.
    let error = table.writer(schema(), 1).await.err().unwrap();
    assert!(
        error.chain().contains("attempt 2 of this subtask has begun, and this is 1"),
        "{}",
        error.chain()
    );
    assert_eq!(table.commit(&[first]).await.unwrap(), 1);
    let second = writer.prepare(CheckpointId(2)).await.unwrap().unwrap();
    assert_eq!(table.commit(&[second]).await.unwrap(), 1);
    assert_eq!(topics.values("still").await.unwrap(), [row(1), row(2)]);
}

#[tokio::test]
async fn what_an_attempt_begins_behind_its_successor_is_aborted_at_the_next_commit() {
    let topics = topic("behind").await;
    let table = exactly_once("behind");
    let mut still = table.writer(schema(), 0).await.unwrap();
    let mut writer = table.writer(schema(), 1).await.unwrap();
    write(still.as_mut(), &[1]).await.unwrap();
    until_open(&topics, "behind", 1).await;
    write(writer.as_mut(), &[2]).await.unwrap();
    let prepared = writer.prepare(CheckpointId(1)).await.unwrap().unwrap();
    assert_eq!(table.commit(&[prepared]).await.unwrap(), 1);
    until_open(&topics, "behind", 0).await;
    assert_eq!(topics.values("behind").await.unwrap(), [row(2)]);
}

/// Waits until so many transactions are open: rows are sent, and aborts spread, behind the call.
async fn until_open(topics: &Topics, prefix: &str, count: usize) {
    let deadline = Instant::now() + TIMEOUT;
    while topics.open_transactions(prefix).await.unwrap().len() != count {
        assert!(Instant::now() < deadline, "there are not {count} transactions open");
    }
}

#[tokio::test]
async fn an_aborted_job_leaves_nothing_open() {
    let topics = topic("aborted").await;
    let table = exactly_once("aborted");
    let mut writer = table.writer(schema(), 0).await.unwrap();
    write(writer.as_mut(), &[1]).await.unwrap();
    writer.prepare(CheckpointId(1)).await.unwrap().unwrap();
    write(writer.as_mut(), &[2]).await.unwrap();
    until_open(&topics, "aborted", 2).await;
    writer.abort().await;
    // What is prepared is not the task's to abort.
    until_open(&topics, "aborted", 1).await;
    table.abort().await.unwrap();
    table.abort().await.unwrap();
    assert_eq!(topics.open_transactions("aborted").await.unwrap(), Vec::<String>::new());
    assert_eq!(topics.values("aborted").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_transaction_that_has_expired_is_told_with_what_was_lost() {
    let topics = topic("expired").await;
    let table = exactly_once("expired").with("properties.transaction.timeout.ms", "1000");
    let mut writer = table.writer(schema(), 0).await.unwrap();
    write(writer.as_mut(), &[1, 2]).await.unwrap();
    let prepared = writer.prepare(CheckpointId(1)).await.unwrap().unwrap();
    until_open(&topics, "expired", 0).await;
    let error = table.commit(&[prepared]).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::CommitFailed);
    assert!(
        error.to_string().contains("2 rows") && error.to_string().contains("transaction.timeout.ms"),
        "{error}"
    );
    // Nothing comes behind what is lost: who takes the id over may be another attempt.
    let error = write(writer.as_mut(), &[3]).await.unwrap_err();
    assert!(error.chain().contains("no longer this subtask's"), "{}", error.chain());
    assert_eq!(topics.values("expired").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_job_whose_transactions_the_broker_would_abort_too_early_does_not_start() {
    topic("limit").await;
    let table = exactly_once("limit").with("properties.transaction.timeout.ms", "3600000");
    let error = match table.writer(schema(), 0).await {
        Err(error) => error,
        Ok(mut writer) => write(writer.as_mut(), &[1]).await.unwrap_err(),
    };
    assert_eq!(error.kind(), FailureKind::Deterministic);
    assert!(error.to_string().contains("`transaction.max.timeout.ms`"), "{error}");
}

/// What `thalweg transactions` says.
fn transactions(args: &[&str]) -> String {
    let ran = binary().command().arg("transactions").args(args).output().unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&ran.stderr));
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_ends_what_no_job_ends_any_more() {
    let topics = topic("operated").await;
    let prepared = prepared_by_a_process_that_died("operated", "3");
    let of_topic = ["--servers", Kafka::shared().bootstrap.as_str(), "--prefix", "operated"];
    let verb = |verb: &str| transactions(&[&[verb], &of_topic[..]].concat());
    let listed = verb("list");
    assert!(
        listed.contains(&format!("operated-{}-3-0-", JobId(7)))
            && listed.ends_with("Open transactions: 1.\n"),
        "{listed}"
    );
    assert!(listed.contains("in operated-"), "{listed}");

    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    let sink = SinkOutput { sink: Box::new(exactly_once("operated").sink()), committables: vec![prepared] };
    let manifest = Manifest {
        version: Manifest::VERSION,
        job: JobId(7),
        checkpoint: CheckpointId(1),
        triggered_ms: 0,
        key_groups: 128,
        statement: String::new(),
        savepoint: false,
        subtasks: Vec::new(),
        sinks: vec![sink],
    };
    let connectors = BuiltinConnectors::new(ConnectorsConfig::default()).unwrap();
    let file = format!("{url}/_metadata");
    checkpoint_storage::write(connectors.file_systems(), &file, &manifest).await.unwrap();
    assert_eq!(transactions(&["commit", &url]), "c.d.t: 3 rows are visible.\n");
    assert_eq!(topics.values("operated").await.unwrap(), [row(0), row(1), row(2)]);
    assert_eq!(verb("list"), "Open transactions: 0.\n");

    prepared_by_a_process_that_died("operated", "2");
    let aborted = verb("abort");
    assert!(
        aborted.starts_with(&format!("operated-{}-3-0-", JobId(7)))
            && aborted.ends_with("Aborted transactions: 1.\n"),
        "{aborted}"
    );
    assert_eq!(verb("list"), "Open transactions: 0.\n");
    assert_eq!(topics.values("operated").await.unwrap().len(), 3);
}
