//! Calls to a control port, by HTTP or HTTPS. Connections are kept and used again.

use std::{io, time::Duration};

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _, stream};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{client::legacy, rt::TokioExecutor};
use serde_json::Value;
use thalweg_rpc::{Trust, trust::Connector};
use tokio::time::timeout;

/// Time for a connection, with all that is proven at its opening.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP client that opens its connections as the cluster's processes do, without saying that it is one of them.
#[derive(Clone)]
pub struct Http {
    client: legacy::Client<Connector, Full<Bytes>>,
}

/// A call that was not answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or one that broke.
    #[error(transparent)]
    Call(#[from] legacy::Error),
    /// What is to be called is no address.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// No answer.
    #[error("it did not answer within {} s", .0.as_secs())]
    Silent(Duration),
}

impl Error {
    /// Whether nothing was sent.
    pub fn is_connect(&self) -> bool {
        matches!(self, Error::Call(error) if error.is_connect())
    }
}

impl Http {
    /// Opens connections by `trust`, of which the secret is not used; no connection yet.
    pub fn new(trust: Trust) -> Self {
        let connector = Connector { trust: trust.without_secret(), timeout: CONNECT_TIMEOUT };
        Self { client: legacy::Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// Calls `path` at `address` (`host:port`). With `silence_max`, neither the answer nor any part of it may be longer under way.
    pub async fn call(
        &self,
        method: Method,
        address: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
        silence_max: Option<Duration>,
    ) -> Result<Response, Error> {
        // What the connection really speaks is the connector's affair.
        let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let calling = self.client.request(request.body(Full::new(body.into()))?);
        let answer = match silence_max {
            None => calling.await?,
            Some(max) => timeout(max, calling).await.map_err(|_| Error::Silent(max))??,
        };
        let (head, body) = answer.into_parts();
        Ok(Response { status: head.status, headers: head.headers, path: path.to_owned(), body, silence_max })
    }
}

/// An answer whose body is still to come.
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its head.
    pub headers: HeaderMap,
    /// What was called.
    pub path: String,
    body: Incoming,
    silence_max: Option<Duration>,
}

impl Response {
    /// The body, as it comes.
    pub fn bytes_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin {
        Box::pin(stream::try_unfold((self.body, self.silence_max), |(mut body, max)| async move {
            loop {
                let frame = match max {
                    None => body.frame().await,
                    Some(max) => timeout(max, body.frame()).await.map_err(|_| silent(max))?,
                };
                let Some(frame) = frame else { return Ok(None) };
                // What is no data are trailers.
                if let Ok(bytes) = frame.map_err(io::Error::other)?.into_data() {
                    return Ok(Some((bytes, (body, max))));
                }
            }
        }))
    }

    /// The body, when all of it is there.
    pub async fn bytes(self) -> io::Result<Bytes> {
        let bytes = self.bytes_stream().try_fold(Vec::new(), |mut all, bytes| async move {
            all.extend_from_slice(&bytes);
            Ok(all)
        });
        Ok(bytes.await?.into())
    }
}

fn silent(max: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, Error::Silent(max))
}
