//! Single calls to a control port, each over a connection that is opened for it and proven.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;

use crate::{
    LEADER_PATH,
    trust::Trust,
    upgrade::{Error, authority},
};

/// Time for a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its head.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The `host:port` that the answer sends its caller to.
    pub fn elsewhere(&self) -> Option<String> {
        let sends = self.status == StatusCode::TEMPORARY_REDIRECT;
        sends.then(|| authority(self.headers.get(header::LOCATION))).flatten()
    }
}

/// Calls the JobManager at `address` (`host:port`) as a process of the cluster. Must be called inside a tokio runtime.
pub async fn call(
    address: &str,
    trust: &Trust,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Answer, Error> {
    let http_error = |source| Error::http(address, source);
    let calling = async {
        let stream = trust.connect(address).await;
        let stream = stream.map_err(|source| Error::Connect { address: address.to_owned(), source })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http_error)?;
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header(header::HOST, address);
        let request = request.header(header::CONTENT_TYPE, "application/json").body(Full::new(body));
        let request = request.map_err(|_| Error::Path { path: path.to_owned() })?;
        let (head, body) = sender.send_request(request).await.map_err(http_error)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| Error::Answer { address: address.to_owned() })?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    let answer = tokio::time::timeout(CALL_TIMEOUT, calling).await;
    answer.unwrap_or_else(|_| Err(Error::Timeout { address: address.to_owned() }))
}

/// Asks a JobManager who leads: the newest term that it knows of, and where that term's leader is found, if it knows. `None` where it
/// belongs to no quorum.
pub async fn leader(address: &str, trust: &Trust) -> Result<Option<(u64, String)>, Error> {
    let answer = call(address, trust, Method::GET, LEADER_PATH, Bytes::new()).await?;
    if answer.status != StatusCode::OK {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&answer.body);
    let known = text.trim().split_once(' ');
    Ok(known.and_then(|(term, leader)| Some((term.parse().ok()?, leader.to_owned()))))
}
