//! What is asked of the dispatcher, with the way back for the answer.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thalweg_graph::{
    JobGraph, JobId, Options, VertexId,
    options::{self, InvalidValue},
};
use tokio::sync::{oneshot, watch};

use super::Error;
use crate::access::TokenRecord;
use crate::job_master::SavepointOrder;
use crate::view::{
    JobDetails, JobProgress, JobSummary, Overview, SavepointStatus, SubtaskDetails, VertexDetails,
    VertexEventTime, WorkerDetails,
};

/// A script to run: its statements that make jobs run one after another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScriptRequest {
    /// The script.
    pub script: String,
    /// The name of its jobs; by default each statement's text, shortened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Options for its session.
    #[serde(default)]
    pub configuration: Options,
    /// Subtasks of each vertex; wins over the option of that meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
    /// The same key again gives the same answer and runs nothing.
    #[serde(default, alias = "idempotency_key", skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

impl ScriptRequest {
    /// The options of its session, over those of the cluster. The operator's own are neither seen nor set.
    pub(crate) fn session_options(&self, cluster: &Options) -> Result<Options, InvalidValue> {
        for (name, value) in &self.configuration.0 {
            if options::is_operators(name) {
                // Not its value: it may be a secret that was sent by mistake.
                let expected = "to be set by the operator, where the processes are configured".to_owned();
                return Err(InvalidValue { key: name.clone(), value: "******".to_owned(), expected });
            }
            options::check(name, value)?;
        }
        let mut session = cluster.of_jobs().overridden_by(&self.configuration);
        if let Some(parallelism) = self.parallelism {
            session.0.insert(options::PARALLELISM_DEFAULT.name.to_owned(), parallelism.to_string());
        }
        Ok(session)
    }
}

/// The answer to a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptAccepted {
    /// The first of its jobs.
    pub jobid: Option<JobId>,
    /// All its jobs, in order.
    pub jobs: Vec<ScriptJob>,
}

/// One job of a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScriptJob {
    /// Its id.
    pub jobid: JobId,
    /// The statement that makes it.
    pub statement: String,
    /// The line on which that starts.
    pub line: u64,
    /// Whether it has a result to read.
    pub is_query: bool,
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A question or an order from a [`DispatcherHandle`](super::DispatcherHandle).
pub(crate) enum Request {
    Submit(Box<JobGraph>, Reply<JobId>),
    Script(Box<ScriptRequest>, Reply<ScriptAccepted>),
    Cancel(JobId, Reply<()>),
    Savepoint(JobId, SavepointOrder, Reply<()>),
    SavepointStatus(JobId, String, Reply<SavepointStatus>),
    Rescale(JobId, u32, Reply<()>),
    CreateToken(TokenRecord, Reply<()>),
    RevokeToken(String, Reply<()>),
    Jobs(Reply<Vec<JobSummary>>),
    Job(JobId, Reply<Arc<JobDetails>>),
    Vertex(JobId, VertexId, Reply<(VertexDetails, Vec<SubtaskDetails>)>),
    EventTime(JobId, Reply<Vec<VertexEventTime>>),
    Watch(JobId, Reply<watch::Receiver<Arc<JobProgress>>>),
    Overview(Reply<Overview>),
    Workers(Reply<Vec<WorkerDetails>>),
}

impl Request {
    /// Answers that it is not done here.
    pub(crate) fn refuse(self, error: Error) {
        match self {
            Request::Submit(_, reply) => drop(reply.send(Err(error))),
            Request::Script(_, reply) => drop(reply.send(Err(error))),
            Request::Cancel(_, reply) | Request::Savepoint(_, _, reply) | Request::Rescale(_, _, reply) => {
                drop(reply.send(Err(error)));
            }
            Request::CreateToken(_, reply) | Request::RevokeToken(_, reply) => drop(reply.send(Err(error))),
            Request::SavepointStatus(_, _, reply) => drop(reply.send(Err(error))),
            Request::Jobs(reply) => drop(reply.send(Err(error))),
            Request::Job(_, reply) => drop(reply.send(Err(error))),
            Request::Vertex(_, _, reply) => drop(reply.send(Err(error))),
            Request::EventTime(_, reply) => drop(reply.send(Err(error))),
            Request::Watch(_, reply) => drop(reply.send(Err(error))),
            Request::Overview(reply) => drop(reply.send(Err(error))),
            Request::Workers(reply) => drop(reply.send(Err(error))),
        }
    }
}
