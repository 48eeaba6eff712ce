//! Opens a worker session on a JobManager's control port by an HTTP/1.1 upgrade.

use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;

use crate::{
    Session, ToLeader, ToWorker, WORKER_SESSION_PATH, WORKER_SESSION_PROTOCOL, tls,
    trust::{self, Trust},
};

/// Largest refusal.
const REFUSAL_BYTES_MAX: usize = 4096;
/// Time for connecting and for the upgrade.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("cannot connect to the JobManager at `{address}`")]
    Connect {
        /// `host:port`.
        address: String,
        /// Why.
        source: trust::Error,
    },
    /// No answer in time.
    #[error("the JobManager at `{address}` did not answer within {} s", OPEN_TIMEOUT.as_secs())]
    Timeout {
        /// `host:port`.
        address: String,
    },
    /// HTTP broke.
    #[error("the connection to the JobManager at `{address}` broke")]
    Http {
        /// `host:port`.
        address: String,
        /// Why.
        source: hyper::Error,
    },
    /// Another JobManager leads.
    #[error("the JobManager at `{address}` does not lead; the one at `{leader}` does")]
    Elsewhere {
        /// `host:port`.
        address: String,
        /// `host:port` of the leader.
        leader: String,
    },
    /// An answer that is too long, or broken off.
    #[error("the answer of the JobManager at `{address}` cannot be read")]
    Answer {
        /// `host:port`.
        address: String,
    },
    /// Not the path of a URL.
    #[error("`{path}` cannot be asked for")]
    Path {
        /// What was given.
        path: String,
    },
    /// Another answer than the upgrade.
    #[error("the server at `{address}` refused the worker session with status {status}: {body}")]
    Refused {
        /// `host:port`.
        address: String,
        /// The HTTP status.
        status: StatusCode,
        /// What it said.
        body: String,
    },
}

impl Error {
    /// HTTP broke, or TLS did below it.
    pub(crate) fn http(address: &str, source: hyper::Error) -> Self {
        let address = address.to_owned();
        match tls::Failed::in_chain(&source) {
            Some(failed) => Error::Connect { address, source: failed.into() },
            None => Error::Http { address, source },
        }
    }

    /// Whether the JobManager does not believe this worker, or this worker not the JobManager: it will be the same the next time.
    pub fn is_refusal(&self) -> bool {
        match self {
            Error::Connect { source, .. } => source.is_refusal(),
            Error::Refused { status, .. } => *status == StatusCode::UNAUTHORIZED,
            _ => false,
        }
    }
}

/// Connects to `address` (`host:port`) and opens a worker session there. Must be called inside a tokio runtime.
pub async fn connect(address: &str, trust: &Trust) -> Result<Session<ToLeader, ToWorker>, Error> {
    match tokio::time::timeout(OPEN_TIMEOUT, open(address, trust)).await {
        Ok(result) => result,
        Err(_) => Err(Error::Timeout { address: address.to_owned() }),
    }
}

async fn open(address: &str, trust: &Trust) -> Result<Session<ToLeader, ToWorker>, Error> {
    let http_error = |source| Error::http(address, source);
    let stream = trust
        .connect(address)
        .await
        .map_err(|source| Error::Connect { address: address.to_owned(), source })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http_error)?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::get(WORKER_SESSION_PATH)
        .header(header::HOST, address)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, WORKER_SESSION_PROTOCOL)
        .body(Empty::<bytes::Bytes>::new())
        .expect("a request of constant parts and a host is well-formed");
    let response = sender.send_request(request).await.map_err(http_error)?;
    if response.status() == StatusCode::TEMPORARY_REDIRECT
        && let Some(leader) = authority(response.headers().get(header::LOCATION))
    {
        return Err(Error::Elsewhere { address: address.to_owned(), leader });
    }
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        let body = String::from_utf8_lossy(&body).into_owned();
        return Err(Error::Refused { address: address.to_owned(), status, body });
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(http_error)?;
    Ok(Session::over(TokioIo::new(upgraded)))
}

/// `host:port` of a URL.
pub(crate) fn authority(location: Option<&http::HeaderValue>) -> Option<String> {
    let uri: http::Uri = location?.to_str().ok()?.parse().ok()?;
    uri.authority().map(ToString::to_string)
}
