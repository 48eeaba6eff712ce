//! The job master against a small world of workers: what it orders, how it recovers, that it always ends.

use std::collections::BTreeMap;

use proptest::prelude::*;
use thalweg_graph::{
    FailureKind, TaskDescriptor,
    exchange::{ExchangeKind::*, ResultPartitionId},
    table::{Committable, SinkOutput},
};
use thalweg_rpc::RunningTask;

use super::*;
use crate::testing::{graph, with_splits};

fn running_task(attempt: Attempt) -> RunningTask {
    RunningTask { attempt, epoch: JobEpoch(0), state: TaskState::Running, slot: 0, barrier: None }
}

/// A job master with slots without end and workers that do what the test says.
struct World {
    master: JobMaster,
    now: Timestamp,
    slots_made: u64,
    /// Slots that the job holds, and where.
    slots: BTreeMap<AllocationId, WorkerId>,
    /// Deployed attempts that have not answered for the last time.
    running: BTreeMap<Attempt, (WorkerId, Arc<TaskDescriptor>)>,
    /// Those of them that were told to stop.
    canceling: BTreeSet<Attempt>,
    /// Every attempt ever deployed.
    deployed: Vec<Attempt>,
    /// The attempts whose output each of them was told to read.
    read: BTreeMap<Attempt, Vec<Attempt>>,
    requests: BTreeMap<RegionId, usize>,
    released: Vec<ResultPartitionId>,
    commits: Vec<Vec<SinkOutput>>,
    aborts: usize,
    aborting: bool,
    committing: bool,
    end: Option<(JobStatus, Option<Failure>)>,
    workers: u64,
}

impl World {
    fn start(mut graph: JobGraph, workers: u64) -> World {
        graph.validate().unwrap();
        break_cycles(&mut graph);
        let settings = Settings::read(&graph.options).unwrap();
        let master = JobMaster::new(Arc::new(graph), JobEpoch(0), settings, Timestamp(0));
        let mut world = World {
            master,
            now: Timestamp(0),
            slots_made: 0,
            slots: BTreeMap::new(),
            running: BTreeMap::new(),
            canceling: BTreeSet::new(),
            deployed: Vec::new(),
            read: BTreeMap::new(),
            requests: BTreeMap::new(),
            released: Vec::new(),
            commits: Vec::new(),
            aborts: 0,
            aborting: false,
            committing: false,
            end: None,
            workers,
        };
        world.tell(Event::Start);
        world
    }

    fn tell(&mut self, event: Event) {
        let mut decided = Vec::new();
        for action in self.master.handle(event, self.now) {
            assert!(self.end.is_none(), "an action after the end: {action:?}");
            match action {
                Action::NoteRestart(generation) => decided.push(Event::RestartNoted(generation)),
                Action::DecideEnd { .. } => decided.push(Event::EndDecided),
                action => self.act(action),
            }
        }
        decided.into_iter().for_each(|event| self.tell(event));
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::RequestSlots { region, wishes, .. } => {
                assert!(self.requests.insert(region, wishes.len()).is_none(), "asked twice");
            }
            Action::CancelRequest(region) => drop(self.requests.remove(&region)),
            Action::ReleaseSlot(id) => assert!(self.slots.remove(&id).is_some(), "a slot given back twice"),
            Action::Deploy { worker, tasks } => {
                for task in tasks {
                    assert!(!self.deployed.contains(&task.attempt), "{} is used twice", task.attempt);
                    self.deployed.push(task.attempt);
                    let producers = task.inputs.iter().flat_map(|gate| gate.producers.iter());
                    self.read.insert(task.attempt, producers.map(|place| place.id.producer).collect());
                    self.running.insert(task.attempt, (worker.clone(), task));
                }
            }
            Action::CancelTask { attempt, .. } => drop(self.canceling.insert(attempt)),
            Action::ReleasePartitions { partitions, .. } => self.released.extend(partitions),
            Action::PublishResult(_) | Action::DropResult(_) => {}
            Action::NoteRestart(_) | Action::DecideEnd { .. } => unreachable!("decided at once"),
            Action::AdoptSlot { .. } => panic!("there is no other leader"),
            Action::AlignSource { .. } => panic!("a batch has no event time: {action:?}"),
            Action::TriggerCheckpoint { .. }
            | Action::NotifyCheckpoint { .. }
            | Action::StoreCheckpoint { .. }
            | Action::CompleteCheckpoint { .. }
            | Action::CommitCheckpoint { .. }
            | Action::RefuseSavepoint { .. }
            | Action::RecoverOutput { .. }
            | Action::RemoveCheckpoint { .. }
            | Action::RemoveCheckpoints { .. } => panic!("a batch has no checkpoints: {action:?}"),
            Action::Commit(sinks) => {
                self.committing = true;
                self.commits.push(sinks);
            }
            Action::Abort(_) => {
                self.aborts += 1;
                self.aborting = true;
            }
            Action::Ended { status, failure, .. } => self.end = Some((status, failure)),
        }
    }

    /// Grants every request.
    fn grant(&mut self) {
        while let Some((region, width)) = self.requests.pop_first() {
            let slots: Vec<_> = (0..width)
                .map(|_| {
                    self.slots_made += 1;
                    let name = format!("w{}", self.slots_made % self.workers);
                    let location =
                        Location { worker: WorkerId(name.clone()), data_address: format!("{name}:1") };
                    let allocation = AllocationId(self.slots_made);
                    self.slots.insert(allocation, location.worker.clone());
                    GrantedSlot { allocation, location: Arc::new(location) }
                })
                .collect();
            self.tell(Event::SlotsGranted { region, slots });
        }
    }

    fn attempt(&self, vertex: u32, index: u32) -> Attempt {
        let id = SubtaskId { vertex: VertexId(vertex), index };
        *self.running.keys().filter(|attempt| attempt.subtask == id).max().expect("the subtask runs")
    }

    /// The newest attempt of a subtask.
    fn attempt_of(&self, vertex: u32, index: u32) -> Attempt {
        let id = SubtaskId { vertex: VertexId(vertex), index };
        *self.deployed.iter().filter(|attempt| attempt.subtask == id).max().expect("the subtask ran")
    }

    /// What an attempt's rows depend on besides the job's input: its own number and those of what it read, where rows vary.
    fn version(&self, attempt: Attempt) -> String {
        let vertex = &self.master.execution.graph.vertices[attempt.subtask.vertex.index()];
        let own = if vertex.deterministic { 0 } else { attempt.number };
        let read: Vec<_> = self.read[&attempt].iter().map(|producer| self.version(*producer)).collect();
        format!("{own}{read:?}")
    }

    fn update(&mut self, attempt: Attempt, update: TaskUpdate) {
        let (worker, _) = self.running[&attempt].clone();
        if !matches!(update, TaskUpdate::Running) {
            self.running.remove(&attempt);
            self.canceling.remove(&attempt);
        }
        self.tell(Event::Task { worker, attempt, update });
    }

    fn finish(&mut self, attempt: Attempt) {
        let committables = vec![Committable(attempt.to_string().into())];
        self.update(
            attempt,
            TaskUpdate::Finished { metrics: TaskMetrics::default(), committables, last: None },
        );
    }

    fn fail(&mut self, attempt: Attempt, kind: FailureKind, message: &str) {
        let failure = Failure::new(kind, message);
        self.update(attempt, TaskUpdate::Failed { failure, metrics: TaskMetrics::default() });
    }

    fn lose(&mut self, worker: &str) {
        let worker = WorkerId(worker.to_owned());
        let canceling = &mut self.canceling;
        self.running.retain(|attempt, (on, _)| {
            let stays = *on != worker;
            if !stays {
                canceling.remove(attempt);
            }
            stays
        });
        self.slots.retain(|_, on| *on != worker);
        self.tell(Event::WorkerLost { worker, reason: "killed".to_owned() });
    }

    /// Time passes until nothing is due.
    fn wait(&mut self) {
        while let Some(at) = self.master.deadline() {
            self.now = self.now.max(at);
            self.tell(Event::Tick);
        }
    }

    fn answer_cancels(&mut self) {
        while let Some(attempt) = self.canceling.pop_first() {
            if self.running.contains_key(&attempt) {
                self.update(attempt, TaskUpdate::Canceled);
            }
        }
    }

    fn answer_sinks(&mut self) {
        if std::mem::take(&mut self.committing) {
            self.tell(Event::Committed(Ok(())));
        }
        if std::mem::take(&mut self.aborting) {
            self.tell(Event::Aborted);
        }
    }

    /// Everything goes well from here on.
    fn run_to_end(&mut self) -> JobStatus {
        for _ in 0..1_000 {
            if let Some((status, _)) = &self.end {
                return *status;
            }
            self.grant();
            self.answer_cancels();
            let running: Vec<_> = self.running.keys().copied().collect();
            running
                .into_iter()
                .filter(|id| !self.canceling.contains(id))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|id| {
                    if self.running.contains_key(&id) {
                        self.finish(id);
                    }
                });
            self.answer_sinks();
            if self.running.is_empty() && self.requests.is_empty() {
                self.wait();
            }
        }
        panic!("the job does not end: {:?}", self.master);
    }

    fn running_vertices(&self) -> Vec<u32> {
        let mut vertices: Vec<_> = self.running.keys().map(|attempt| attempt.subtask.vertex.0).collect();
        vertices.dedup();
        vertices
    }
}

#[test]
fn a_pipelined_region_runs_at_once_and_shares_slots() {
    let mut world = World::start(graph(1, &[2, 2, 1], &[(0, 1, Pipelined), (1, 2, Pipelined)], &[]), 3);
    assert_eq!(world.requests, [(RegionId(0), 2)].into());
    world.grant();
    assert_eq!(world.running.len(), 5);
    let (_, consumer) = &world.running[&world.attempt(1, 1)];
    let producers: Vec<_> =
        consumer.inputs[0].producers.iter().map(|p| p.id.producer.subtask.index).collect();
    assert_eq!((producers, consumer.inputs[0].subpartition), (vec![0, 1], 1));
    assert_eq!(world.run_to_end(), JobStatus::Finished);
    assert_eq!(world.commits.len(), 1);
    assert_eq!(world.commits[0][0].committables.len(), 1);
    assert!(world.slots.is_empty());
}

#[test]
fn a_job_whose_memory_ran_out_runs_again_at_once_with_joins_that_spill() {
    let options = [("restart-strategy.type", "none")];
    let mut world = World::start(graph(1, &[2, 1], &[(0, 1, Pipelined)], &options), 3);
    world.grant();
    let first = world.attempt(0, 0);
    assert!(!world.running[&first].1.spills_joins);
    world.fail(first, FailureKind::OutOfMemory, "no memory");
    world.answer_cancels();
    world.grant();
    assert_eq!(world.running.len(), 3);
    assert!(world.running.values().all(|(_, order)| order.spills_joins && order.attempt.number == 1));
    // Once: then it is a failure like any other.
    world.fail(world.attempt(0, 1), FailureKind::OutOfMemory, "no memory");
    assert_eq!(world.run_to_end(), JobStatus::Failed);
}

#[test]
fn consumers_over_blocking_edges_wait_for_all_producers_and_release_them() {
    let mut world = World::start(graph(1, &[3, 2], &[(0, 1, Blocking)], &[]), 3);
    assert_eq!(world.requests.len(), 3, "each subtask asks for itself");
    world.grant();
    world.finish(world.attempt(0, 0));
    world.finish(world.attempt(0, 1));
    assert!(world.requests.is_empty());
    world.finish(world.attempt(0, 2));
    assert_eq!(world.requests.len(), 2);
    world.grant();
    world.finish(world.attempt(1, 0));
    assert!(world.released.is_empty());
    world.finish(world.attempt(1, 1));
    assert_eq!(world.released.len(), 3);
    assert_eq!(world.run_to_end(), JobStatus::Finished);
}

#[test]
fn a_failed_subtask_of_a_blocking_vertex_runs_again_alone() {
    let mut world = World::start(graph(1, &[2, 1], &[(0, 1, Blocking)], &[]), 2);
    world.grant();
    world.finish(world.attempt(0, 0));
    world.fail(world.attempt(0, 1), FailureKind::Io, "disk");
    assert_eq!(world.master.status().0, JobStatus::Restarting);
    world.wait();
    world.grant();
    assert_eq!(world.attempt(0, 1).number, 1);
    assert_eq!(world.run_to_end(), JobStatus::Finished);
    assert_eq!(world.deployed.len(), 4);
    assert_eq!(world.master.restarts(), 1);
}

#[test]
fn a_failure_restarts_its_pipelined_region_and_ignores_what_old_attempts_say() {
    let mut world = World::start(graph(1, &[1, 1], &[(0, 1, Pipelined)], &[]), 2);
    world.grant();
    let old = world.attempt(0, 0);
    world.fail(world.attempt(1, 0), FailureKind::Io, "network");
    assert!(world.canceling.contains(&old));
    world.wait();
    world.grant();
    world.finish(old);
    assert_eq!(world.attempt(0, 0).number, 1);
    assert_eq!(world.run_to_end(), JobStatus::Finished);
    assert_eq!(world.commits[0][0].committables, [Committable(world.deployed[3].to_string().into())]);
}

#[test]
fn deterministic_failures_and_the_same_panic_twice_end_the_job() {
    let mut world = World::start(graph(1, &[1], &[], &[]), 1);
    world.grant();
    world.fail(world.attempt(0, 0), FailureKind::Deterministic, "division by zero");
    assert_eq!(world.run_to_end(), JobStatus::Failed);
    assert_eq!(world.end.unwrap().1.unwrap().message, "division by zero");
    assert_eq!((world.commits.len(), world.aborts), (0, 1));

    let mut world = World::start(graph(1, &[1], &[], &[]), 1);
    for _ in 0..2 {
        world.grant();
        world.fail(world.attempt(0, 0), FailureKind::Panic, "index out of bounds");
        world.wait();
    }
    assert_eq!(world.run_to_end(), JobStatus::Failed);
    assert!(world.end.unwrap().1.unwrap().message.contains("the same panic twice"));
}

#[test]
fn the_cause_wins_over_the_tasks_that_noticed_it_first() {
    let mut world = World::start(graph(1, &[1, 1], &[(0, 1, Pipelined)], &[]), 2);
    world.grant();
    let producer = world.attempt(0, 0);
    let fetch = FailureKind::FetchFailed { edge: thalweg_graph::EdgeId(0), producer };
    world.fail(world.attempt(1, 0), fetch, "connection closed");
    world.fail(producer, FailureKind::Deterministic, "cannot cast");
    assert_eq!(world.run_to_end(), JobStatus::Failed);
    assert_eq!(world.end.unwrap().1.unwrap().message, "cannot cast");
}

#[test]
fn the_restart_strategy_ends_the_job_when_it_allows_no_more() {
    let mut world = World::start(graph(1, &[1], &[], &[("restart-strategy.type", "none")]), 1);
    world.grant();
    world.fail(world.attempt(0, 0), FailureKind::Io, "gone");
    assert_eq!(world.run_to_end(), JobStatus::Failed);
}

#[test]
fn an_unreadable_output_runs_its_producer_again_and_nothing_else() {
    let mut world = World::start(graph(1, &[3, 2], &[(0, 1, Blocking)], &[]), 3);
    world.grant();
    (0..3).for_each(|index| world.finish(world.attempt(0, index)));
    world.grant();
    let producer = world.deployed[1];
    let fetch = FailureKind::FetchFailed { edge: thalweg_graph::EdgeId(0), producer };
    world.fail(world.attempt(1, 0), fetch, "checksum");
    world.finish(world.attempt(1, 1));
    world.wait();
    world.grant();
    assert_eq!(world.running_vertices(), [0]);
    assert_eq!(world.attempt(0, 1).number, 1);
    world.finish(world.attempt(0, 1));
    world.grant();
    let (_, consumer) = &world.running[&world.attempt(1, 0)];
    let read: Vec<_> = consumer.inputs[0].producers.iter().map(|p| p.id.producer.number).collect();
    assert_eq!(read, [0, 1, 0]);
    assert_eq!(world.run_to_end(), JobStatus::Finished);
}

#[test]
fn a_lost_worker_is_one_failure_and_re_runs_only_what_was_lost() {
    let mut world = World::start(graph(1, &[4, 4], &[(0, 1, Blocking)], &[]), 2);
    world.grant();
    (0..4).for_each(|index| world.finish(world.attempt(0, index)));
    world.grant();
    let before = world.deployed.len();
    world.lose("w0");
    world.wait();
    world.grant();
    assert_eq!(world.deployed.len(), before + 2, "two producers were there");
    assert_eq!(world.run_to_end(), JobStatus::Finished);
    assert_eq!(world.deployed.len(), before + 4, "and two consumers");
    assert_eq!(world.master.restarts(), 1);
}

#[test]
fn a_lost_worker_whose_output_nobody_needs_any_more_costs_nothing() {
    let mut world = World::start(graph(1, &[2, 1, 1], &[(0, 1, Blocking), (1, 2, Blocking)], &[]), 5);
    world.grant();
    (0..2).for_each(|index| world.finish(world.attempt(0, index)));
    world.grant();
    world.finish(world.attempt(1, 0));
    world.grant();
    world.lose("w1");
    assert_eq!(world.master.restarts(), 0);
    // The middle vertex' output is needed: with it all that it reads. That the last one notices is no failure of its own.
    world.lose("w3");
    let fetch = FailureKind::FetchFailed { edge: thalweg_graph::EdgeId(1), producer: world.deployed[2] };
    world.fail(world.attempt(2, 0), fetch, "no such partition");
    assert_eq!(world.run_to_end(), JobStatus::Finished);
    assert_eq!((world.deployed.len(), world.master.restarts()), (4 + 4, 1));
}

#[test]
fn a_worker_that_returns_keeps_its_tasks() {
    let mut world = World::start(graph(1, &[2, 1], &[(0, 1, Blocking)], &[]), 1);
    world.grant();
    world.finish(world.attempt(0, 0));
    let (finished, kept) = (world.deployed[0], world.attempt(0, 1));
    let edge = thalweg_graph::EdgeId(0);
    let running = vec![running_task(kept), running_task(Attempt { number: 7, ..kept })];
    let partitions = [ResultPartitionId { producer: finished, edge }].into();
    let location = Arc::new(Location { worker: WorkerId("w0".to_owned()), data_address: "w0:1".to_owned() });
    let ended = Vec::new();
    world.tell(Event::WorkerReturned { location: location.clone(), running, ended, partitions });
    assert_eq!(world.canceling, [Attempt { number: 7, ..kept }].into());
    world.canceling.clear();
    assert_eq!(world.master.restarts(), 0);
    // Without them they run again.
    let (running, ended, partitions) = Default::default();
    world.tell(Event::WorkerReturned { location, running, ended, partitions });
    world.running.clear();
    assert_eq!(world.run_to_end(), JobStatus::Finished);
    assert_eq!(world.deployed.len(), 2 + 2 + 1);
}

#[test]
fn cancel_stops_tasks_withdraws_output_and_is_too_late_for_a_commit() {
    let mut world = World::start(graph(1, &[2], &[], &[]), 1);
    world.grant();
    world.tell(Event::Cancel);
    assert_eq!((world.master.status().0, world.canceling.len()), (JobStatus::Cancelling, 2));
    world.answer_cancels();
    assert!(world.aborting);
    assert_eq!(world.run_to_end(), JobStatus::Canceled);

    let mut world = World::start(graph(1, &[1], &[], &[]), 1);
    world.grant();
    world.finish(world.attempt(0, 0));
    world.tell(Event::Cancel);
    assert_eq!(world.run_to_end(), JobStatus::Finished);
}

#[test]
fn a_job_that_never_ran_ends_at_once() {
    let mut world = World::start(graph(1, &[2], &[], &[]), 1);
    world.tell(Event::Cancel);
    assert_eq!(world.end.unwrap().0, JobStatus::Canceled);
    assert_eq!(world.aborts, 0);

    let mut world = World::start(graph(1, &[2, 2], &[(0, 1, Pipelined)], &[]), 1);
    let reason = "needs 2 slots, 0 are free on 0 workers".to_owned();
    world.tell(Event::SlotsRefused { region: RegionId(0), reason });
    let (status, failure) = world.end.unwrap();
    let failure = failure.unwrap();
    assert_eq!((status, failure.kind), (JobStatus::Failed, FailureKind::NoSlots));
    assert!(failure.message.contains("needs 2 slots") && failure.message.contains("ALL_EXCHANGES_BLOCKING"));
}

#[test]
fn a_failed_commit_fails_the_job_and_withdraws() {
    let mut world = World::start(graph(1, &[1], &[], &[]), 1);
    world.grant();
    world.finish(world.attempt(0, 0));
    world.committing = false;
    world.tell(Event::Committed(Err(Failure::new(FailureKind::Io, "name node is down"))));
    assert_eq!(world.run_to_end(), JobStatus::Failed);
    let failure = world.end.unwrap().1.unwrap();
    assert_eq!(failure.kind, FailureKind::CommitFailed);
    assert!(failure.message.ends_with("name node is down"));
}

#[test]
fn a_task_that_does_not_stop_does_not_hold_the_job_for_ever() {
    let mut world = World::start(graph(1, &[1], &[], &[]), 1);
    world.grant();
    world.tell(Event::Cancel);
    world.wait();
    world.answer_sinks();
    assert_eq!(world.end.unwrap().0, JobStatus::Canceled);
}

#[test]
fn a_consumer_that_has_seen_enough_ends_its_producers() {
    let mut world = World::start(graph(1, &[2, 1], &[(0, 1, Pipelined)], &[]), 1);
    world.grant();
    world.finish(world.attempt(1, 0));
    assert_eq!(world.canceling.len(), 2);
    world.answer_sinks();
    assert!(world.end.is_none());
    world.answer_cancels();
    assert_eq!(world.end.unwrap().0, JobStatus::Finished);
}

#[test]
fn a_subtask_gets_its_splits_and_wishes_for_their_host() {
    let graph = with_splits(graph(1, &[2, 1], &[(0, 1, Blocking)], &[]), 0, &["a", "b"]);
    let (parallelism, split) = (2, |task: &TaskDescriptor| task.splits[0].partitions.clone());
    let mut master = JobMaster::new(
        Arc::new(graph.clone()),
        JobEpoch(0),
        Settings::read(&graph.options).unwrap(),
        Timestamp(0),
    );
    let wishes: Vec<_> = master
        .handle(Event::Start, Timestamp(0))
        .into_iter()
        .map(|action| match action {
            Action::RequestSlots { wishes, .. } => wishes[0].preferred_hosts.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(wishes, [["a"], ["b"]]);
    let mut world = World::start(graph, 1);
    world.grant();
    for index in 0..parallelism {
        let partitions = split(&world.running[&world.attempt(0, index)].1);
        assert_eq!((partitions.len(), partitions[0].0), (1, index));
    }
}

/// A graph whose vertices at these positions give other rows each time.
fn varying(mut graph: JobGraph, vertices: &[usize]) -> JobGraph {
    vertices.iter().for_each(|vertex| graph.vertices[*vertex].deterministic = false);
    graph
}

#[test]
fn what_has_read_rows_that_will_not_come_again_runs_again() {
    let run = |vertices: &[usize]| {
        let graph = graph(1, &[2, 2, 2], &[(0, 1, Blocking), (1, 2, Blocking)], &[]);
        let mut world = World::start(varying(graph, vertices), 9);
        world.grant();
        (0..2).for_each(|index| world.finish(world.attempt(0, index)));
        world.grant();
        world.finish(world.attempt(1, 0));
        let fetch = FailureKind::FetchFailed { edge: thalweg_graph::EdgeId(0), producer: world.deployed[0] };
        world.fail(world.attempt(1, 1), fetch, "checksum");
        assert_eq!(world.run_to_end(), JobStatus::Finished);
        let attempts =
            |vertex: u32| world.deployed.iter().filter(|attempt| attempt.subtask.vertex.0 == vertex).count();
        (attempts(0), attempts(1), attempts(2))
    };
    assert_eq!(run(&[]), (3, 3, 2), "what had finished stays");
    assert_eq!(run(&[0]), (3, 4, 2), "the finished consumer had read the older rows");
    assert_eq!(run(&[1]), (3, 3, 2), "nobody had read the failed consumer's rows");
}

#[test]
fn rows_that_differ_make_what_is_computed_of_them_differ() {
    let graph = graph(1, &[1, 1, 2], &[(0, 1, Blocking), (1, 2, Blocking)], &[]);
    let mut world = World::start(varying(graph, &[0]), 9);
    for vertex in [0, 1] {
        world.grant();
        world.finish(world.attempt(vertex, 0));
    }
    world.grant();
    world.finish(world.attempt(2, 0));
    // The output of vertex 1 is lost; that of vertex 0, which it needs again, was released.
    let fetch = FailureKind::FetchFailed { edge: thalweg_graph::EdgeId(1), producer: world.attempt_of(1, 0) };
    world.fail(world.attempt(2, 1), fetch, "checksum");
    assert_eq!(world.run_to_end(), JobStatus::Finished);
    assert_eq!(
        world.attempt_of(2, 0).number,
        1,
        "the finished consumer had read what came of the older rows"
    );
}

#[derive(Debug, Clone)]
enum Step {
    Grant,
    Finish(usize),
    Fail(usize, u8),
    Fetch(usize, usize),
    Lose(u64),
    AnswerCancels,
    Wait,
    Cancel,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Grant),
        12 => any::<usize>().prop_map(Step::Finish),
        2 => (any::<usize>(), 0..5_u8).prop_map(|(n, kind)| Step::Fail(n, kind)),
        3 => (any::<usize>(), any::<usize>()).prop_map(|(n, m)| Step::Fetch(n, m)),
        2 => (0..3_u64).prop_map(Step::Lose),
        3 => Just(Step::AnswerCancels),
        3 => Just(Step::Wait),
        1 => Just(Step::Cancel),
    ];
    proptest::collection::vec(step, 0..60)
}

fn job() -> impl Strategy<Value = JobGraph> {
    let parallelisms = proptest::collection::vec(1..4_u32, 1..5);
    let edges = proptest::collection::vec((0..10_u32, 0..10_u32, any::<bool>()), 0..6);
    (parallelisms, edges, proptest::collection::vec(0..5_usize, 0..3)).prop_map(
        |(parallelisms, pairs, mut vary)| {
            vary.retain(|vertex| *vertex < parallelisms.len());
            let count = parallelisms.len() as u32;
            let edges: Vec<_> = pairs
                .into_iter()
                .map(|(a, b, pipelined)| (a % count, b % count, if pipelined { Pipelined } else { Blocking }))
                .filter(|(a, b, _)| a < b)
                .collect();
            varying(graph(1, &parallelisms, &edges, &[]), &vary)
        },
    )
}

/// What the master believes agrees with itself and with the world.
fn check(world: &World) {
    let execution = &world.master.execution;
    for vertex in &execution.vertices {
        let mut counts = crate::view::TaskCounts::default();
        vertex.subtasks.iter().for_each(|subtask| counts.add(subtask.state()));
        assert_eq!(counts, vertex.counts);
    }
    for region in world.master.regions.ids() {
        let subtasks = world.master.subtasks_of(region);
        let finished = |id: &SubtaskId| execution.subtask(*id).state() == TaskState::Finished;
        let unfinished = subtasks.iter().filter(|id| !finished(id)).count();
        assert_eq!(world.master.regions[region].unfinished as usize, unfinished);
    }
    assert_eq!(
        world.master.slots.keys().collect::<Vec<_>>(),
        world.slots.keys().collect::<Vec<_>>(),
        "slots are neither lost nor made"
    );
}

proptest! {
    #[test]
    fn every_job_ends_with_its_books_in_order(graph in job(), steps in steps()) {
        let mut world = World::start(graph, 3);
        for step in steps {
            if world.end.is_some() {
                break;
            }
            let running: Vec<_> = world.running.keys().copied().collect();
            let nth = |n: usize| running.get(n % running.len().max(1)).copied();
            match step {
                Step::Grant => world.grant(),
                Step::Finish(n) => if let Some(attempt) = nth(n) { world.finish(attempt) },
                Step::Fail(n, kind) => if let Some(attempt) = nth(n) {
                    let kinds = [FailureKind::Io, FailureKind::ResourceExhausted, FailureKind::Io, FailureKind::Panic, FailureKind::Io];
                    world.fail(attempt, kinds[kind as usize].clone(), &format!("failure {n}"));
                },
                Step::Fetch(n, m) => if let Some(attempt) = nth(n) {
                    let inputs = &world.running[&attempt].1.inputs;
                    let producer = inputs.get(m % inputs.len().max(1)).map(|gate| (gate.edge, gate.producers[m % gate.producers.len()].id.producer));
                    if let Some((edge, producer)) = producer {
                        world.fail(attempt, FailureKind::FetchFailed { edge, producer }, "unreadable");
                    }
                },
                Step::Lose(worker) => world.lose(&format!("w{worker}")),
                Step::AnswerCancels => world.answer_cancels(),
                Step::Wait => if let Some(at) = world.master.deadline() {
                    world.now = world.now.max(at);
                    world.tell(Event::Tick);
                },
                Step::Cancel => world.tell(Event::Cancel),
            }
            if world.end.is_none() {
                check(&world);
            }
        }
        let status = world.run_to_end();
        prop_assert!(status.is_terminal());
        if status == JobStatus::Finished {
            let last = world.master.execution.vertices.last().unwrap();
            let expected: Vec<_> = last.subtasks.iter().flat_map(|subtask| subtask.committables.clone()).collect();
            prop_assert_eq!(expected.len(), last.subtasks.len());
            prop_assert_eq!(&world.commits.last().unwrap()[0].committables, &expected);
            for subtask in last.subtasks.iter().enumerate().map(|(index, _)| world.attempt_of(last.id.0, index as u32)) {
                for producer in &world.read[&subtask] {
                    let newest = world.attempt_of(producer.subtask.vertex.0, producer.subtask.index);
                    prop_assert_eq!(world.version(*producer), world.version(newest), "{} read older rows", subtask);
                }
            }
        }
    }
}
