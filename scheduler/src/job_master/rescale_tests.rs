//! A stream of two sources and one sink goes on with three of each, or with fewer.

use thalweg_graph::{CheckpointId, exchange::ExchangeKind::Pipelined};

use super::{stream_testing::Stream, take_over::Remembered, *};
use crate::{testing::graph, view::CheckpointStatus};

/// The stream's graph with so many sources and sinks.
fn planned(stream: &Stream, parallelisms: &[u32; 2]) -> Arc<JobGraph> {
    let before = &stream.master.execution.graph;
    let options: Vec<_> =
        before.options.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut graph = graph(7, parallelisms, &[(0, 1, Pipelined)], &options);
    graph.mode = RuntimeMode::Streaming;
    Arc::new(graph)
}

fn rescale(stream: &mut Stream, parallelisms: &[u32; 2], generation: u32) {
    let graph = planned(stream, parallelisms);
    stream.tasks.clear();
    stream.tell(Event::Rescaled { graph, generation });
}

#[test]
fn all_tasks_stop_and_those_of_the_new_graph_go_on_from_the_newest_checkpoint() {
    let mut stream = Stream::start(&[]);
    stream.checkpoint(1, None);
    rescale(&mut stream, &[3, 3], 1);
    assert_eq!(stream.tasks.len(), 6);
    assert!(stream.tasks.values().all(|task| task.attempt.number == 1 && task.parallelism == 3));
    assert!(stream.restored().iter().all(|url| url.as_ref().is_some_and(|url| url.contains("chk-1/"))));
    assert_eq!((stream.master.status().0, stream.master.restarts()), (JobStatus::Running, 0));
    stream.run();
    stream.pass(1_000);
    let barriers = stream.barriers();
    assert_eq!((barriers[0].0.len(), barriers[0].1.checkpoint), (3, CheckpointId(2)));
    // Back to one of each.
    rescale(&mut stream, &[1, 1], 2);
    assert_eq!(stream.tasks.len(), 2);
    let record = stream.master.checkpoint_records().pop().unwrap();
    let CheckpointStatus::Failed(why) = &record.status else { panic!("{record:?}") };
    assert!(why.contains("checkpoint 2 was given up: the job is rescaled"), "{why}");
}

#[test]
fn nothing_starts_before_what_is_being_made_visible_is() {
    let mut stream = Stream::start(&[]);
    stream.pass(1_000);
    stream.all_snapshots(1, Some("file"));
    stream.store(1);
    rescale(&mut stream, &[2, 2], 1);
    assert!(stream.tasks.is_empty());
    stream.commit(1);
    assert_eq!(stream.tasks.len(), 4);
    assert!(stream.restored().iter().all(|url| url.as_ref().is_some_and(|url| url.contains("chk-1/"))));
}

#[test]
fn the_last_word_of_a_task_that_has_no_place_any_more_does_no_harm() {
    let mut stream = Stream::start(&[]);
    stream.checkpoint(1, None);
    let graph = planned(&stream, &[1, 1]);
    let (first, last) = (stream.attempt(0, 0), stream.attempt(0, 1));
    // They do not answer yet.
    let actions = stream.master.handle(Event::Rescaled { graph, generation: 1 }, stream.now);
    let told = actions.iter().filter(|action| matches!(action, Action::CancelTask { .. })).count();
    assert_eq!(told, 3);
    let mut say = |attempt, update| {
        let worker = WorkerId("w".to_owned());
        stream.master.handle(Event::Task { worker, attempt, update }, stream.now)
    };
    let failure = Failure::new(thalweg_graph::FailureKind::Panic, "it broke");
    let released = |actions: Vec<Action>| {
        actions.iter().filter(|action| matches!(action, Action::ReleaseSlot(_))).count()
    };
    say(first, TaskUpdate::Canceled);
    let metrics = TaskMetrics::default();
    assert_eq!(released(say(last, TaskUpdate::Failed { failure, metrics })), 1, "its slot is free");
    assert_eq!(stream.master.status().0, JobStatus::Running);
}

#[test]
fn what_has_ended_under_the_old_graph_is_not_committed_with_the_new_one() {
    let mut stream = Stream::start(&[]);
    stream.finish(0, 0, None);
    stream.finish(0, 1, None);
    rescale(&mut stream, &[1, 1], 1);
    stream.run();
    stream.finish(0, 0, None);
    stream.finish(1, 0, Some("file"));
    // The job's last checkpoint has what the new sink has left.
    stream.store(1);
    assert_eq!(stream.completed(), [(1, vec!["file".to_owned()])]);
}

#[test]
fn a_job_that_ends_is_not_rescaled() {
    let mut stream = Stream::start(&[]);
    stream.tell(Event::Cancel);
    rescale(&mut stream, &[3, 3], 1);
    assert!(stream.tasks.is_empty());
    assert_eq!(stream.master.execution.graph.vertices[0].parallelism, 2);
}

/// A leader that finds tasks of both graphs adopts those of the new one only.
#[test]
fn the_next_leader_adopts_no_task_of_the_old_graph() {
    let stream = Stream::start(&[]);
    let new = planned(&stream, &[1, 1]);
    let settings = Settings::read(&new.options).unwrap();
    let remembered = Remembered { generation: 1, graph_since: 1, rescales: 1, ..Remembered::default() };
    let mut master = JobMaster::take_over(new, JobEpoch(0), settings, remembered, Timestamp(0));
    let location = Location { worker: WorkerId("w".to_owned()), data_address: "w:1".to_owned() };
    let running = |number: u32, vertex: u32| thalweg_rpc::RunningTask {
        attempt: Attempt {
            job: thalweg_graph::JobId(7),
            subtask: SubtaskId { vertex: VertexId(vertex), index: 0 },
            number,
        },
        epoch: JobEpoch(0),
        slot: u64::from(vertex + 10 * number) + 1,
        state: TaskState::Running,
        barrier: None,
    };
    let event = Event::WorkerReturned {
        location: Arc::new(location),
        running: vec![running(0, 0), running(0, 1)],
        ended: Vec::new(),
        partitions: BTreeSet::new(),
    };
    master.handle(event, Timestamp(0));
    let actions = master.handle(Event::Reconciled, Timestamp(1));
    let stopped = actions.iter().filter(|action| matches!(action, Action::CancelTask { .. })).count();
    assert_eq!(stopped, 2);
    assert!(actions.iter().any(|action| matches!(action, Action::NoteRestart(2))), "{actions:?}");
}
