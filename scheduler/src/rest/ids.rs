//! Ids in paths. One that is none is the client's mistake: 400, not 404.

use std::str::FromStr;

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use serde::Deserialize;
use thalweg_graph::{CheckpointId, JobId, VertexId, WorkerId};

use super::error::ApiError;
use crate::access::token;

/// All that a path can name, as text.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Ids {
    jobid: String,
    vertexid: String,
    subtaskindex: String,
    attempt: String,
    triggerid: String,
    checkpointid: String,
    taskmanagerid: String,
    logfile: String,
    jarid: String,
    member: String,
    token: String,
}

macro_rules! paths {
    ($($(#[doc = $doc:literal])+ $name:ident($($part:ident: $type:ty),+);)+) => {$(
        $(#[doc = $doc])+
        pub struct $name($(pub $type),+);

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
                let ids = ids(parts, state).await?;
                Ok($name($(ids.$part()?),+))
            }
        }
    )+};
}

paths! {
    /// A job.
    JobPath(job: JobId);
    /// A job's vertex.
    VertexPath(job: JobId, vertex: VertexId);
    /// A vertex's subtask.
    SubtaskPath(job: JobId, vertex: VertexId, subtask: u32);
    /// A subtask's attempt.
    AttemptPath(job: JobId, vertex: VertexId, subtask: u32, attempt: u32);
    /// What was asked for of a job.
    TriggerPath(job: JobId, trigger: String);
    /// What was asked for of the cluster.
    ClusterTriggerPath(trigger: String);
    /// A job's checkpoint.
    CheckpointPath(job: JobId, checkpoint: CheckpointId);
    /// A vertex's part of it.
    CheckpointVertexPath(job: JobId, checkpoint: CheckpointId, vertex: VertexId);
    /// A worker.
    WorkerPath(worker: WorkerId);
    /// A log.
    LogPath(log: String);
    /// An artifact.
    ArtifactPath(artifact: String);
    /// A member of the quorum.
    MemberPath(member: u64);
    /// A token.
    TokenPath(token: String);
}

impl Ids {
    fn job(&self) -> Result<JobId, ApiError> {
        parse(&self.jobid)
    }

    fn vertex(&self) -> Result<VertexId, ApiError> {
        parse(&self.vertexid).map_err(|_| malformed(&self.vertexid, "the id of a vertex"))
    }

    fn subtask(&self) -> Result<u32, ApiError> {
        self.subtaskindex.parse().map_err(|_| malformed(&self.subtaskindex, "the number of a subtask"))
    }

    fn attempt(&self) -> Result<u32, ApiError> {
        self.attempt.parse().map_err(|_| malformed(&self.attempt, "the number of an attempt"))
    }

    fn trigger(&self) -> Result<String, ApiError> {
        trigger_id(&self.triggerid)
    }

    fn checkpoint(&self) -> Result<CheckpointId, ApiError> {
        let number = self.checkpointid.parse();
        number.map(CheckpointId).map_err(|_| malformed(&self.checkpointid, "the number of a checkpoint"))
    }

    fn worker(&self) -> Result<WorkerId, ApiError> {
        Ok(WorkerId(self.taskmanagerid.clone()))
    }

    fn log(&self) -> Result<String, ApiError> {
        Ok(self.logfile.clone())
    }

    fn member(&self) -> Result<u64, ApiError> {
        self.member.parse().map_err(|_| malformed(&self.member, "the number of a member"))
    }

    fn token(&self) -> Result<String, ApiError> {
        match token::is_name(&self.token) {
            true => Ok(self.token.clone()),
            false => Err(malformed(&self.token, "the name of a token")),
        }
    }

    fn artifact(&self) -> Result<String, ApiError> {
        Ok(self.jarid.clone())
    }
}

/// A trigger's id, which looks like a job's and which a client may choose.
pub fn trigger_id(text: &str) -> Result<String, ApiError> {
    let id: JobId =
        text.parse().map_err(|_| malformed(text, "a trigger id, which has 32 hexadecimal digits"))?;
    Ok(id.to_string())
}

async fn ids<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Ids, ApiError> {
    let path = Path::<Ids>::from_request_parts(parts, state).await;
    path.map(|Path(ids)| ids).map_err(|error| ApiError::bad_request("malformed-path", error.body_text()))
}

fn parse<T: FromStr<Err: ToString>>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|error: T::Err| ApiError::bad_request("malformed-id", error.to_string()))
}

fn malformed(text: &str, expected: &str) -> ApiError {
    ApiError::bad_request("malformed-id", format!("`{text}` is not {expected}"))
}
