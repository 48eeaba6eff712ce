//! The whole machine under random orders of everything that can happen: no panic, no slot lost, every job ends, every attempt is
//! ordered once, and after the faults have stopped the cluster heals.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use thalweg_graph::{
    Attempt, EdgeId, FailureKind, TaskMetrics, TaskState,
    exchange::{ExchangeKind, ResultPartitionId},
};
use thalweg_rpc::{RunningTask, TaskUpdate, ToLeader};

use super::*;
use crate::testing::{graph, registration};

const SLOTS: u32 = 2;

/// A worker as the machine sees it from outside.
#[derive(Default)]
struct FakeWorker {
    session: Option<SessionId>,
    running: BTreeMap<Attempt, Arc<TaskDescriptor>>,
    canceling: BTreeSet<Attempt>,
    ended: BTreeMap<Attempt, TaskUpdate>,
    partitions: BTreeSet<ResultPartitionId>,
}

struct World {
    cluster: Cluster,
    term: u64,
    /// Whether the quorum is slow: what is proposed waits.
    holds: bool,
    undecided: Vec<Command>,
    now: Timestamp,
    workers: BTreeMap<String, FakeWorker>,
    sessions: u64,
    deployed: BTreeSet<Attempt>,
    commits: Vec<JobId>,
    aborts: Vec<JobId>,
    ended: BTreeMap<JobId, JobStatus>,
    committed: BTreeSet<JobId>,
}

impl World {
    fn new() -> World {
        let settings = WorkerSettings {
            heartbeat_interval: std::time::Duration::from_secs(2),
            heartbeat_timeout: std::time::Duration::from_secs(10),
            session_grace: std::time::Duration::from_millis(50),
            queues: Default::default(),
        };
        let mut world = World {
            cluster: Cluster::new(settings, 0, 100),
            term: 0,
            holds: false,
            undecided: Vec::new(),
            now: Timestamp(0),
            workers: BTreeMap::new(),
            sessions: 0,
            deployed: BTreeSet::new(),
            commits: Vec::new(),
            aborts: Vec::new(),
            ended: BTreeMap::new(),
            committed: BTreeSet::new(),
        };
        world.elect();
        world
    }

    /// Another member leads, which has all that was decided; what was not is lost, and every session breaks.
    fn elect(&mut self) {
        let mut next = Cluster::new(self.cluster.settings.clone(), self.term + 1, 100);
        next.replace_state(self.cluster.copy_state());
        self.cluster = next;
        self.term += 1;
        self.undecided.clear();
        self.commits.clear();
        self.aborts.clear();
        self.workers.values_mut().for_each(|worker| worker.session = None);
        self.cluster.elected(Some(Term(self.term)));
        self.decide(Command::Lead { member: self.term }).unwrap();
    }

    fn decide(&mut self, command: Command) -> Result<(), Refusal> {
        self.decide_all();
        let decided = self.cluster.apply(command, Term(self.term), self.now);
        self.settle();
        decided
    }

    fn decide_all(&mut self) {
        loop {
            self.undecided.extend(self.cluster.take_proposals());
            if self.undecided.is_empty() {
                return;
            }
            for command in std::mem::take(&mut self.undecided) {
                // One about a job that has ended is refused.
                let _ = self.cluster.apply(command, Term(self.term), self.now);
            }
        }
    }

    fn submit(&mut self, graph: JobGraph) {
        let command = self.cluster.submission(graph, self.now).unwrap();
        self.decide(command).unwrap();
    }

    fn settle(&mut self) {
        if self.holds {
            self.undecided.extend(self.cluster.take_proposals());
        } else {
            self.decide_all();
        }
        for effect in self.cluster.take_effects() {
            match effect {
                Effect::Send(session, message) => self.deliver(session, message),
                Effect::Commit(job, _) => self.commits.push(job),
                Effect::Abort(job, _) => self.aborts.push(job),
                Effect::Ended(job, end) => {
                    assert!(end.status.is_terminal());
                    assert!(self.ended.insert(job, end.status).is_none(), "{job} ended twice");
                    assert!(
                        !self.committed.contains(&job) || end.status == JobStatus::Finished,
                        "committed and yet {}",
                        end.status
                    );
                }
                Effect::Close(session) => {
                    let worker = self.workers.values_mut().find(|worker| worker.session == Some(session));
                    worker.into_iter().for_each(|worker| worker.session = None);
                }
                _ => {}
            }
        }
        let (total, free) = self.cluster.resources.slots();
        assert!(free <= total);
    }

    fn deliver(&mut self, session: SessionId, message: ToWorker) {
        let Some(worker) = self.workers.values_mut().find(|worker| worker.session == Some(session)) else {
            return;
        };
        match message {
            ToWorker::Deploy { tasks, term } => {
                assert_eq!(term, Term(self.term));
                for task in tasks {
                    assert!(self.deployed.insert(task.attempt), "{} is ordered twice", task.attempt);
                    worker.running.insert(task.attempt, task);
                }
            }
            ToWorker::Cancel { attempt, .. } => drop(worker.canceling.insert(attempt)),
            ToWorker::ForgetJob { job, .. } => {
                worker.running.retain(|attempt, _| attempt.job != job);
                worker.canceling.retain(|attempt| attempt.job != job);
                worker.ended.retain(|attempt, _| attempt.job != job);
                worker.partitions.retain(|partition| partition.producer.job != job);
            }
            _ => {}
        }
    }

    fn register(&mut self, name: &str) {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let worker = self.workers.entry(name.to_owned()).or_default();
        worker.session = Some(session);
        let mut registration = registration(name, SLOTS);
        let task = |task: &Arc<TaskDescriptor>| RunningTask {
            attempt: task.attempt,
            epoch: task.epoch,
            state: TaskState::Running,
            slot: task.slot,
            barrier: None,
        };
        registration.running = worker.running.values().map(task).collect();
        registration.ended = worker.ended.iter().map(|(attempt, end)| (*attempt, end.clone())).collect();
        registration.partitions = worker.partitions.iter().copied().collect();
        worker.canceling.clear();
        self.cluster.worker_registered(session, registration, self.now);
        self.settle();
    }

    /// The connection breaks; the worker lives on, or is killed with all that it has.
    fn disconnect(&mut self, name: &str, killed: bool) {
        let Some(worker) = self.workers.get_mut(name) else { return };
        let session = worker.session.take();
        if killed {
            self.workers.remove(name);
        }
        if let Some(session) = session {
            self.cluster.session_ended(session, &WorkerId(name.to_owned()), self.now);
            self.settle();
        }
    }

    fn say(&mut self, name: &str, message: ToLeader) {
        let Some(session) = self.workers.get(name).and_then(|worker| worker.session) else { return };
        self.cluster.worker_said(session, &WorkerId(name.to_owned()), message, self.now);
        self.settle();
    }

    fn update(&mut self, name: &str, attempt: Attempt, update: TaskUpdate) {
        let worker = self.workers.get_mut(name).expect("the worker lives");
        if worker.session.is_none() {
            return;
        }
        if let Some(task) = worker.running.remove(&attempt)
            && matches!(update, TaskUpdate::Finished { .. })
        {
            let kept = task.outputs.iter().filter(|output| output.kind == ExchangeKind::Blocking);
            worker.partitions.extend(kept.map(|output| output.id));
        }
        worker.canceling.remove(&attempt);
        if update != TaskUpdate::Running {
            worker.ended.insert(attempt, update.clone());
        }
        self.say(name, ToLeader::Task { attempt, update });
    }

    fn nth_running(&self, n: usize) -> Option<(String, Attempt)> {
        let all: Vec<_> = self
            .workers
            .iter()
            .flat_map(|(name, worker)| worker.running.keys().map(|attempt| (name.clone(), *attempt)))
            .collect();
        (!all.is_empty()).then(|| all[n % all.len()].clone())
    }

    fn advance(&mut self, ms: u64) {
        self.now = Timestamp(self.now.0 + ms);
        for name in self.workers.keys().cloned().collect::<Vec<_>>() {
            self.say(&name, ToLeader::Heartbeat { tasks: Vec::new(), memory_used_bytes: 0 });
        }
        self.cluster.tick(self.now);
        self.settle();
    }

    fn answer_sinks(&mut self) {
        for job in std::mem::take(&mut self.commits) {
            self.committed.insert(job);
            self.cluster.committed(job, Ok(()), self.now);
            self.settle();
        }
        for job in std::mem::take(&mut self.aborts) {
            self.cluster.aborted(job, self.now);
            self.settle();
        }
    }

    fn answer_cancels(&mut self) {
        for name in self.workers.keys().cloned().collect::<Vec<_>>() {
            for attempt in self.workers[&name].canceling.clone() {
                self.update(&name, attempt, TaskUpdate::Canceled);
            }
        }
    }

    fn finish(&mut self, name: &str, attempt: Attempt) {
        let update =
            TaskUpdate::Finished { metrics: TaskMetrics::default(), committables: Vec::new(), last: None };
        self.update(name, attempt, update);
    }

    /// No faults any more: everything that runs finishes.
    fn heal(&mut self, jobs: usize) {
        self.holds = false;
        self.settle();
        for name in ["w0", "w1", "w2"] {
            if self.workers.get(name).is_none_or(|worker| worker.session.is_none()) {
                self.register(name);
            }
        }
        self.finish_all(jobs);
    }

    fn finish_all(&mut self, jobs: usize) {
        for _ in 0..2_000 {
            if self.ended.len() == jobs {
                return;
            }
            self.answer_cancels();
            let running: Vec<_> = (0..)
                .map_while(|n| (n < self.running_count()).then(|| self.nth_running(n)))
                .flatten()
                .collect();
            for (name, attempt) in running {
                if self.workers[&name].running.contains_key(&attempt) {
                    self.finish(&name, attempt);
                }
            }
            self.answer_sinks();
            self.advance(1_000);
        }
        panic!("{} of {jobs} jobs have ended: {:?}", self.ended.len(), self.cluster.overview());
    }

    fn running_count(&self) -> usize {
        self.workers.values().map(|worker| worker.running.len()).sum()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Submit(Vec<u32>, Vec<bool>),
    Cancel(u128),
    Register(u8),
    Disconnect(u8, bool),
    Goodbye(u8),
    Finish(usize),
    Fail(usize),
    Fetch(usize),
    AnswerCancels,
    AnswerSinks,
    Advance(u64),
    /// The quorum is slow from here on, or is not any more.
    Hold(bool),
    Elect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let shape = (proptest::collection::vec(1..4_u32, 1..4), proptest::collection::vec(any::<bool>(), 3));
    let step = prop_oneof![
        3 => shape.prop_map(|(parallelisms, kinds)| Step::Submit(parallelisms, kinds)),
        1 => (0..6_u128).prop_map(Step::Cancel),
        4 => (0..3_u8).prop_map(Step::Register),
        2 => (0..3_u8, any::<bool>()).prop_map(|(worker, killed)| Step::Disconnect(worker, killed)),
        1 => (0..3_u8).prop_map(Step::Goodbye),
        14 => any::<usize>().prop_map(Step::Finish),
        2 => any::<usize>().prop_map(Step::Fail),
        2 => any::<usize>().prop_map(Step::Fetch),
        3 => Just(Step::AnswerCancels),
        3 => Just(Step::AnswerSinks),
        4 => prop_oneof![Just(1_u64), Just(60), Just(1_000), Just(4_000)].prop_map(Step::Advance),
        3 => any::<bool>().prop_map(Step::Hold),
        2 => Just(Step::Elect),
    ];
    proptest::collection::vec(step, 0..100)
}

fn take(world: &mut World, step: Step, jobs: &mut u128) {
    match step {
        Step::Submit(parallelisms, kinds) => {
            let kind = |pipelined| if pipelined { ExchangeKind::Pipelined } else { ExchangeKind::Blocking };
            let edges: Vec<_> =
                (1..parallelisms.len() as u32).map(|n| (n - 1, n, kind(kinds[n as usize - 1]))).collect();
            let graph = graph(*jobs, &parallelisms, &edges, &[]);
            *jobs += 1;
            world.submit(graph);
        }
        Step::Cancel(job) => {
            let known = job < *jobs;
            assert_eq!(world.decide(Command::CancelJob { job: JobId(job) }).is_ok(), known);
        }
        Step::Register(worker) => world.register(&format!("w{worker}")),
        Step::Disconnect(worker, killed) => world.disconnect(&format!("w{worker}"), killed),
        Step::Goodbye(worker) => {
            let name = format!("w{worker}");
            world.say(&name, ToLeader::Goodbye { reason: "drained".to_owned() });
            world.workers.remove(&name);
        }
        Step::Finish(n) => {
            if let Some((name, attempt)) = world.nth_running(n) {
                world.finish(&name, attempt);
            }
        }
        Step::Fail(n) => {
            if let Some((name, attempt)) = world.nth_running(n) {
                let failure = Failure::new(FailureKind::Io, "io");
                let update = TaskUpdate::Failed { failure, metrics: TaskMetrics::default() };
                world.update(&name, attempt, update);
            }
        }
        Step::Fetch(n) => {
            if let Some((name, attempt)) = world.nth_running(n) {
                let inputs = &world.workers[&name].running[&attempt].inputs;
                let producer = inputs.first().map_or(attempt, |gate| gate.producers[0].id.producer);
                let kind = FailureKind::FetchFailed { edge: EdgeId(0), producer };
                let failure = Failure::new(kind, "unreadable");
                let update = TaskUpdate::Failed { failure, metrics: TaskMetrics::default() };
                world.update(&name, attempt, update);
            }
        }
        Step::AnswerCancels => world.answer_cancels(),
        Step::AnswerSinks => world.answer_sinks(),
        Step::Advance(ms) => world.advance(ms),
        Step::Hold(holds) => {
            world.holds = holds;
            world.settle();
        }
        Step::Elect => world.elect(),
    }
}

proptest! {
    #[test]
    fn whatever_happens_every_job_ends_and_every_slot_comes_back(steps in steps()) {
        let (mut world, mut jobs) = (World::new(), 0);
        for step in steps {
            take(&mut world, step, &mut jobs);
        }
        world.heal(jobs as usize);
        let (total, free) = world.cluster.resources.slots();
        prop_assert_eq!((total, free), (3 * SLOTS, 3 * SLOTS));
        prop_assert!(world.cluster.masters.is_empty());
    }
}

#[test]
fn a_killed_workers_tasks_start_elsewhere_within_its_short_grace() {
    let mut world = World::new();
    world.register("w0");
    world.submit(graph(0, &[1], &[], &[]));
    world.register("w1");
    world.disconnect("w0", true);
    let lost = world.cluster.deadline().unwrap();
    assert_eq!(lost, world.now.after(std::time::Duration::from_millis(50)));
    world.advance(50);
    // The restart strategy's first delay.
    world.advance(200);
    assert_eq!(world.workers["w1"].running.len(), 1);
}

#[test]
fn a_job_goes_on_with_fewer_slots_after_it_lost_a_worker() {
    let mut world = World::new();
    world.register("w0");
    world.register("w1");
    world.submit(graph(0, &[4, 4], &[(0, 1, ExchangeKind::Pipelined)], &[]));
    world.disconnect("w1", true);
    world.advance(50);
    world.answer_cancels();
    world.advance(200);
    assert_eq!(world.workers["w0"].running.len(), 8);
    for (attempt, _) in world.workers["w0"].running.clone() {
        world.finish("w0", attempt);
    }
    world.answer_sinks();
    assert_eq!(world.ended[&JobId(0)], JobStatus::Finished);
    assert_eq!(world.cluster.resources.slots(), (2, 2));
}

#[test]
fn what_a_job_asked_for_before_it_began_shrinks_with_the_cluster() {
    let mut world = World::new();
    world.register("w0");
    world.register("w1");
    let edges = [(0, 1, ExchangeKind::Pipelined), (2, 3, ExchangeKind::Pipelined)];
    world.submit(graph(0, &[4, 4, 4, 4], &edges, &[]));
    world.disconnect("w1", true);
    world.advance(50);
    world.finish_all(1);
    assert_eq!(world.ended[&JobId(0)], JobStatus::Finished);
}

/// What every worker runs.
fn running(world: &World) -> BTreeSet<Attempt> {
    world.workers.values().flat_map(|worker| worker.running.keys().copied()).collect()
}

#[test]
fn a_leader_change_restarts_nothing() {
    let mut world = World::new();
    world.register("w0");
    world.register("w1");
    let edges = [(0, 1, ExchangeKind::Pipelined), (1, 2, ExchangeKind::Blocking)];
    world.submit(graph(0, &[2, 2, 2], &edges, &[]));
    let before = running(&world);
    assert_eq!(before.len(), 4);
    let (name, finished) = world.nth_running(0).unwrap();
    world.finish(&name, finished);
    world.elect();
    assert_eq!(world.cluster.job_status(JobId(0)), Some(JobStatus::Reconciling));
    world.submit(graph(1, &[1], &[], &[]));
    world.register("w0");
    assert_eq!(running(&world).len(), 3, "nothing is given out before everything is known");
    // One ends while nobody leads it: it says so again.
    let (name, second) = world.nth_running(0).unwrap();
    world.finish(&name, second);
    world.register("w1");
    assert_eq!(world.cluster.job_status(JobId(0)), Some(JobStatus::Running));
    assert!(running(&world).iter().all(|attempt| before.contains(attempt) || attempt.job == JobId(1)));
    let (total, free) = world.cluster.resources.slots();
    assert_eq!(
        (total, free),
        (4, 4 - world.cluster.resources.workers().map(|(_, w)| w.allocations.len() as u32).sum::<u32>())
    );
    world.finish_all(2);
    assert_eq!(world.ended[&JobId(0)], JobStatus::Finished);
    assert_eq!(world.deployed.iter().filter(|attempt| attempt.job == JobId(0)).count(), 6);
    assert_eq!(world.cluster.resources.slots(), (4, 4));
}

#[test]
fn what_runs_on_a_worker_that_does_not_find_the_next_leader_runs_again() {
    let mut world = World::new();
    world.register("w0");
    world.register("w1");
    world.submit(graph(0, &[3, 3], &[(0, 1, ExchangeKind::Pipelined)], &[]));
    let before = running(&world);
    world.elect();
    world.register("w0");
    world.advance(9_000);
    assert_eq!(running(&world), before, "it has its time");
    world.advance(1_000);
    world.advance(1_000);
    world.answer_cancels();
    world.advance(1_000);
    assert_eq!(world.workers["w0"].running.len(), 6, "all run again, on the slots that are left");
    // It comes late: what it runs is told to stop.
    world.register("w1");
    assert_eq!(world.workers["w1"].canceling, world.workers["w1"].running.keys().copied().collect());
    world.finish_all(1);
    assert_eq!(world.ended[&JobId(0)], JobStatus::Finished);
}

#[test]
fn what_was_decided_is_done_by_the_next_leader() {
    for cancel in [false, true] {
        let mut world = World::new();
        world.register("w0");
        world.submit(graph(0, &[1], &[], &[]));
        if cancel {
            world.decide(Command::CancelJob { job: JobId(0) }).unwrap();
            world.answer_cancels();
            assert_eq!(world.aborts, [JobId(0)]);
        } else {
            let (name, attempt) = world.nth_running(0).unwrap();
            world.finish(&name, attempt);
            assert_eq!(world.commits, [JobId(0)]);
        }
        world.elect();
        world.register("w0");
        let asked = (std::mem::take(&mut world.commits), std::mem::take(&mut world.aborts));
        let job = vec![JobId(0)];
        assert_eq!(asked, if cancel { (vec![], job) } else { (job, vec![]) });
        (world.commits, world.aborts) = asked;
        world.answer_sinks();
        let expected = if cancel { JobStatus::Canceled } else { JobStatus::Finished };
        assert_eq!(world.ended[&JobId(0)], expected);
    }
}

#[test]
fn nothing_is_deployed_again_before_the_quorum_knows_of_the_restart() {
    let mut world = World::new();
    world.register("w0");
    world.submit(graph(0, &[1], &[], &[]));
    world.holds = true;
    let (name, attempt) = world.nth_running(0).unwrap();
    let update =
        TaskUpdate::Failed { failure: Failure::new(FailureKind::Io, "io"), metrics: TaskMetrics::default() };
    world.update(&name, attempt, update);
    world.advance(60_000);
    assert!(running(&world).is_empty());
    assert!(world.cluster.deadline().is_none_or(|at| at > world.now), "nobody waits by going round");
    world.holds = false;
    world.settle();
    assert_eq!(running(&world), [Attempt { number: 1, ..attempt }].into());
}
