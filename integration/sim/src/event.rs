//! What is seen of a life: the trace lists it, invariants judge it.

use std::fmt;

use thalweg_graph::{Attempt, CheckpointId, JobEpoch, JobId, Term, WorkerId};

use crate::rows::Rows;

/// What a client asks for of a job that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddling {
    /// To end without output.
    Cancel,
    /// To end behind a savepoint.
    Stop,
    /// To go on at this parallelism.
    Rescale(u32),
}

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is told by the text it is shown as")]
pub enum Event {
    /// Something is broken on purpose, or mended.
    Fault(String),
    /// From here on nothing is broken any more, and the cluster must heal.
    Healed,
    /// A process begins.
    Started { host: String },
    /// A process ends by itself.
    Stopped { host: String, why: String },
    /// A JobManager says that it leads.
    Leads { member: u64, term: Term },
    /// A worker obeys a leader.
    Obeys { worker: WorkerId, member: u64, term: Term },
    /// A worker says how many slots it has.
    Offers { worker: WorkerId, slots: u32 },
    /// A worker registers with a leader, with what it runs.
    Registers { worker: WorkerId, running: Vec<Attempt> },
    /// A task begins to run.
    TaskBegan { worker: WorkerId, attempt: Attempt, epoch: JobEpoch, slot: u64 },
    /// It runs no more.
    TaskEnded { worker: WorkerId, attempt: Attempt, how: &'static str },
    /// A worker's process is gone, with all its tasks.
    WorkerGone { worker: WorkerId },
    /// A worker is told that a checkpoint is complete.
    Completed { worker: WorkerId, job: JobId, checkpoint: CheckpointId },
    /// The client's submission was acknowledged.
    Accepted { key: String, jobs: Vec<JobId> },
    /// The client asks for a change of a job. Whether it comes to that, only the answer says, if there is one.
    Meddled { job: JobId, meddling: Meddling },
    /// The client is told that it will be so.
    Granted { job: JobId, meddling: Meddling },
    /// A manifest was written.
    Stored { member: u64, job: JobId, checkpoint: CheckpointId, manifest: u64 },
    /// Rows were made visible.
    Committed { member: u64, job: JobId, rows: Vec<Rows> },
    /// What a job has staged was withdrawn.
    Withdrawn { member: u64, job: JobId },
    /// What the client finds of a job at the end; `None` where it is not known.
    Found { job: JobId, status: Option<String> },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Fault(what) => write!(f, "FAULT {what}"),
            Event::Healed => write!(f, "HEALED nothing is broken any more"),
            Event::Started { host } => write!(f, "{host} starts"),
            Event::Stopped { host, why } => write!(f, "{host} stops: {why}"),
            Event::Leads { member, term } => write!(f, "jm-{member} leads in term {}", term.0),
            Event::Obeys { worker, member, term } => {
                write!(f, "{worker} obeys jm-{member} of term {}", term.0)
            }
            Event::Offers { worker, slots } => write!(f, "{worker} offers {slots} slots"),
            Event::Registers { worker, running } => {
                write!(f, "{worker} registers with")?;
                running.iter().try_for_each(|attempt| write!(f, " {attempt}"))
            }
            Event::TaskBegan { worker, attempt, epoch, slot } => {
                write!(f, "{worker} begins {attempt} of epoch {} in slot {slot}", epoch.0)
            }
            Event::TaskEnded { worker, attempt, how } => write!(f, "{worker} ends {attempt}: {how}"),
            Event::WorkerGone { worker } => write!(f, "{worker} is gone"),
            Event::Completed { worker, job, checkpoint } => {
                write!(f, "{worker} hears that checkpoint {checkpoint} of {job} is complete")
            }
            Event::Accepted { key, jobs } => {
                write!(f, "client is told that `{key}` was accepted:")?;
                jobs.iter().try_for_each(|job| write!(f, " {job}"))
            }
            Event::Meddled { job, meddling } => write!(f, "client asks for {job}: {meddling:?}"),
            Event::Granted { job, meddling } => write!(f, "client is granted for {job}: {meddling:?}"),
            Event::Stored { member, job, checkpoint, manifest } => {
                write!(f, "jm-{member} stores checkpoint {checkpoint} of {job} ({manifest:016x})")
            }
            Event::Committed { member, job, rows } => {
                write!(f, "jm-{member} makes visible of {job}:")?;
                rows.iter().try_for_each(|rows| write!(f, " [{rows}]"))
            }
            Event::Withdrawn { member, job } => write!(f, "jm-{member} withdraws what {job} has staged"),
            Event::Found { job, status } => {
                write!(f, "client finds {job}: {}", status.as_deref().unwrap_or("unknown"))
            }
        }
    }
}
