//! What a job master is told, and what it answers.

use std::{collections::BTreeSet, sync::Arc};

use thalweg_graph::{
    Attempt, CheckpointId, Failure, JobGraph, JobStatus, TaskDescriptor, TaskReport, WorkerId,
    checkpoint::{Barrier, CompletedCheckpoint, Manifest, SubtaskSnapshot},
    exchange::ResultPartitionId,
    table::SinkOutput,
};
use thalweg_rpc::{RunningTask, TaskUpdate};

use super::{RegionId, checkpoints::SavepointOrder};
use crate::resource_manager::{AllocationId, GrantedSlot, Location, SlotWish};

/// Something happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The job begins.
    Start,
    /// A region has its slots.
    SlotsGranted {
        /// Which.
        region: RegionId,
        /// One for each wish, or fewer where that was allowed.
        slots: Vec<GrantedSlot>,
    },
    /// A region will not get its slots.
    SlotsRefused {
        /// Which.
        region: RegionId,
        /// Why: `needs 4 slots, 2 are free on 1 worker`.
        reason: String,
    },
    /// A task changed.
    Task {
        /// The worker that says so.
        worker: WorkerId,
        /// The attempt.
        attempt: Attempt,
        /// How.
        update: TaskUpdate,
    },
    /// What running tasks say of themselves.
    Reports(Vec<TaskReport>),
    /// A worker is gone with all that ran and lay there.
    WorkerLost {
        /// Which.
        worker: WorkerId,
        /// Why it counts as lost.
        reason: String,
    },
    /// A worker registered again, after its connection broke, with what it still runs and holds of this job.
    WorkerReturned {
        /// Which, and where it is found.
        location: Arc<Location>,
        /// The tasks.
        running: Vec<RunningTask>,
        /// Tasks that have ended there, with how.
        ended: Vec<(Attempt, TaskUpdate)>,
        /// The partitions.
        partitions: BTreeSet<ResultPartitionId>,
    },
    /// Every worker that was known has registered with this leader, or had its time to.
    Reconciled,
    /// The quorum knows of a restart.
    RestartNoted(u32),
    /// The quorum has decided that the job goes on with another graph.
    Rescaled {
        /// The graph.
        graph: Arc<JobGraph>,
        /// The number of its first attempts.
        generation: u32,
    },
    /// The quorum knows that the job ends without output.
    EndDecided,
    /// The user wants it to end.
    Cancel,
    /// The output was made visible, or cannot be.
    Committed(Result<(), Failure>),
    /// The output was withdrawn, as far as possible.
    Aborted,
    /// A subtask has stored what it kept at a barrier, or could not.
    Snapshot {
        /// Which attempt.
        attempt: Attempt,
        /// Which checkpoint.
        checkpoint: CheckpointId,
        /// What was kept.
        snapshot: Result<Box<SubtaskSnapshot>, Failure>,
    },
    /// A checkpoint's manifest is written, or cannot be.
    CheckpointStored {
        /// Which.
        checkpoint: CheckpointId,
        /// How it went.
        outcome: Result<(), Failure>,
    },
    /// The output of a checkpoint was made visible, or cannot be.
    CheckpointCommitted {
        /// Which.
        checkpoint: CheckpointId,
        /// How it went.
        outcome: Result<(), Failure>,
    },
    /// What the checkpoint that the job begins with has left to be made visible is visible, or cannot be made so.
    OutputRecovered(Result<(), Failure>),
    /// A source that keeps pace with others has come so far.
    SourceTime {
        /// Which attempt.
        attempt: Attempt,
        /// Its group.
        group: String,
        /// In milliseconds of event time; `None` where nobody is to wait for it.
        watermark_ms: Option<i64>,
        /// How far it may be ahead of the slowest.
        max_drift_ms: i64,
    },
    /// Somebody wants a savepoint.
    Savepoint(SavepointOrder),
    /// Time has passed.
    Tick,
}

/// Something must be done.
#[derive(Debug, Clone)]
pub enum Action {
    /// Ask for slots for a region.
    RequestSlots {
        /// Which.
        region: RegionId,
        /// One for each slot.
        wishes: Vec<SlotWish>,
        /// Whether fewer slots will do where the cluster has no more: each then takes several subtasks of a vertex.
        may_shrink: bool,
    },
    /// The region does not need its slots any more.
    CancelRequest(RegionId),
    /// Give a slot back.
    ReleaseSlot(AllocationId),
    /// A slot that another leader gave to the job is still in use.
    AdoptSlot {
        /// Where it is.
        worker: WorkerId,
        /// Its number.
        allocation: AllocationId,
    },
    /// Have the quorum know of a restart, before what is restarted is deployed; answered by `RestartNoted`.
    NoteRestart(u32),
    /// Have the quorum know that the job ends so, before its output is withdrawn; answered by `EndDecided`.
    DecideEnd {
        /// `Failed` or `Canceled`.
        status: JobStatus,
        /// Why, if it failed.
        failure: Option<Failure>,
    },
    /// A savepoint that was asked for has come to nothing.
    RefuseSavepoint {
        /// Which.
        trigger: String,
        /// Why.
        why: String,
    },
    /// Make a checkpoint's output visible that is complete already; answered by `CheckpointCommitted`.
    CommitCheckpoint {
        /// Which.
        checkpoint: CheckpointId,
        /// What was prepared.
        sinks: Vec<SinkOutput>,
    },
    /// Start tasks on a worker.
    Deploy {
        /// Which worker.
        worker: WorkerId,
        /// The tasks.
        tasks: Vec<Arc<TaskDescriptor>>,
    },
    /// Stop a task.
    CancelTask {
        /// Where it runs.
        worker: WorkerId,
        /// Which attempt.
        attempt: Attempt,
    },
    /// Nobody will read these partitions.
    ReleasePartitions {
        /// Where they lie.
        worker: WorkerId,
        /// Which.
        partitions: Vec<ResultPartitionId>,
    },
    /// The rows that this attempt has sent are the job's result.
    PublishResult(Attempt),
    /// The rows that this attempt has sent are void.
    DropResult(Attempt),
    /// Let a barrier pass from sources.
    TriggerCheckpoint {
        /// Where they run.
        worker: WorkerId,
        /// Their attempts.
        attempts: Vec<Attempt>,
        /// The barrier.
        barrier: Barrier,
    },
    /// Tell a source how far it may go in event time.
    AlignSource {
        /// Where it runs.
        worker: WorkerId,
        /// Its attempt.
        attempt: Attempt,
        /// In milliseconds.
        allowed_ms: i64,
    },
    /// Tell sources that a checkpoint is complete.
    NotifyCheckpoint {
        /// Where they run.
        worker: WorkerId,
        /// Their attempts.
        attempts: Vec<Attempt>,
        /// Which.
        checkpoint: CheckpointId,
    },
    /// Write a manifest; answered by `CheckpointStored`.
    StoreCheckpoint {
        /// Where, as a URL.
        url: String,
        /// The manifest.
        manifest: Box<Manifest>,
    },
    /// The checkpoint is complete: make visible what was prepared for it; answered by `CheckpointCommitted`.
    CompleteCheckpoint {
        /// The checkpoint.
        completed: CompletedCheckpoint,
        /// What was prepared.
        sinks: Vec<SinkOutput>,
        /// Who asked for it.
        trigger: Option<String>,
    },
    /// The job begins with this checkpoint of another one: make visible what that may have left; answered by `OutputRecovered`.
    RecoverOutput {
        /// The manifest, or its folder, as a URL.
        manifest: String,
        /// This job's sinks.
        sinks: Vec<SinkOutput>,
    },
    /// A checkpoint is not kept any more.
    RemoveCheckpoint {
        /// Its manifest.
        manifest: String,
        /// The manifests of those that are, with which it may share files.
        kept: Vec<String>,
    },
    /// No checkpoint of the job is kept.
    RemoveCheckpoints {
        /// Their folder.
        folder: String,
    },
    /// Make the output visible; answered by `Committed`.
    Commit(Vec<SinkOutput>),
    /// Withdraw the output; answered by `Aborted`.
    Abort(Vec<SinkOutput>),
    /// The job is over.
    Ended {
        /// `Finished`, `Failed` or `Canceled`.
        status: JobStatus,
        /// Why, if it failed.
        failure: Option<Failure>,
        /// Workers that may keep something of it.
        workers: BTreeSet<WorkerId>,
    },
}
