//! Why the dispatcher refuses something.

use thalweg_graph::{Failure, JobId, SqlError, VertexId, job_graph, options};

use crate::quorum::{Refusal, Undecided};

/// A refusal.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No job has this id, or it ended so long ago that it was dropped.
    #[error("there is no job `{0}`")]
    UnknownJob(JobId),
    /// The job has no such vertex.
    #[error("job `{job}` has no vertex `{vertex}`")]
    UnknownVertex {
        /// The job.
        job: JobId,
        /// What was asked for.
        vertex: VertexId,
    },
    /// No worker has this id.
    #[error("there is no worker `{0}`")]
    UnknownWorker(String),
    /// The graph does not hold together.
    #[error("the job graph is not valid: {0}")]
    InvalidGraph(#[from] job_graph::Error),
    /// An option of the job has a value that it cannot take.
    #[error(transparent)]
    InvalidOption(#[from] thalweg_graph::options::InvalidValue),
    /// The graph was planned by another build.
    #[error(
        "the job was planned by build `{planned}`, this JobManager is build `{ours}`: submit the script again"
    )]
    OtherBuild {
        /// Who planned it.
        planned: String,
        /// Who we are.
        ours: String,
    },
    /// The cluster has no such queue.
    #[error("`{name}` cannot be `{queue}`: the cluster has {known}", name = options::JOB_QUEUE.name)]
    UnknownQueue {
        /// What was asked for.
        queue: String,
        /// What there is.
        known: String,
    },
    /// A job of this id was submitted before.
    #[error("job `{0}` exists already")]
    JobExists(JobId),
    /// The job returns no rows.
    #[error("job `{0}` has no result: it is not a query")]
    NoResult(JobId),
    /// The result was dropped after its time.
    #[error(
        "the result of job `{0}` is gone: it was not read in time, or another JobManager leads since; run the query again"
    )]
    ResultGone(JobId),
    /// A live result has one reader.
    #[error("the rows of job `{0}` are read by another reader, or were: a live result can be read once")]
    ResultTaken(JobId),
    /// A page of a live result that was given out, or does not come next.
    #[error("the live result of job `{job}` has no page {token} any more or yet: the next one is {next}")]
    PageOutOfTurn {
        /// The job.
        job: JobId,
        /// The page asked for.
        token: u64,
        /// The page that can be had.
        next: u64,
    },
    /// A page that is not there.
    #[error("the result of job `{job}` has no page {token}: it ends before")]
    NoPage {
        /// The job.
        job: JobId,
        /// The page asked for.
        token: u64,
    },
    /// The spooled result cannot be read.
    #[error("cannot read the result of job `{job}`: {reason}")]
    ResultUnreadable {
        /// The job.
        job: JobId,
        /// Why.
        reason: String,
    },
    /// The job ended without a result.
    #[error("job `{job}` failed: {failure}")]
    JobFailed {
        /// The job.
        job: JobId,
        /// Why.
        failure: Failure,
    },
    /// The job was cancelled.
    #[error("job `{0}` was cancelled")]
    JobCanceled(JobId),
    /// Only a job that runs can have a savepoint.
    #[error("job `{0}` does not run")]
    NotRunning(JobId),
    /// Only a stream can have a savepoint.
    #[error("job `{0}` is a batch job: it has no state to keep or to go on from")]
    NoStream(JobId),
    /// The job cannot go on at another parallelism.
    #[error("job `{job}` cannot be rescaled: {why}")]
    CannotRescale {
        /// The job.
        job: JobId,
        /// Why.
        why: String,
    },
    /// Nobody asked for this savepoint, or so long ago that it was dropped.
    #[error("job `{job}` knows no trigger `{trigger}`")]
    UnknownTrigger {
        /// The job.
        job: JobId,
        /// What was asked for.
        trigger: String,
    },
    /// The job may have ended long ago, and nobody can look.
    #[error("jobs that have ended cannot be looked at: {0}")]
    HistoryUnreadable(Failure),
    /// The script was refused.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The idempotency key belongs to another script.
    #[error("the idempotency key `{0}` was used for another script")]
    KeyReused(String),
    /// A token has this name.
    #[error("{}", Refusal::TokenExists(.0.clone()))]
    TokenExists(String),
    /// No token has this name.
    #[error("{}", Refusal::UnknownToken(.0.clone()))]
    UnknownToken(String),
    /// There are as many tokens as are kept.
    #[error("{}", Refusal::TooManyTokens(*.0))]
    TooManyTokens(usize),
    /// More is waiting than is good.
    #[error("{0} jobs wait or run already, as many as `{name}` allows; send the script again later", name = options::OPEN_JOBS_MAX.name)]
    TooManyJobs(usize),
    /// Another JobManager leads, or none for the time being.
    #[error("this JobManager does not lead{}", of_leader(.leader.as_deref()))]
    NotLeader {
        /// Where the one is that does.
        leader: Option<String>,
    },
    /// The JobManager is shutting down.
    #[error("the JobManager is stopping")]
    Stopped,
}

fn of_leader(leader: Option<&str>) -> String {
    match leader {
        Some(address) => format!("; the one at {address} does"),
        None => ", and no other does yet; try again".to_owned(),
    }
}

impl From<Undecided> for Error {
    fn from(undecided: Undecided) -> Self {
        match undecided {
            Undecided::Refused(refusal) => refusal.into(),
            Undecided::NotLeader { leader } => Error::NotLeader { leader },
            Undecided::Stopped => Error::Stopped,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownJob(job) => Error::UnknownJob(job),
            Refusal::JobExists(job) => Error::JobExists(job),
            Refusal::JobEnded(job) => Error::JobCanceled(job),
            Refusal::KeyUsed(key) => Error::KeyReused(key),
            Refusal::TokenExists(name) => Error::TokenExists(name),
            Refusal::UnknownToken(name) => Error::UnknownToken(name),
            Refusal::TooManyTokens(max) => Error::TooManyTokens(max),
        }
    }
}

impl Error {
    /// A stable word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Error::UnknownJob(_) => "unknown-job",
            Error::UnknownVertex { .. } => "unknown-vertex",
            Error::UnknownWorker(_) => "unknown-worker",
            Error::InvalidGraph(_) => "invalid-graph",
            Error::InvalidOption(_) => "invalid-option",
            Error::OtherBuild { .. } => "other-build",
            Error::UnknownQueue { .. } => "unknown-queue",
            Error::JobExists(_) => "job-exists",
            Error::NoResult(_) => "no-result",
            Error::ResultGone(_) => "result-gone",
            Error::ResultTaken(_) => "result-taken",
            Error::PageOutOfTurn { .. } => "page-out-of-turn",
            Error::NoPage { .. } => "no-page",
            Error::ResultUnreadable { .. } => "result-unreadable",
            Error::JobFailed { .. } => "job-failed",
            Error::JobCanceled(_) => "job-canceled",
            Error::NotRunning(_) => "not-running",
            Error::NoStream(_) => "no-stream",
            Error::CannotRescale { .. } => "cannot-rescale",
            Error::UnknownTrigger { .. } => "unknown-trigger",
            Error::HistoryUnreadable(_) => "history-unreadable",
            Error::Sql(error) => error.code.as_str(),
            Error::KeyReused(_) => "idempotency-key-reused",
            Error::TooManyJobs(_) => "too-many-jobs",
            Error::TokenExists(_) => "token-exists",
            Error::UnknownToken(_) => "unknown-token",
            Error::TooManyTokens(_) => "too-many-tokens",
            Error::NotLeader { .. } => "not-leader",
            Error::Stopped => "stopping",
        }
    }
}
