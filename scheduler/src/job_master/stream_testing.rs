//! A stream for tests: two sources and one sink, deployed on one worker that does what it is told at once.

use thalweg_graph::{
    CheckpointId, FailureKind, TaskDescriptor,
    checkpoint::Barrier,
    exchange::ExchangeKind::Pipelined,
    table::{Committable, SinkOutput},
};

use super::*;
use crate::testing::graph;

/// Between two checkpoints.
pub(super) const INTERVAL_MS: u64 = 1_000;

/// A job that runs on one worker, and all that it has asked for.
pub(super) struct Stream {
    pub(super) master: JobMaster,
    pub(super) now: Timestamp,
    slots_made: u64,
    pub(super) tasks: BTreeMap<SubtaskId, Arc<TaskDescriptor>>,
    /// What was asked for and not looked at yet.
    pub(super) actions: Vec<Action>,
}

impl Stream {
    /// Two subtasks of a source, one of a sink.
    pub(super) fn start(options: &[(&str, &str)]) -> Stream {
        Self::start_with(options, |_| {})
    }

    /// The same with a change of its graph.
    pub(super) fn start_with(options: &[(&str, &str)], change: impl FnOnce(&mut JobGraph)) -> Stream {
        let mut all = vec![
            ("execution.checkpointing.interval", "1 s"),
            ("execution.checkpointing.dir", "file:///c"),
            ("restart-strategy.exponential-delay.initial-backoff", "0 ms"),
        ];
        all.extend(options);
        let mut graph = graph(7, &[2, 1], &[(0, 1, Pipelined)], &all);
        graph.mode = RuntimeMode::Streaming;
        change(&mut graph);
        let settings = Settings::read(&graph.options).unwrap();
        let master = JobMaster::new(Arc::new(graph), JobEpoch(0), settings, Timestamp(0));
        let (tasks, actions) = Default::default();
        let mut stream = Stream { master, now: Timestamp(0), slots_made: 0, tasks, actions };
        stream.tell(Event::Start);
        stream.run();
        stream
    }

    pub(super) fn tell(&mut self, event: Event) {
        let mut decided = Vec::new();
        for action in self.master.handle(event, self.now) {
            match action {
                Action::RequestSlots { region, wishes, .. } => self.grant(region, wishes.len()),
                Action::Deploy { tasks, .. } => {
                    self.tasks.extend(tasks.into_iter().map(|task| (task.attempt.subtask, task)));
                }
                Action::CancelTask { attempt, .. } => self.update(attempt, TaskUpdate::Canceled),
                Action::ReleaseSlot(_) => {}
                Action::NoteRestart(generation) => decided.push(Event::RestartNoted(generation)),
                Action::DecideEnd { .. } => decided.push(Event::EndDecided),
                other => self.actions.push(other),
            }
        }
        decided.into_iter().for_each(|event| self.tell(event));
    }

    pub(super) fn grant(&mut self, region: RegionId, slots: usize) {
        let slot = |number: u64| GrantedSlot {
            allocation: AllocationId(number),
            location: Arc::new(Location { worker: WorkerId("w".to_owned()), data_address: "w:1".to_owned() }),
        };
        let slots = (0..slots).map(|_| {
            self.slots_made += 1;
            slot(self.slots_made)
        });
        let slots = slots.collect();
        self.tell(Event::SlotsGranted { region, slots });
    }

    pub(super) fn update(&mut self, attempt: Attempt, update: TaskUpdate) {
        self.tell(Event::Task { worker: WorkerId("w".to_owned()), attempt, update });
    }

    /// Every subtask's operators stand.
    pub(super) fn run(&mut self) {
        let attempts: Vec<_> = self.tasks.values().map(|task| task.attempt).collect();
        attempts.into_iter().for_each(|attempt| self.update(attempt, TaskUpdate::Running));
    }

    pub(super) fn attempt(&self, vertex: u32, index: u32) -> Attempt {
        self.tasks[&SubtaskId { vertex: VertexId(vertex), index }].attempt
    }

    /// Lets so much time pass.
    pub(super) fn pass(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
        self.tell(Event::Tick);
    }

    pub(super) fn taken<T>(&mut self, wanted: impl Fn(&Action) -> Option<T>) -> Vec<T> {
        let found = self.actions.iter().filter_map(&wanted).collect();
        self.actions.retain(|action| wanted(action).is_none());
        found
    }

    /// The barriers that sources were told to let pass.
    pub(super) fn barriers(&mut self) -> Vec<(Vec<Attempt>, Barrier)> {
        self.taken(|action| match action {
            Action::TriggerCheckpoint { attempts, barrier, .. } => Some((attempts.clone(), barrier.clone())),
            _ => None,
        })
    }

    pub(super) fn snapshot(&mut self, vertex: u32, index: u32, checkpoint: u64, committable: Option<&str>) {
        let committables = committable.iter().map(|text| Committable(text.to_string().into())).collect();
        let snapshot = SubtaskSnapshot { committables, ..SubtaskSnapshot::default() };
        let (attempt, checkpoint) = (self.attempt(vertex, index), CheckpointId(checkpoint));
        self.tell(Event::Snapshot { attempt, checkpoint, snapshot: Ok(Box::new(snapshot)) });
    }

    /// A sink's answer, with what it had prepared for earlier checkpoints.
    pub(super) fn snapshot_with(
        &mut self,
        vertex: u32,
        index: u32,
        checkpoint: u64,
        earlier: &[(u64, &str)],
        own: &str,
    ) {
        let committable = |text: &str| vec![Committable(text.to_owned().into())];
        let earlier = earlier.iter().map(|(id, text)| (CheckpointId(*id), committable(text))).collect();
        let snapshot =
            SubtaskSnapshot { committables: committable(own), earlier, ..SubtaskSnapshot::default() };
        let (attempt, checkpoint) = (self.attempt(vertex, index), CheckpointId(checkpoint));
        self.tell(Event::Snapshot { attempt, checkpoint, snapshot: Ok(Box::new(snapshot)) });
    }

    pub(super) fn all_snapshots(&mut self, checkpoint: u64, committable: Option<&str>) {
        self.snapshot(0, 0, checkpoint, None);
        self.snapshot(0, 1, checkpoint, None);
        self.snapshot(1, 0, checkpoint, committable);
    }

    /// Where manifests were to be written.
    pub(super) fn stored(&mut self) -> Vec<String> {
        self.taken(|action| match action {
            Action::StoreCheckpoint { url, .. } => Some(url.clone()),
            _ => None,
        })
    }

    /// What was to be committed, by checkpoint.
    pub(super) fn completed(&mut self) -> Vec<(u64, Vec<String>)> {
        self.taken(|action| match action {
            Action::CompleteCheckpoint { completed, sinks, .. } => {
                Some((completed.checkpoint.0, texts(sinks)))
            }
            _ => None,
        })
    }

    pub(super) fn store(&mut self, checkpoint: u64) {
        self.tell(Event::CheckpointStored { checkpoint: CheckpointId(checkpoint), outcome: Ok(()) });
    }

    pub(super) fn commit(&mut self, checkpoint: u64) {
        self.tell(Event::CheckpointCommitted { checkpoint: CheckpointId(checkpoint), outcome: Ok(()) });
    }

    /// A whole checkpoint, as it goes well.
    pub(super) fn checkpoint(&mut self, checkpoint: u64, committable: Option<&str>) {
        self.pass(INTERVAL_MS);
        self.all_snapshots(checkpoint, committable);
        self.store(checkpoint);
        self.commit(checkpoint);
        self.barriers();
        self.stored();
        self.completed();
    }

    pub(super) fn fail(&mut self, attempt: Attempt, kind: FailureKind) {
        let failure = Failure::new(kind, "it broke");
        self.update(attempt, TaskUpdate::Failed { failure, metrics: TaskMetrics::default() });
        self.pass(0);
    }

    pub(super) fn finish(&mut self, vertex: u32, index: u32, committable: Option<&str>) {
        let committables = committable.iter().map(|text| Committable(text.to_string().into())).collect();
        let (metrics, last) = (TaskMetrics::default(), Some(Box::default()));
        let attempt = self.attempt(vertex, index);
        self.update(attempt, TaskUpdate::Finished { metrics, committables, last });
    }

    /// What the tasks were last told to go on from.
    pub(super) fn restored(&self) -> Vec<Option<String>> {
        self.tasks.values().map(|task| task.checkpoints.clone().unwrap().restored).collect()
    }

    pub(super) fn final_commit(&mut self) -> Vec<Vec<String>> {
        self.taken(|action| match action {
            Action::Commit(sinks) => Some(texts(sinks)),
            _ => None,
        })
    }
}

pub(super) fn texts(sinks: &[SinkOutput]) -> Vec<String> {
    let committables = sinks.iter().flat_map(|sink| &sink.committables);
    committables.map(|committable| String::from_utf8_lossy(&committable.0).into_owned()).collect()
}
