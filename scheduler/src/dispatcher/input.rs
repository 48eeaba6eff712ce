//! What comes into the dispatcher's task, from all sides.

use thalweg_graph::{CheckpointId, Failure, JobGraph, JobId, WorkerId};
use thalweg_rpc::{Registration, ToLeader, ToWorker};
use tokio::sync::{mpsc, oneshot};

use super::{
    cluster::SessionId,
    request::{Reply, Request, ScriptAccepted, ScriptRequest},
};
use crate::{
    planner::Script,
    quorum::{Leadership, ToState},
    view::JobEnd,
};

/// Something for the dispatcher.
pub(crate) enum Input {
    /// Somebody asks.
    Request(Request),
    /// A script was parsed.
    ScriptOpened { request: Box<ScriptRequest>, script: Box<dyn Script>, reply: Reply<ScriptAccepted> },
    /// A job was planned again for another parallelism.
    PlannedAgain { graph: Box<JobGraph>, reply: Reply<()> },
    /// A job of a script ends without having run.
    EndUnplanned(JobId, JobEnd),
    /// A worker has opened a session.
    Registered { session: SessionId, registration: Box<Registration>, outbox: Outbox },
    /// A worker said something.
    Said { session: SessionId, worker: WorkerId, message: ToLeader },
    /// A worker's session is over.
    SessionEnded { session: SessionId, worker: WorkerId },
    /// Output was made visible, or cannot be.
    Committed(JobId, Result<(), Failure>),
    /// A checkpoint's manifest is written, or cannot be.
    CheckpointStored(JobId, CheckpointId, Result<(), Failure>),
    /// A checkpoint's output was made visible, or cannot be.
    CheckpointCommitted(JobId, CheckpointId, Result<(), Failure>),
    /// What a checkpoint has left is visible, or cannot be made so.
    OutputRecovered(JobId, Result<(), Failure>),
    /// Output was withdrawn, as far as possible.
    Aborted(JobId),
    /// The reader of a live result has gone.
    ResultAbandoned(JobId),
    /// The quorum has decided something, or asks for the state.
    Quorum(ToState),
    /// Who leads has changed.
    Leadership(Leadership),
    /// The JobManager stops.
    Stop(oneshot::Sender<()>),
}

/// The dispatcher's end of a worker's session. Dropping it closes the session after what was sent.
pub(crate) struct Outbox {
    /// To the worker. A worker that lets it fill up is given up.
    pub(crate) messages: mpsc::Sender<ToWorker>,
    /// Goes with the outbox.
    pub(crate) _open: oneshot::Sender<()>,
}
