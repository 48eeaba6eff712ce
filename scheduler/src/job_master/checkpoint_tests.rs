//! Checkpoints of a job of two sources and one sink: when they are taken, what they commit, and what a job goes on from.

use thalweg_graph::{CheckpointId, FailureKind, VertexOutput, checkpoint::AfterBarrier};

use super::{
    stream_testing::{INTERVAL_MS, Stream},
    *,
};
use crate::view::{CheckpointStatus, SavepointStatus};

#[test]
fn a_checkpoint_is_complete_when_all_have_answered_and_commits_what_was_prepared() {
    let mut stream = Stream::start(&[]);
    stream.pass(INTERVAL_MS - 1);
    assert!(stream.barriers().is_empty(), "not due");
    stream.pass(1);
    let [(sources, barrier)] = &stream.barriers()[..] else { panic!("one worker is told") };
    assert_eq!(*sources, [stream.attempt(0, 0), stream.attempt(0, 1)], "sources only");
    assert_eq!((barrier.checkpoint, barrier.then), (CheckpointId(1), AfterBarrier::GoOn));
    stream.snapshot(1, 0, 1, Some("file 1"));
    stream.snapshot(0, 0, 1, None);
    stream.pass(INTERVAL_MS);
    assert!(stream.stored().is_empty() && stream.barriers().is_empty(), "one subtask is missing");
    stream.snapshot(0, 1, 1, None);
    let job = stream.master.execution.graph.job;
    assert_eq!(stream.stored(), [format!("file:///c/{job}/chk-1/_metadata")]);
    assert!(stream.completed().is_empty(), "nothing is visible before the manifest is");
    stream.store(1);
    assert_eq!(stream.completed(), [(1, vec!["file 1".to_owned()])]);
    stream.commit(1);
    let told = stream.taken(|action| match action {
        Action::NotifyCheckpoint { attempts, checkpoint, .. } => Some((attempts.clone(), *checkpoint)),
        _ => None,
    });
    let all = vec![stream.attempt(0, 0), stream.attempt(0, 1), stream.attempt(1, 0)];
    assert_eq!(told, [(all, CheckpointId(1))], "sources and sinks");
    assert_eq!(stream.master.checkpoint_records()[0].status, CheckpointStatus::Completed);
    // The next is due an interval after the last began.
    stream.pass(0);
    assert_eq!(stream.barriers()[0].1.checkpoint, CheckpointId(2));
}

#[test]
fn a_failure_gives_the_checkpoint_up_and_the_job_goes_on_from_the_last_complete_one() {
    let mut stream = Stream::start(&[]);
    assert_eq!(stream.restored(), [None, None, None]);
    assert_eq!(stream.master.checkpoint_counts().restored, 0);
    stream.checkpoint(1, Some("a"));
    stream.pass(INTERVAL_MS);
    stream.snapshot(1, 0, 2, Some("b"));
    stream.fail(stream.attempt(0, 0), FailureKind::Io);
    let manifest = Some(format!("file:///c/{}/chk-1/_metadata", stream.master.execution.graph.job));
    assert_eq!(stream.restored(), vec![manifest; 3]);
    assert_eq!(stream.master.checkpoint_counts().restored, 1);
    // Answers to what was given up mean nothing.
    stream.run();
    stream.all_snapshots(2, Some("b"));
    assert!(stream.stored().is_empty());
    stream.barriers();
    stream.pass(INTERVAL_MS);
    assert_eq!(stream.barriers()[0].1.checkpoint, CheckpointId(3), "a number is never used twice");
}

#[test]
fn tasks_start_again_only_when_a_complete_checkpoint_is_visible() {
    let mut stream = Stream::start(&[]);
    stream.pass(INTERVAL_MS);
    stream.all_snapshots(1, Some("a"));
    stream.store(1);
    let before = stream.attempt(1, 0);
    stream.fail(before, FailureKind::Io);
    stream.pass(60_000);
    assert_eq!(stream.attempt(1, 0), before, "a new writer could take back what the old one has prepared");
    stream.commit(1);
    assert_eq!(stream.attempt(1, 0).number, before.number + 1);
    assert!(stream.restored().iter().all(|url| url.as_ref().is_some_and(|url| url.contains("chk-1"))));
}

#[test]
fn what_is_slow_or_cannot_be_stored_is_given_up_and_too_many_restart_the_job() {
    let mut stream = Stream::start(&[
        ("execution.checkpointing.timeout", "5 s"),
        ("execution.checkpointing.tolerable-failed-checkpoints", "1"),
    ]);
    stream.pass(INTERVAL_MS);
    stream.snapshot(0, 0, 1, None);
    stream.pass(5_000);
    let records = stream.master.checkpoint_records();
    let CheckpointStatus::Failed(why) = &records[0].status else { panic!("{records:?}") };
    assert!(why.contains("`v0` (2/2)") && why.contains("5s"), "{why}");
    assert_eq!(stream.attempt(0, 0).number, 0, "one is tolerated");
    stream.pass(0);
    let (attempt, checkpoint) = (stream.attempt(0, 0), CheckpointId(2));
    let failure = Failure::new(FailureKind::Io, "the disk is gone");
    stream.tell(Event::Snapshot { attempt, checkpoint, snapshot: Err(failure) });
    stream.pass(0);
    assert_eq!(stream.attempt(0, 0).number, 1, "two are not");
}

#[test]
fn what_was_prepared_for_a_checkpoint_that_was_given_up_comes_with_the_next() {
    let options = [
        ("execution.checkpointing.timeout", "5 s"),
        ("execution.checkpointing.tolerable-failed-checkpoints", "9"),
    ];
    let mut stream = Stream::start(&options);
    stream.pass(INTERVAL_MS);
    stream.snapshot(1, 0, 1, Some("a"));
    stream.snapshot(0, 0, 1, None);
    stream.pass(5_000);
    stream.pass(0);
    // A sink tells with each answer what it has prepared and was not told is visible.
    stream.snapshot_with(1, 0, 2, &[(1, "a")], "b");
    stream.snapshot(0, 0, 2, None);
    stream.snapshot(0, 1, 2, None);
    stream.store(2);
    assert_eq!(stream.completed(), [(2, vec!["a".to_owned(), "b".to_owned()])]);
    stream.commit(2);
    let told = stream.taken(|action| match action {
        Action::NotifyCheckpoint { attempts, checkpoint, .. } => Some((attempts.len(), checkpoint.0)),
        _ => None,
    });
    assert_eq!(told, [(3, 2)], "sources and sinks");
    // The word that it is visible was lost.
    stream.pass(INTERVAL_MS);
    stream.snapshot_with(1, 0, 3, &[(1, "a"), (2, "b")], "c");
    stream.snapshot(0, 0, 3, None);
    stream.snapshot(0, 1, 3, None);
    stream.store(3);
    assert_eq!(stream.completed(), [(3, vec!["c".to_owned()])]);
    stream.commit(3);
    // An answer to a checkpoint that was given up comes late, and changes nothing.
    stream.pass(INTERVAL_MS);
    stream.pass(5_000);
    stream.snapshot(1, 0, 4, Some("d"));
    stream.pass(0);
    // A sink that cannot say what it has prepared has to write it again.
    stream.pass(INTERVAL_MS);
    let (attempt, checkpoint) = (stream.attempt(1, 0), CheckpointId(5));
    let failure = Failure::new(FailureKind::Io, "the disk is gone");
    stream.tell(Event::Snapshot { attempt, checkpoint, snapshot: Err(failure) });
    stream.pass(0);
    assert_eq!(stream.attempt(1, 0).number, 1);
}

#[test]
fn a_job_goes_on_from_a_savepoint_whose_output_is_visible() {
    let mut stream = Stream::start(&[]);
    stream.checkpoint(1, None);
    let (trigger, folder) = ("t".to_owned(), Some("hdfs://nn/s/savepoint-1".to_owned()));
    stream.tell(Event::Savepoint(SavepointOrder { trigger, folder, then: AfterBarrier::GoOn }));
    stream.all_snapshots(2, Some("a"));
    stream.store(2);
    assert_eq!(stream.completed(), [(2, vec!["a".to_owned()])]);
    stream.commit(2);
    stream.fail(stream.attempt(0, 0), FailureKind::Io);
    assert_eq!(stream.restored()[0].as_deref(), Some("hdfs://nn/s/savepoint-1/_metadata"));
    // Its owner may have removed it.
    stream.fail(stream.attempt(0, 0), FailureKind::StateLost);
    assert!(stream.restored()[0].as_ref().unwrap().contains("chk-1/"));
}

#[test]
fn what_a_finished_subtask_left_is_committed_once() {
    let mut stream = Stream::start(&[]);
    stream.finish(0, 0, None);
    stream.pass(INTERVAL_MS);
    assert_eq!(stream.barriers()[0].0, [stream.attempt(0, 1)], "only sources that run");
    // The sink passes the barrier, then ends before the checkpoint is complete.
    stream.snapshot(1, 0, 1, Some("a"));
    stream.finish(0, 1, None);
    stream.finish(1, 0, Some("b"));
    assert!(stream.final_commit().is_empty(), "the checkpoint goes first");
    stream.store(1);
    assert_eq!(stream.completed(), [(1, vec!["a".to_owned()])]);
    stream.commit(1);
    stream.store(2);
    assert_eq!(stream.completed(), [(2, vec!["b".to_owned()])], "the last one has the rest");
    stream.commit(2);
    assert_eq!(stream.final_commit(), [Vec::<String>::new()]);
}

#[test]
fn what_is_left_at_the_end_is_a_checkpoint_before_it_is_visible() {
    let mut stream = Stream::start(&[]);
    stream.checkpoint(1, Some("a"));
    stream.finish(0, 0, None);
    stream.finish(0, 1, None);
    stream.finish(1, 0, Some("b"));
    let job = stream.master.execution.graph.job;
    assert_eq!(stream.stored(), [format!("file:///c/{job}/chk-2/_metadata")]);
    assert!(stream.completed().is_empty() && stream.final_commit().is_empty(), "nothing is visible before");
    stream.store(2);
    assert_eq!(stream.completed(), [(2, vec!["b".to_owned()])]);
    stream.commit(2);
    assert_eq!(stream.final_commit(), [Vec::<String>::new()]);
}

#[test]
fn a_job_that_begins_with_a_checkpoint_makes_its_output_visible_first() {
    let mut stream = Stream::start(&[("execution.state-recovery.path", "file:///old/chk-3")]);
    assert!(stream.tasks.is_empty(), "they could take back what the checkpoint has prepared");
    let asked = stream.taken(|action| match action {
        Action::RecoverOutput { manifest, sinks } => Some((manifest.clone(), sinks.len())),
        _ => None,
    });
    assert_eq!(asked, [("file:///old/chk-3".to_owned(), 1)]);
    stream.tell(Event::OutputRecovered(Ok(())));
    assert_eq!(stream.restored(), vec![Some("file:///old/chk-3".to_owned()); 3]);
    let mut stream = Stream::start(&[("execution.state-recovery.path", "file:///old/chk-3")]);
    stream.tell(Event::OutputRecovered(Err(Failure::new(FailureKind::Io, "it is gone"))));
    assert_eq!(stream.master.status().0, JobStatus::Failed);
}

#[test]
fn nothing_is_withdrawn_while_it_is_made_visible() {
    let aborts =
        |stream: &mut Stream| stream.taken(|action| matches!(action, Action::Abort(_)).then_some(())).len();
    let mut stream = Stream::start(&[]);
    stream.pass(INTERVAL_MS);
    stream.all_snapshots(1, Some("a"));
    stream.store(1);
    stream.tell(Event::Cancel);
    stream.pass(60_000);
    assert_eq!(aborts(&mut stream), 0);
    stream.commit(1);
    assert_eq!(aborts(&mut stream), 1);
    // What a checkpoint that stays has prepared stays too when it cannot be made visible.
    for (retention, expected) in [("DELETE_ON_CANCELLATION", 0), ("NO_EXTERNALIZED_CHECKPOINTS", 1)] {
        let option = ("execution.checkpointing.externalized-checkpoint-retention", retention);
        let mut stream = Stream::start(&[option]);
        stream.pass(INTERVAL_MS);
        stream.all_snapshots(1, Some("a"));
        stream.store(1);
        let outcome = Err(Failure::new(FailureKind::Io, "the name node says no"));
        stream.tell(Event::CheckpointCommitted { checkpoint: CheckpointId(1), outcome });
        assert_eq!(aborts(&mut stream), expected, "{retention}");
    }
}

#[test]
fn stopping_with_a_savepoint_ends_the_job_when_it_is_complete() {
    let mut stream = Stream::start(&[]);
    let (trigger, folder) = ("t".to_owned(), Some("hdfs://nn/s/savepoint-1".to_owned()));
    stream.tell(Event::Savepoint(SavepointOrder { trigger, folder, then: AfterBarrier::Stop }));
    let (_, barrier) = stream.barriers().remove(0);
    assert_eq!(barrier.savepoint.as_deref(), Some("hdfs://nn/s/savepoint-1"));
    stream.all_snapshots(1, Some("a"));
    assert_eq!(stream.stored(), ["hdfs://nn/s/savepoint-1/_metadata"]);
    for (vertex, index) in [(0, 0), (0, 1), (1, 0)] {
        stream.finish(vertex, index, None);
    }
    assert!(stream.final_commit().is_empty(), "it could still fail");
    stream.store(1);
    assert_eq!(stream.completed(), [(1, vec!["a".to_owned()])]);
    stream.commit(1);
    let expected = SavepointStatus::Completed("hdfs://nn/s/savepoint-1".to_owned());
    assert_eq!(stream.master.savepoint_status("t"), Some(expected));
    assert_eq!(stream.final_commit(), [Vec::<String>::new()]);
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    let mut stream = Stream::start(&[("execution.checkpointing.num-retained", "2")]);
    (1..4).for_each(|checkpoint| stream.checkpoint(checkpoint, None));
    let removed = stream.taken(|action| match action {
        Action::RemoveCheckpoint { manifest, kept } => Some((manifest.contains("chk-1/"), kept.len())),
        _ => None,
    });
    assert_eq!(removed, [(true, 2)], "two are kept");
    stream.fail(stream.attempt(0, 0), FailureKind::Io);
    assert!(stream.restored()[0].as_ref().unwrap().contains("chk-3/"));
    stream.fail(stream.attempt(0, 0), FailureKind::StateLost);
    assert!(stream.restored()[0].as_ref().unwrap().contains("chk-2/"));
    stream.fail(stream.attempt(0, 0), FailureKind::StateLost);
    assert_eq!(stream.master.status().0, JobStatus::Failing, "there is none before that");
}

#[test]
fn checkpoints_need_a_folder() {
    let options = [("execution.checkpointing.interval", "1 s")].into_iter().collect();
    let error = Settings::read(&options).unwrap_err().to_string();
    assert!(error.contains("execution.checkpointing.dir"), "{error}");
}

#[test]
fn a_query_whose_rows_were_shown_takes_no_checkpoints_and_does_not_run_again() {
    let live = |graph: &mut JobGraph| graph.vertices[1].output = VertexOutput::LiveResult;
    let mut stream = Stream::start_with(&[], live);
    stream.pass(10 * INTERVAL_MS);
    assert!(stream.barriers().is_empty());
    stream.fail(stream.attempt(0, 0), FailureKind::Io);
    let failure = stream.master.failure().unwrap();
    assert!(failure.message.starts_with("it broke; rows that were shown cannot be taken back"), "{failure}");
    assert_eq!(stream.master.restarts(), 0);
}

#[test]
fn a_source_hears_how_far_the_slowest_of_its_group_lets_it_go() {
    let mut stream = Stream::start(&[]);
    let [quick, slow] = [stream.attempt(0, 0), stream.attempt(0, 1)];
    let mut told = |attempt, watermark_ms| {
        let group = "g".to_owned();
        stream.tell(Event::SourceTime { attempt, group, watermark_ms, max_drift_ms: 100 });
        stream.taken(|action| match action {
            Action::AlignSource { attempt, allowed_ms, .. } => Some((*attempt, *allowed_ms)),
            _ => None,
        })
    };
    assert_eq!(told(slow, None), [], "nobody has said anything");
    assert_eq!(told(quick, Some(5_000)), [(quick, 5_100)]);
    assert_eq!(told(slow, Some(200)), [(slow, 300)]);
    assert_eq!(told(quick, Some(5_000)), [(quick, 300)]);
    let old = Attempt { number: 7, ..quick };
    assert_eq!(told(old, Some(1)), [], "an attempt that does not run");
}

#[test]
fn event_time_is_held_back_by_the_slowest_split_of_the_slowest_source() {
    let mut stream = Stream::start(&[]);
    let report = |attempt, watermark_ms| {
        let metrics = TaskMetrics { watermark_ms: Some(watermark_ms), ..TaskMetrics::default() };
        let split = |name: &str, is_idle| thalweg_graph::task::SplitProgress {
            split: format!("{name} at {watermark_ms}"),
            watermark_ms: Some(watermark_ms),
            is_idle,
        };
        TaskReport { attempt, metrics, splits: vec![split("idle", true), split("split", false)] }
    };
    let reports = vec![
        report(stream.attempt(0, 0), 50),
        report(stream.attempt(0, 1), 20),
        report(stream.attempt(1, 0), 20),
    ];
    stream.tell(Event::Reports(reports));
    let explained = super::event_time::explain(stream.master.execution());
    let sink = &explained[1];
    let held = sink.held_by.as_ref().unwrap();
    assert_eq!(sink.watermark_ms, Some(20));
    assert_eq!((held.vertex, held.subtask, held.watermark_ms), (VertexId(0), 1, Some(20)));
    assert_eq!(held.split.as_deref(), Some("split at 20"));

    let idle = TaskMetrics { watermark_ms: Some(20), is_idle: true, ..TaskMetrics::default() };
    let attempt = stream.attempt(0, 1);
    stream.tell(Event::Reports(vec![TaskReport { attempt, metrics: idle, splits: Vec::new() }]));
    let explained = super::event_time::explain(stream.master.execution());
    assert_eq!(explained[1].held_by.as_ref().unwrap().subtask, 0, "nobody waits for one that is idle");
}
