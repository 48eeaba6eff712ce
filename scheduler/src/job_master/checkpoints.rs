//! What a streaming job's master knows of its checkpoints: the one under way, those that are complete, and the savepoints that
//! were asked for.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use thalweg_graph::{
    CheckpointId, Failure, JobId, Options, SubtaskId,
    checkpoint::{AfterBarrier, Barrier, CompletedCheckpoint, SubtaskSnapshot},
    options::{self, InvalidValue},
    table::Committable,
};

use crate::{
    clock::Timestamp,
    view::{CheckpointCounts, CheckpointRecord, CheckpointStatus, RestoredCheckpoint, SavepointStatus},
};

/// Checkpoints that readers are shown.
const RECORDS_MAX: usize = 10;
/// Outcomes of savepoints that are remembered.
const OUTCOMES_MAX: usize = 64;

/// What a job's options say of its checkpoints.
#[derive(Debug, Clone)]
pub struct CheckpointSettings {
    /// How often one is begun; `None` for never.
    pub interval: Option<Duration>,
    /// The least time between the end of one and the beginning of the next.
    pub min_pause: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// How many in a row may fail.
    pub tolerable_failures: u32,
    /// How many complete ones are kept.
    pub retained: usize,
    /// The folder of all jobs' checkpoints; empty where there is none.
    pub folder: String,
    /// What becomes of them when the job ends.
    pub retention: Retention,
    /// What the job goes on from when it begins.
    pub recovery: Option<String>,
}

/// What becomes of a job's checkpoints when it ends without having finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// They go.
    Never,
    /// They stay if it failed.
    OnFailure,
    /// They stay.
    Always,
}

impl CheckpointSettings {
    /// Reads them.
    pub fn read(job: &Options) -> Result<Self, InvalidValue> {
        let interval: Duration = job.get(&options::CHECKPOINT_INTERVAL)?;
        let interval = (!interval.is_zero()).then_some(interval);
        let folder: String = job.get(&options::CHECKPOINT_DIR)?;
        let invalid = |key: &str, value: &str, expected: &str| InvalidValue {
            key: key.to_owned(),
            value: value.to_owned(),
            expected: expected.to_owned(),
        };
        if interval.is_some() && folder.is_empty() {
            let expected = "the URL of a folder that all workers can reach, since checkpoints are taken";
            return Err(invalid(options::CHECKPOINT_DIR.name, "", expected));
        }
        let retention: String = job.get(&options::CHECKPOINT_RETENTION)?;
        let retention = match retention.as_str() {
            "NO_EXTERNALIZED_CHECKPOINTS" => Retention::Never,
            "DELETE_ON_CANCELLATION" => Retention::OnFailure,
            "RETAIN_ON_CANCELLATION" => Retention::Always,
            other => {
                let expected =
                    "`NO_EXTERNALIZED_CHECKPOINTS`, `DELETE_ON_CANCELLATION` or `RETAIN_ON_CANCELLATION`";
                return Err(invalid(options::CHECKPOINT_RETENTION.name, other, expected));
            }
        };
        let recovery: String = job.get(&options::RECOVERY_PATH)?;
        Ok(Self {
            interval,
            min_pause: job.get(&options::CHECKPOINT_MIN_PAUSE)?,
            timeout: job.get(&options::CHECKPOINT_TIMEOUT)?,
            tolerable_failures: job.get(&options::CHECKPOINT_TOLERABLE_FAILURES)?,
            retained: job.get(&options::CHECKPOINTS_RETAINED)?.max(1) as usize,
            folder,
            retention,
            recovery: (!recovery.is_empty()).then_some(recovery),
        })
    }
}

/// A savepoint that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavepointOrder {
    /// Names it to whoever asked.
    pub trigger: String,
    /// Its folder, as a URL; `None` for a checkpoint of the job's own at this moment.
    pub folder: Option<String>,
    /// What becomes of the job behind it.
    pub then: AfterBarrier,
}

/// The folder of a savepoint: one of its own, named by `unique`, in the one that is asked for, or in that of the job's options. `None` where
/// neither is.
pub fn savepoint_folder(
    job: JobId,
    job_options: &Options,
    target: Option<String>,
    unique: JobId,
) -> Option<String> {
    let target = target.unwrap_or_else(|| job_options.get(&options::SAVEPOINT_DIR).unwrap_or_default());
    let (id, unique) = (job.to_string(), unique.to_string());
    (!target.is_empty())
        .then(|| format!("{}/savepoint-{}-{}", target.trim_end_matches('/'), &id[..6], &unique[..12]))
}

/// The state.
#[derive(Debug)]
pub struct Checkpoints {
    /// What the options say.
    pub settings: CheckpointSettings,
    /// The job's own folder.
    pub folder: String,
    /// The manifest from which tasks go on when they are deployed.
    pub restored: Option<String>,
    /// When the next one is due; `None` while the job does not run whole.
    pub next_at: Option<Timestamp>,
    /// The one under way.
    pub pending: Option<Pending>,
    /// Those that are complete and kept, the oldest first.
    pub completed: VecDeque<CompletedCheckpoint>,
    /// What finished subtasks have left.
    pub last: BTreeMap<SubtaskId, SubtaskSnapshot>,
    /// Savepoints that wait for their turn.
    pub orders: VecDeque<SavepointOrder>,
    /// Whether what sinks have staged stays when the job fails: a checkpoint that stays too could not make it visible.
    pub keeps_staged: bool,
    /// Whether the job's last one, behind which nothing comes, was taken.
    pub last_taken: bool,
    /// The newest that is complete, a savepoint too: what sinks had prepared up to it is visible, or will be.
    pub complete_upto: Option<CheckpointId>,
    /// How many in a row have failed.
    pub failed_in_row: u32,
    records: VecDeque<CheckpointRecord>,
    ended: CheckpointCounts,
    last_restored: Option<RestoredCheckpoint>,
    outcomes: BTreeMap<String, SavepointStatus>,
    /// Savepoints that have come to nothing and whose order the quorum still remembers.
    pub refused: Vec<(String, String)>,
    outcomes_order: VecDeque<String>,
    next: u64,
}

/// A checkpoint under way.
#[derive(Debug)]
pub struct Pending {
    /// Its barrier.
    pub barrier: Barrier,
    /// When it was begun.
    pub triggered: Timestamp,
    /// Who has not answered.
    pub waiting: BTreeSet<SubtaskId>,
    /// What was answered.
    pub snapshots: BTreeMap<SubtaskId, SubtaskSnapshot>,
    /// How far it is.
    pub step: Step,
    /// Who asked for it.
    pub trigger: Option<String>,
}

/// How far a checkpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Subtasks store their parts.
    Collecting,
    /// Its manifest is written.
    Storing,
    /// It is complete; what sinks have prepared is made visible.
    Committing,
}

impl Checkpoints {
    /// Of a job that begins.
    pub fn new(job: JobId, settings: CheckpointSettings) -> Self {
        let folder = format!("{}/{job}", settings.folder.trim_end_matches('/'));
        Self {
            folder: if settings.folder.is_empty() { String::new() } else { folder },
            restored: settings.recovery.clone(),
            settings,
            next_at: None,
            pending: None,
            completed: VecDeque::new(),
            last: BTreeMap::new(),
            orders: VecDeque::new(),
            keeps_staged: false,
            last_taken: false,
            complete_upto: None,
            failed_in_row: 0,
            records: VecDeque::new(),
            ended: CheckpointCounts::default(),
            last_restored: None,
            outcomes: BTreeMap::new(),
            refused: Vec::new(),
            outcomes_order: VecDeque::new(),
            next: 1,
        }
    }

    /// When there is something to do.
    pub fn deadline(&self) -> Option<Timestamp> {
        match &self.pending {
            Some(Pending { step: Step::Collecting, triggered, .. }) => {
                Some(triggered.after(self.settings.timeout))
            }
            Some(_) => None,
            None => self.next_at,
        }
    }

    /// The number of the next one.
    pub fn next_id(&mut self) -> CheckpointId {
        self.next += 1;
        CheckpointId(self.next - 1)
    }

    /// The next one comes behind this one.
    pub fn go_on_behind(&mut self, newest: Option<CheckpointId>) {
        self.next = self.next.max(newest.map_or(1, |newest| newest.0 + 1));
    }

    /// Leaves numbers out.
    pub fn skip(&mut self, numbers: u64) {
        self.next += numbers;
    }

    /// What the sink of a subtask has prepared and no complete checkpoint has taken: for earlier checkpoints that were given up, and for this.
    pub fn prepared<'a>(
        &self,
        snapshot: &'a SubtaskSnapshot,
    ) -> impl Iterator<Item = &'a Committable> + use<'a> {
        let upto = self.complete_upto;
        let earlier = snapshot.earlier.iter().filter(move |(checkpoint, _)| Some(*checkpoint) > upto);
        earlier.flat_map(|(_, prepared)| prepared).chain(&snapshot.committables)
    }

    /// Where the manifest of the one under way goes.
    pub fn manifest_url(&self, barrier: &Barrier) -> String {
        match &barrier.savepoint {
            Some(folder) => format!("{}/_metadata", folder.trim_end_matches('/')),
            None => format!("{}/chk-{}/_metadata", self.folder, barrier.checkpoint),
        }
    }

    /// Whether the one under way is complete and not yet visible: tasks must not start again before it is.
    pub fn is_committing(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.step == Step::Committing)
    }

    /// Takes note of a savepoint that was asked for.
    pub fn order(&mut self, order: SavepointOrder) {
        self.set_outcome(&order.trigger, SavepointStatus::InProgress);
        self.orders.push_back(order);
    }

    /// How a savepoint that was asked for stands.
    pub fn outcome(&self, trigger: &str) -> Option<&SavepointStatus> {
        self.outcomes.get(trigger)
    }

    /// How all that were asked for stand, as far as they are remembered.
    pub fn outcomes(&self) -> &BTreeMap<String, SavepointStatus> {
        &self.outcomes
    }

    /// Notes how a savepoint stands.
    pub fn set_outcome(&mut self, trigger: &str, status: SavepointStatus) {
        if let SavepointStatus::Failed(why) = &status {
            self.refused.push((trigger.to_owned(), why.clone()));
        }
        if self.outcomes.insert(trigger.to_owned(), status).is_none() {
            self.outcomes_order.push_back(trigger.to_owned());
        }
        while self.outcomes_order.len() > OUTCOMES_MAX {
            if let Some(oldest) = self.outcomes_order.pop_front() {
                self.outcomes.remove(&oldest);
            }
        }
    }

    /// Every savepoint that waits comes to nothing.
    pub fn refuse_orders(&mut self, why: &Failure) {
        for order in std::mem::take(&mut self.orders) {
            self.set_outcome(&order.trigger, SavepointStatus::Failed(why.message.clone()));
        }
    }

    /// Shows a checkpoint to readers, or what has become of it.
    pub fn record(&mut self, pending: &Pending, status: CheckpointStatus, ended: Option<Timestamp>) {
        let statistics = pending.snapshots.values().map(|snapshot| &snapshot.statistics);
        let record = CheckpointRecord {
            checkpoint: pending.barrier.checkpoint,
            status,
            savepoint: pending.barrier.savepoint.is_some(),
            path: self.manifest_url(&pending.barrier).trim_end_matches("/_metadata").to_owned(),
            triggered: pending.triggered,
            ended,
            state_bytes: statistics.clone().map(|part| part.state_bytes).sum(),
            stored_bytes: statistics.clone().map(|part| part.stored_bytes).sum(),
            alignment_ms_max: statistics.clone().map(|part| part.alignment_ms).max().unwrap_or(0),
            sync_ms_max: statistics.clone().map(|part| part.sync_ms).max().unwrap_or(0),
            async_ms_max: statistics.map(|part| part.async_ms).max().unwrap_or(0),
            subtasks: (pending.waiting.len() + pending.snapshots.len()) as u32,
            acknowledged: pending.snapshots.len() as u32,
            parts: pending.snapshots.iter().map(|(id, snapshot)| (*id, snapshot.statistics)).collect(),
        };
        match record.status {
            CheckpointStatus::InProgress => {}
            CheckpointStatus::Completed => self.ended.completed += 1,
            CheckpointStatus::Failed(_) => self.ended.failed += 1,
        }
        let known = self.records.iter_mut().find(|known| known.checkpoint == record.checkpoint);
        match known {
            Some(known) => *known = record,
            None => self.records.push_back(record),
        }
        while self.records.len() > RECORDS_MAX {
            self.records.pop_front();
        }
    }

    /// The job begins or starts again: from a checkpoint or savepoint, where there is one.
    pub fn count_restore(&mut self, now: Timestamp) {
        self.ended.restored += u64::from(self.restored.is_some() || self.is_committing());
        if let Some(manifest) = &self.restored {
            self.last_restored = Some(self.restored_from(manifest, now));
        }
    }

    /// A checkpoint of its own is among those that it shows; the name of another's folder tells what it is, unless somebody has moved it.
    fn restored_from(&self, manifest: &str, at: Timestamp) -> RestoredCheckpoint {
        let path = manifest.trim_end_matches("/_metadata").to_owned();
        let known = self.records.iter().find(|record| record.path == path);
        let folder = path.rsplit('/').next().unwrap_or_default();
        let number = folder.strip_prefix("chk-").and_then(|number| number.parse().ok()).map(CheckpointId);
        let checkpoint = known.map(|record| record.checkpoint).or(number);
        let savepoint = match known {
            Some(record) => Some(record.savepoint),
            None if number.is_some() => Some(false),
            None => folder.starts_with("savepoint-").then_some(true),
        };
        RestoredCheckpoint { path, checkpoint, savepoint, at }
    }

    /// What the job has gone on from last.
    pub fn last_restored(&self) -> Option<&RestoredCheckpoint> {
        self.last_restored.as_ref()
    }

    /// How many have ended so far.
    pub fn ended(&self) -> CheckpointCounts {
        self.ended
    }

    /// The newest checkpoints, oldest first.
    pub fn records(&self) -> impl Iterator<Item = &CheckpointRecord> {
        self.records.iter()
    }

    /// Whether the checkpoints stay when the job ends so.
    pub fn stay_after(&self, failed: bool) -> bool {
        match self.settings.retention {
            Retention::Never => false,
            Retention::OnFailure => failed,
            Retention::Always => true,
        }
    }
}
