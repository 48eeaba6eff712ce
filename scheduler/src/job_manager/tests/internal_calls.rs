//! Calls inside the cluster: only who knows its secret is heard, and nobody holds a connection for long without saying something.

use std::time::{Duration, Instant};

use serde_json::Value;
use thalweg_rpc::{
    LEADER_PATH, ToLeader, ToWorker, Trust, WORKER_SESSION_PATH, call, handshake::OPENING,
    secret::ClusterSecret, upgrade,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::server::Server;
use crate::{
    JobManagerConfig, LogLimits, MemberConfig,
    rest::{limits::Times, serve::Connections},
    testing::registration,
};

fn knowing(secret: &str) -> Trust {
    Trust { secret: Some(ClusterSecret::new(secret).unwrap()), ..Trust::default() }
}

async fn server(trust: Trust) -> Server {
    let config = JobManagerConfig { trust, ..JobManagerConfig::default() };
    let connections = Connections { head_time: Duration::from_millis(300), ..Connections::default() };
    Server::start_as(config, connections, Times::default()).await
}

#[tokio::test]
async fn a_worker_comes_in_by_the_secret_and_by_no_other() {
    let ours = knowing("0123456789abcdef");
    let server = server(ours.clone()).await;
    let address = server.address.to_string();
    let mut session = upgrade::connect(&address, &ours).await.unwrap();
    session.sender.send(ToLeader::Register(registration("remote", 1))).await.unwrap();
    assert!(matches!(session.receiver.recv().await, Some(ToWorker::Welcome { .. })));

    for (trust, expected) in [
        (knowing("0123456789abcdeg"), "is another than there"),
        (Trust::default(), "set `security.cluster.secret-file`"),
    ] {
        let error = upgrade::connect(&address, &trust).await.err().unwrap();
        assert!(error.is_refusal(), "{error:?}");
        let text = format!("{error:?} {:?}", std::error::Error::source(&error).map(ToString::to_string));
        assert!(text.contains(expected), "{text}");
    }
    assert!(call::leader(&address, &ours).await.unwrap().is_none());
    let error = call::leader(&address, &knowing("0123456789abcdeg")).await.unwrap_err();
    assert!(error.is_refusal(), "{error:?}");
    // What is not about the cluster is answered as ever.
    assert_eq!(server.get("/v1/overview").await.0, 200);
}

#[tokio::test]
async fn a_secret_that_the_jobmanager_does_not_have_is_said_so() {
    let server = server(Trust::default()).await;
    let error =
        upgrade::connect(&server.address.to_string(), &knowing("0123456789abcdef")).await.err().unwrap();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.is_refusal() && cause.contains("the other side has none"), "{cause}");
}

#[tokio::test]
async fn every_internal_path_asks_for_the_secret() {
    let server = server(knowing("0123456789abcdef")).await;
    for (method, path) in [
        ("GET", WORKER_SESSION_PATH),
        ("GET", LEADER_PATH),
        ("POST", "/internal/quorum/append"),
        ("POST", "/internal/quorum/vote"),
        ("POST", "/internal/quorum/snapshot"),
    ] {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        let (status, _, body) = server.raw(request.as_bytes()).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, body["code"].as_str()), (401, Some("cluster-secret")), "{path}: {body}");
    }
}

#[tokio::test]
async fn an_opening_that_does_not_go_on_or_is_garbage_ends_in_time() {
    let server = server(knowing("0123456789abcdef")).await;
    let garbage = [&OPENING[..], &[1, 1], &[0; 64]].concat();
    for bytes in [&OPENING[..3], &OPENING, &garbage] {
        let began = Instant::now();
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(began.elapsed() < Duration::from_secs(10), "{bytes:?}");
    }
    assert_eq!(server.get("/v1/overview").await.0, 200);
}

#[tokio::test]
async fn a_slow_body_of_an_internal_call_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let quorum = MemberConfig {
        member: 1,
        members: Vec::new(),
        folder: folder.path().to_owned(),
        election_timeout: Duration::from_secs(1),
        log: LogLimits::default(),
    };
    let config = JobManagerConfig { quorum: Some(quorum), ..JobManagerConfig::default() };
    let times = Times { body: Duration::from_millis(200), ..Times::default() };
    let server = Server::start_as(config, Connections::default(), times).await;
    let request = "POST /internal/quorum/vote HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 100\r\n\r\nslow";
    let (status, _, body) = server.raw(request.as_bytes()).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, body["code"].as_str()), (408, Some("slow-body")), "{body}");
    let request = "POST /internal/quorum/vote HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 300000000\r\n\r\n";
    let (status, _, _) = server.raw(request.as_bytes()).await.unwrap();
    assert_eq!(status, 413);
    server.manager.stop().await;
}
