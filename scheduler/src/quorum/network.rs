//! What members say to each other: calls over their control ports.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use openraft::{
    BasicNode,
    error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable},
    network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
        VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use thalweg_rpc::trust::{self, Connector, Trust};

use super::{election::PreVote, encoding, types::TypeConfig};

/// Largest answer of a member.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Time before a member that was not reached is called again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The path of a call; what is behind it names the call.
pub const CALL_PATH: &str = "/internal/quorum";

/// A call that has failed.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("cannot reach {address}")]
    Connect { address: String, source: hyper_util::client::legacy::Error },
    #[error("{address} did not answer within {} ms", timeout.as_millis())]
    Timeout { address: String, timeout: Duration },
    #[error("{address} answered {status}: {text}")]
    Status { address: String, status: StatusCode, text: String },
    #[error("the answer of {address} cannot be read")]
    Body { address: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("a call or its answer: {0}")]
    Encoding(#[from] encoding::Error),
}

impl CallError {
    /// Why the two members do not believe each other, if that is it.
    fn refusal(&self) -> Option<String> {
        match self {
            CallError::Connect { source, .. } => {
                let mut causes =
                    std::iter::successors(std::error::Error::source(source), |cause| cause.source());
                let refusal = causes.find_map(|cause| cause.downcast_ref::<trust::Error>())?;
                refusal.is_refusal().then(|| refusal.to_string())
            }
            CallError::Status { status: StatusCode::UNAUTHORIZED, text, .. } => Some(text.clone()),
            _ => None,
        }
    }
}

/// Calls every member.
#[derive(Clone)]
pub struct Calls {
    client: Client<Connector, Full<Bytes>>,
}

impl Calls {
    /// No connection yet.
    pub fn new(trust: Trust) -> Self {
        let connector = Connector { trust, timeout: CONNECT_TIMEOUT };
        Self { client: Client::builder(TokioExecutor::new()).build(connector) }
    }
}

impl Calls {
    /// The way to a member.
    pub fn peer(&self, target: u64, node: &BasicNode) -> Peer {
        Peer {
            client: self.client.clone(),
            target,
            address: node.addr.clone(),
            is_refused: AtomicBool::new(false),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Calls {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Peer {
        self.peer(target, node)
    }
}

/// Calls one member.
pub struct Peer {
    client: Client<Connector, Full<Bytes>>,
    target: u64,
    address: String,
    /// Whether the newest call found that the two do not believe each other.
    is_refused: AtomicBool,
}

type Rpc<E> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl Peer {
    /// Whether this member would vote for another; one that does not answer would not.
    pub async fn would_vote(&self, question: &PreVote, timeout: Duration) -> bool {
        match self.ask("would-vote", question, timeout).await {
            Ok(answer) => answer,
            // It is of a build that does not know the question.
            Err(CallError::Status { status: StatusCode::NOT_FOUND, .. }) => true,
            Err(error) => {
                tracing::debug!(%error, "a member was not asked whether it would vote");
                false
            }
        }
    }

    async fn call<Q: Serialize, A: DeserializeOwned, E>(
        &self,
        call: &str,
        question: &Q,
        timeout: Duration,
    ) -> Result<A, Rpc<E>>
    where
        E: std::error::Error + DeserializeOwned,
        RaftError<u64, E>: DeserializeOwned,
    {
        let called = self.ask(call, question, timeout).await;
        self.note(called.as_ref().err());
        let answer: Result<A, RaftError<u64, E>> = called.map_err(|error| match error {
            CallError::Connect { .. } => RPCError::Unreachable(Unreachable::new(&error)),
            error => RPCError::Network(NetworkError::new(&error)),
        })?;
        answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.target, error)))
    }

    /// Says once that the two do not believe each other: calls are many.
    fn note(&self, error: Option<&CallError>) {
        let why = error.and_then(CallError::refusal);
        let was_refused = self.is_refused.swap(why.is_some(), Relaxed);
        if let Some(why) = why.filter(|_| !was_refused) {
            tracing::warn!(
                member = self.target,
                address = self.address,
                why,
                "no call reaches a member of the quorum"
            );
        }
    }

    async fn ask<A: DeserializeOwned>(
        &self,
        call: &str,
        question: &impl Serialize,
        timeout: Duration,
    ) -> Result<A, CallError> {
        let address = || self.address.clone();
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}{CALL_PATH}/{call}", self.address))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(Full::new(Bytes::from(encoding::encode(question)?)))
            .map_err(|source| CallError::Body { address: address(), source: Box::new(source) })?;
        let calling = async {
            let answer = self.client.request(request).await;
            let answer = answer.map_err(|source| CallError::Connect { address: address(), source })?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|source| CallError::Body { address: address(), source })?.to_bytes();
            match status {
                StatusCode::OK => Ok(encoding::decode(&body)?),
                status => {
                    let text = String::from_utf8_lossy(&body).chars().take(200).collect();
                    Err(CallError::Status { address: address(), status, text })
                }
            }
        };
        let answer = tokio::time::timeout(timeout, calling).await;
        answer.unwrap_or_else(|_| Err(CallError::Timeout { address: address(), timeout }))
    }
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Rpc<openraft::error::Infallible>> {
        self.call("append", &request, option.hard_ttl()).await
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Rpc<InstallSnapshotError>> {
        self.call("snapshot", &request, option.hard_ttl()).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, Rpc<openraft::error::Infallible>> {
        self.call("vote", &request, option.hard_ttl()).await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(RETRY_DELAY))
    }
}
