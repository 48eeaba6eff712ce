//! A JobManager with a control port, and clients of it: one that speaks HTTP well, and one that sends whatever bytes a test wants.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::fakes::{Notes, manager_of};
use crate::{
    History, JobManager, JobManagerConfig,
    rest::{limits::Times, serve::Connections},
};

/// Time for whatever is waited for: more is a hang.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) manager: Arc<JobManager>,
    pub(super) notes: Arc<Notes>,
    /// Ends when the port closes.
    pub(super) serving: JoinHandle<std::io::Result<()>>,
}

/// Quick restarts, and a secret that is not to be shown.
fn config_of(options: &[(&str, &str)]) -> JobManagerConfig {
    let at_once = ("restart-strategy.exponential-delay.initial-backoff", "0 ms");
    let options = options.iter().copied().chain([("rest.secret", "s3cret"), at_once]).collect();
    JobManagerConfig { options, ..JobManagerConfig::default() }
}

impl Server {
    pub(super) async fn start() -> Server {
        Self::start_within(Connections::default(), Times::default(), &[]).await
    }

    pub(super) async fn start_within(
        connections: Connections,
        times: Times,
        options: &[(&str, &str)],
    ) -> Server {
        Self::start_as(config_of(options), connections, times).await
    }

    /// One that keeps jobs that have ended.
    pub(super) async fn with_history(history: History, options: &[(&str, &str)]) -> Server {
        let config = JobManagerConfig { history: Some(history), ..config_of(options) };
        Self::start_as(config, Connections::default(), Times::default()).await
    }

    pub(super) async fn start_as(config: JobManagerConfig, connections: Connections, times: Times) -> Server {
        let (manager, notes) = manager_of(config).await;
        let manager = Arc::new(manager);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = manager.clone();
        let serving = tokio::spawn(async move { server.serve_within(listener, connections, times).await });
        Server { address, manager, notes, serving }
    }

    /// Sends these bytes and reads until the other side closes: the status, the head and the body of the answer, if there was one.
    pub(super) async fn raw(&self, bytes: &[u8]) -> Option<(u16, String, Vec<u8>)> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that has heard enough may close before all is written.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        // What came before a reset counts.
        let _ = tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| {
            panic!("no end after {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(200)]))
        });
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, head, answer[end + 4..].to_vec()))
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> (StatusCode, Bytes) {
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        let answer = client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let status = answer.status();
        (status, answer.into_body().collect().await.unwrap().to_bytes())
    }

    pub(super) async fn json(&self, method: Method, path: &str, body: impl Into<Bytes>) -> (u16, Value) {
        let (status, body) = self.send(method, path, body).await;
        let text = String::from_utf8_lossy(&body).into_owned();
        (status.as_u16(), serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{path}: {text}")))
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        self.json(Method::GET, path, "").await
    }
}
