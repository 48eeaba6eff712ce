//! Connections of the control port. Whoever opens one has so long to send a request's head, for the first as for the next; there are only so
//! many at a time; and when the JobManager stops, answers that are under way may still go out for a while.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use thalweg_rpc::{Trust, network::Stream, unread::Unread};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::opening::{self, Peer};

/// How the port meets those who are slow or many.
#[derive(Debug, Clone, Copy)]
pub struct Connections {
    /// Time for a request's head, from the opening of the connection or the answer before.
    pub head_time: Duration,
    /// Open connections that may wait for requests or answers. A worker's session does not count: it is one no more.
    pub count_max: usize,
    /// Time for answers that are under way when the JobManager stops.
    pub farewell_time: Duration,
}

impl Default for Connections {
    fn default() -> Self {
        Self { head_time: Duration::from_secs(60), count_max: 2_048, farewell_time: Duration::from_secs(5) }
    }
}

/// Pause after a failure to accept: file descriptors have run out, or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the other side of an HTTP/2 connection is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Answers under way on one HTTP/2 connection.
const STREAMS_MAX: u32 = 200;

/// Takes connections: those of TCP, or what a simulation has in their place.
pub trait Listener: Send + Sync {
    /// The next one, and where it comes from.
    fn accept(&self) -> impl Future<Output = io::Result<(Box<dyn Stream>, SocketAddr)>> + Send;
}

impl Listener for TcpListener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, SocketAddr)> {
        let (stream, address) = TcpListener::accept(self).await?;
        // Orders to workers are small and must not wait for an acknowledgement of those before.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot turn off the delay of small packets");
        }
        Ok((Box::new(stream), address))
    }
}

/// Serves until it is told to stop.
pub async fn serve(
    listener: impl Listener,
    routes: Router,
    connections: Connections,
    trust: Trust,
    stop: CancellationToken,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(connections.count_max));
    let open = TaskTracker::new();
    loop {
        let permit = tokio::select! {
            permit = room.clone().acquire_owned() => permit.map_err(io::Error::other)?,
            () = stop.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, address)) => {
                let (routes, trust, stop) = (routes.clone(), trust.clone(), stop.clone());
                open.spawn(async move {
                    let met = tokio::select! {
                        met = tokio::time::timeout(connections.head_time, meet(stream, address, &trust)) => met,
                        () = stop.cancelled() => return,
                    };
                    if let Ok(Some((stream, peer))) = met {
                        serve_connection(stream, peer, routes, connections, stop).await;
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    open.close();
    open.wait().await;
    Ok(())
}

/// Finds out who has connected; `None` where that is nobody to talk to.
async fn meet(
    stream: Box<dyn Stream>,
    address: SocketAddr,
    trust: &Trust,
) -> Option<(Unread<Box<dyn Stream>>, Peer)> {
    match opening::meet(stream, address, trust).await {
        Ok(met) => met,
        Err(error) => {
            tracing::debug!(%error, "a connection broke");
            None
        }
    }
}

async fn serve_connection(
    stream: Unread<Box<dyn Stream>>,
    peer: Peer,
    routes: Router,
    connections: Connections,
    stop: CancellationToken,
) {
    let spoken = CancellationToken::new();
    let first = spoken.clone();
    let service = routes.map_request(move |mut request: Request<Incoming>| {
        first.cancel();
        request.extensions_mut().insert(peer.clone());
        request.map(Body::new)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(connections.head_time);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .max_concurrent_streams(STREAMS_MAX);
    let service = TowerToHyperService::new(service);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    tokio::select! {
        served = connection.as_mut() => {
            if let Err(error) = served {
                tracing::debug!(error, "a connection broke");
            }
        }
        // Before the first request nobody knows which protocol it is, and whose timer counts.
        () = silence(&spoken, connections.head_time) => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // Whoever does not take the answer by then does not get it.
            let _ = tokio::time::timeout(connections.farewell_time, connection).await;
        }
    }
}

/// Ends if nothing is said in time.
async fn silence(spoken: &CancellationToken, time: Duration) {
    if tokio::time::timeout(time, spoken.cancelled()).await.is_ok() {
        std::future::pending().await
    }
}
