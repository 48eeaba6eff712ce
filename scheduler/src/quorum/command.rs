//! Changes of the replicated state, as they stand in the log.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thalweg_graph::{
    CheckpointId, Failure, JobGraph, JobId, JobStatus, Options, WorkerId, checkpoint::CompletedCheckpoint,
    table::SinkOutput,
};

use crate::{access::TokenRecord, clock::Timestamp, job_master::SavepointOrder, view::JobEnd};

/// A JobManager's number in the quorum.
pub type MemberId = u64;

/// A change of the replicated state.
///
/// The log keeps commands by these names and those of their fields: an older log is read by a newer build, so that a field that comes
/// later needs a default, and none may change its meaning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// A member leads from here on; the term is that of the log's entry.
    Lead {
        /// Who.
        member: MemberId,
    },
    /// A worker has registered: a later leader waits for it.
    WorkerCame {
        /// Which.
        worker: WorkerId,
    },
    /// A worker is lost or has left.
    WorkerLeft {
        /// Which.
        worker: WorkerId,
    },
    /// A script was accepted: its jobs exist, without graphs.
    AcceptScript {
        /// The client's key and what the script was, by a fingerprint.
        key: Option<(String, u64)>,
        /// What to run, for a later leader.
        script: Box<ScriptRecord>,
        /// Its jobs.
        jobs: Vec<PlannedLater>,
        /// When.
        at: Timestamp,
    },
    /// A job has its graph.
    SubmitJob {
        /// The graph.
        graph: Arc<JobGraph>,
        /// When.
        at: Timestamp,
    },
    /// The user wants a job to end.
    CancelJob {
        /// Which.
        job: JobId,
    },
    /// Parts of a job run again: their attempts have this number.
    RestartJob {
        /// Which.
        job: JobId,
        /// The number.
        generation: u32,
    },
    /// All output is staged: from now on the job can only finish, whoever leads.
    DecideCommit {
        /// Which.
        job: JobId,
        /// What is to be made visible.
        sinks: Vec<SinkOutput>,
    },
    /// The job ends without output, whoever leads: that may be withdrawn.
    DecideEnd {
        /// Which.
        job: JobId,
        /// `Failed` or `Canceled`.
        status: JobStatus,
        /// Why, if it failed.
        failure: Option<Failure>,
    },
    /// A checkpoint is complete: from now on it is the one to go on from, and what was prepared for it is to be made visible, whoever
    /// leads.
    CompleteCheckpoint {
        /// Of which job.
        job: JobId,
        /// The checkpoint.
        completed: CompletedCheckpoint,
        /// What is to be made visible.
        sinks: Vec<SinkOutput>,
        /// The savepoint order that it fulfils.
        #[serde(default)]
        trigger: Option<String>,
    },
    /// A savepoint was asked for: a later leader takes it, if this one does not come to it.
    OrderSavepoint {
        /// Of which job.
        job: JobId,
        /// What was asked for.
        order: SavepointOrder,
    },
    /// A savepoint that was asked for has come to nothing.
    RefuseSavepoint {
        /// Of which job.
        job: JobId,
        /// Which.
        trigger: String,
        /// Why.
        why: String,
    },
    /// What was prepared for a checkpoint is visible.
    CheckpointVisible {
        /// Of which job.
        job: JobId,
        /// Which.
        checkpoint: CheckpointId,
    },
    /// A job is over.
    EndJob {
        /// Which.
        job: JobId,
        /// How.
        end: JobEnd,
        /// When.
        at: Timestamp,
        /// How many jobs that have ended are remembered.
        ended_max: u32,
    },
    /// A token was made.
    CreateToken {
        /// What is kept of it.
        token: TokenRecord,
    },
    /// A token counts no more.
    RevokeToken {
        /// Which.
        name: String,
    },
    /// A stream goes on from its newest checkpoint with another graph: that of the same statement, planned for another parallelism.
    RescaleJob {
        /// The graph.
        graph: Arc<JobGraph>,
    },
}

/// A script as a later leader needs it to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptRecord {
    /// The script.
    pub text: String,
    /// The name of its jobs, if the client gave one.
    pub name: Option<String>,
    /// The options of its session.
    pub options: Options,
}

/// A job of a script before its statement's turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedLater {
    /// Its id.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Its statement.
    pub statement: String,
    /// The line on which that starts.
    pub line: u64,
    /// Whether it has a result for the client.
    pub is_query: bool,
}
