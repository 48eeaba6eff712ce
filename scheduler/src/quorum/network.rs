//! What members say to each other: calls over their control ports.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
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

/// Calls every member.
#[derive(Clone)]
pub struct Calls {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Calls {
    /// No connection yet.
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Self { client: Client::builder(TokioExecutor::new()).build(connector) }
    }
}

impl Calls {
    /// The way to a member.
    pub fn peer(&self, target: u64, node: &BasicNode) -> Peer {
        Peer { client: self.client.clone(), target, address: node.addr.clone() }
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self::new()
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
    client: Client<HttpConnector, Full<Bytes>>,
    target: u64,
    address: String,
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
        let answer: Result<A, RaftError<u64, E>> = called.map_err(|error| match error {
            CallError::Connect { .. } => RPCError::Unreachable(Unreachable::new(&error)),
            error => RPCError::Network(NetworkError::new(&error)),
        })?;
        answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.target, error)))
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
