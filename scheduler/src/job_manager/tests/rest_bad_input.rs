//! What a client can do wrong, done to every operation that is served: each is refused in the one shape that refusals have, in time, and
//! the server goes on.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use super::server::Server;
use crate::rest::{
    limits::Times,
    routes::{Answer, BodyLimit, ROUTES, Route},
    serve::Connections,
};

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// What artifacts may have.
const UPLOADS: &[(&str, &str)] = &[("web.upload.max-size", "10kb")];

/// Small artifacts.
async fn server() -> Server {
    Server::start_within(Connections::default(), Times::default(), UPLOADS).await
}

/// Short times, for what does not come.
async fn hasty_server() -> Server {
    let times = Times { body: Duration::from_millis(200), ..Times::default() };
    let connections = Connections { head_time: Duration::from_millis(200), ..Connections::default() };
    Server::start_within(connections, times, UPLOADS).await
}

/// A request's head that ends the connection, without the empty line.
pub(super) fn head(method: &str, path: &str) -> String {
    format!("{} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n", method.to_uppercase())
}

/// A path with ids that look well and belong to nothing.
pub(super) fn unknown(path: &str) -> String {
    let filled = path.split('/').map(|part| match part {
        "{jobid}" | "{triggerid}" => "f".repeat(32),
        "{vertexid}" => format!("{:032x}", 7),
        "{subtaskindex}" | "{attempt}" | "{checkpointid}" | "{member}" => "7".to_owned(),
        "{jarid}" => format!("{}_x.sql", "f".repeat(32)),
        part if part.starts_with('{') => "unknown".to_owned(),
        part => part.to_owned(),
    });
    filled.collect::<Vec<_>>().join("/")
}

fn parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| part.starts_with('{'))
}

fn is_refused(route: &Route) -> bool {
    matches!(route.answer, Answer::Refusal(_))
}

/// Holds an answer to the shape of refusals and returns its code.
fn refusal(answer: Option<(u16, String, Vec<u8>)>, expected: &[u16], what: &str) -> String {
    let (status, head, body) = answer.unwrap_or_else(|| panic!("{what}: no answer"));
    let text = String::from_utf8_lossy(&body);
    assert!(expected.contains(&status), "{what}: {status} {text}");
    assert!(head.contains("content-type: application/json"), "{what}: {head}");
    let body: Value = serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{what}: {text}"));
    assert!(body["errors"][0].as_str().is_some_and(|text| !text.is_empty()), "{what}: {body}");
    body["code"].as_str().unwrap_or_else(|| panic!("{what}: {body}")).to_owned()
}

async fn still_serves(server: &Server) {
    let (status, _) = server.get("/v1/overview").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_wrong_method_is_refused_and_the_right_ones_are_named() {
    let server = server().await;
    for path in ROUTES.iter().map(|route| route.path).collect::<BTreeSet<_>>() {
        let mut allowed: BTreeSet<String> = BTreeSet::new();
        for route in ROUTES.iter().filter(|route| route.path == path) {
            allowed.insert(route.method.to_owned());
            if route.method == "get" {
                allowed.insert("head".to_owned());
            }
        }
        for method in METHODS.iter().chain(&["OPTIONS"]) {
            if allowed.contains(&method.to_lowercase()) {
                continue;
            }
            for prefix in ["", "/v1"] {
                let what = format!("{method} {prefix}{path}");
                let request = head(method, &format!("{prefix}{}", unknown(path))) + "\r\n";
                let answer = server.raw(request.as_bytes()).await;
                let named = answer.as_ref().and_then(|(_, head, _)| {
                    head.lines().find_map(|line| line.strip_prefix("allow: ")).map(str::to_owned)
                });
                assert_eq!(refusal(answer, &[405], &what), "wrong-method", "{what}");
                let named = named.unwrap_or_else(|| panic!("{what} names no method"));
                assert_eq!(
                    named.split(',').map(str::trim).map(str::to_owned).collect::<BTreeSet<_>>(),
                    allowed
                );
            }
        }
    }
}

#[tokio::test]
async fn ids_that_are_none_are_refused() {
    let server = server().await;
    let long = "a".repeat(5_000);
    let values = [
        "nonsense",
        "%FF%FE",
        "a%00b",
        "%zz",
        "%",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..%5c..%5cx.sql",
        "%F0%9F%92%A5",
        "-1",
        "18446744073709551616",
        "%27%3B--",
        &long,
    ];
    for route in ROUTES {
        for parameter in parameters(route.path) {
            for value in values {
                // What is only looked up by name may look as it likes.
                let is_name = ["{jarid}", "{logfile}", "{taskmanagerid}", "{token}"].contains(&parameter);
                let expected: &[u16] = match is_refused(route) {
                    true => &[501],
                    false if is_name => &[400, 404],
                    false => &[400],
                };
                let path = unknown(&route.path.replace(parameter, "@")).replace('@', value);
                let request = head(route.method, &path) + "\r\n";
                let what = format!("{} {path:.200}", route.method);
                refusal(server.raw(request.as_bytes()).await, expected, &what);
            }
        }
    }
    still_serves(&server).await;
}

#[tokio::test]
async fn ids_of_nothing_are_not_found() {
    let server = server().await;
    for route in ROUTES.iter().filter(|route| parameters(route.path).next().is_some()) {
        let expected = if is_refused(route) { 501 } else { 404 };
        let request = head(route.method, &unknown(route.path)) + "\r\n";
        let code = refusal(server.raw(request.as_bytes()).await, &[expected], route.path);
        assert!(code.starts_with("un") || code == "no-quorum", "{}: {code}", route.path);
    }
}

#[tokio::test]
async fn a_parameter_that_does_not_exist_is_named() {
    let server = server().await;
    for route in ROUTES.iter().filter(|route| !is_refused(route)) {
        for query in ["nonsense=1", "%FF=%FF", "=", "get%00=1", "GET=x"] {
            let request = head(route.method, &format!("{}?{query}", unknown(route.path))) + "\r\n";
            let code = refusal(server.raw(request.as_bytes()).await, &[400], route.path);
            assert_eq!(code, "unknown-parameter", "{} {}?{query}", route.method, route.path);
        }
    }
}

#[tokio::test]
async fn a_parameter_of_the_wrong_type_is_refused() {
    let server = server().await;
    let (job, vertex) = ("f".repeat(32), format!("{:032x}", 7));
    for (method, path, code) in [
        ("GET", format!("/jobs/{job}/exceptions?maxExceptions=many"), "malformed-query"),
        ("GET", format!("/jobs/{job}/exceptions?maxExceptions=-1"), "malformed-query"),
        ("GET", format!("/jobs/{job}/wait?timeout=soon"), "malformed-timeout"),
        ("GET", format!("/jobs/{job}/wait?timeout=99999999999999999999"), "malformed-timeout"),
        ("GET", format!("/sql/jobs/{job}/result?token=1.5"), "malformed-query"),
        ("GET", format!("/sql/jobs/{job}/result?format=xml"), "malformed-query"),
        ("GET", format!("/jobs/{job}/vertices/{vertex}/subtasks/metrics?subtasks=all"), "malformed-query"),
        ("GET", "/jobs/metrics?jobs=nonsense".to_owned(), "malformed-id"),
        ("GET", "/jobs/metrics?get=uptime&agg=median".to_owned(), "malformed-query"),
        ("GET", "/taskmanagers/metrics?get=slotsTotal&agg=%FF".to_owned(), "malformed-query"),
        ("PATCH", format!("/jobs/{job}?mode=stop"), "unsupported-mode"),
        ("POST", format!("/jars/{job}_x.sql/run?parallelism=four"), "malformed-query"),
        ("POST", format!("/jars/{job}_x.sql/run?allowNonRestoredState=perhaps"), "malformed-query"),
        ("POST", format!("/jars/{job}_x.sql/run?claimMode=CLAIM"), "unsupported-field"),
        ("POST", format!("/jars/{job}_x.sql/plan?jobId={job}"), "unsupported-field"),
    ] {
        let answer = server.raw((head(method, &path) + "\r\n").as_bytes()).await;
        assert_eq!(refusal(answer, &[400], &path), code, "{path}");
    }
}

#[tokio::test]
async fn a_body_of_the_wrong_form_is_refused() {
    let server = server().await;
    let deep = "[".repeat(60_000);
    let bodies: Vec<Vec<u8>> = vec![
        b"{".to_vec(),
        b"[]".to_vec(),
        b"[\"set\"]".to_vec(),
        b"\"text\"".to_vec(),
        b"7".to_vec(),
        b"\xff\xfe\x00".to_vec(),
        b"{\"script\": \"\xff\"}".to_vec(),
        b"{\"nonsense\": 1}".to_vec(),
        b"{\"triggerId\": {}, \"savepoint-path\": 7, \"script\": 7, \"parallelism\": \"four\"}".to_vec(),
        b"{\"script\": \"set\"} {".to_vec(),
        deep.into_bytes(),
    ];
    let with_body =
        ROUTES.iter().filter(|route| !route.body.is_empty() && route.body_max != BodyLimit::Upload);
    for route in with_body {
        for body in &bodies {
            let mut request = head(route.method, &unknown(route.path)).into_bytes();
            request.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
            request.extend(body);
            let what = format!("{} {:.60}", route.path, String::from_utf8_lossy(body));
            assert_eq!(refusal(server.raw(&request).await, &[400], &what), "malformed-body", "{what}");
        }
    }
    still_serves(&server).await;
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_before_it_is_kept() {
    let server = server().await;
    for route in ROUTES {
        let (max, form) = match route.body_max {
            BodyLimit::Bytes(max) => (max, String::new()),
            BodyLimit::Upload => (64 << 10, FORM.to_owned()),
        };
        // One that says so needs no body at all.
        let start = head(route.method, &unknown(route.path)) + TYPE;
        let request = format!("{start}content-length: {}\r\n\r\n", max + 1);
        let code = refusal(server.raw(request.as_bytes()).await, &[413], route.path);
        assert_eq!(code, "body-too-large", "{}", route.path);

        let mut request = format!("{start}transfer-encoding: chunked\r\n\r\n").into_bytes();
        if !form.is_empty() {
            request.extend(chunk(form.as_bytes()));
        }
        let filler = chunk(&vec![b'x'; 16 << 10]);
        for _ in 0..max / (16 << 10) + 1 {
            request.extend(&filler);
        }
        let code = refusal(server.raw(&request).await, &[413], route.path);
        assert_eq!(code, "body-too-large", "{}", route.path);
    }
    still_serves(&server).await;
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

const TYPE: &str = "content-type: multipart/form-data; boundary=b\r\n";
const FORM: &str = "--b\r\ncontent-disposition: form-data; name=\"jarfile\"; filename=\"a.sql\"\r\n\r\n";

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let server = hasty_server().await;
    let waiting = ROUTES.iter().map(|route| {
        let start = head(route.method, &unknown(route.path)) + TYPE;
        let request = format!("{start}content-length: 500\r\n\r\n{FORM}");
        let server = &server;
        async move { (route, server.raw(request.as_bytes()).await) }
    });
    for (route, answer) in futures::future::join_all(waiting).await {
        assert_eq!(refusal(answer, &[408], route.path), "slow-body", "{}", route.path);
    }
    still_serves(&server).await;
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let server = hasty_server().await;
    for begun in [
        "",
        "G",
        "GET /v1/overview",
        "GET /v1/overview HTTP/1.1\r\nhost: te",
        "PRI * HTTP/2.0\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        // Closed, with or without a word.
        server.raw(begun.as_bytes()).await;
    }
    let kept_alive = server.raw(b"GET /v1/overview HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    assert_eq!(kept_alive.0, 200, "and closed when nothing more came");
}

#[tokio::test]
async fn what_is_no_http_harms_nobody() {
    let server = hasty_server().await;
    let long = format!("GET /v1/{} HTTP/1.1\r\nhost: test\r\n\r\n", "x".repeat(200_000));
    let headers = format!("{}{}\r\n", head("GET", "/v1/overview"), "a: b\r\n".repeat(10_000));
    let mut random = Vec::new();
    for number in 0..5_000_u32 {
        random.extend(number.wrapping_mul(2_654_435_761).to_le_bytes());
    }
    for bytes in [
        long.as_bytes(),
        headers.as_bytes(),
        &random,
        b"\0\0\0\0",
        b"GET /v1/jobs/\xff\xfe HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n",
        b"GET /v1/overview HTTP/9.9\r\n\r\n",
        b"POST /v1/sql/jobs HTTP/1.1\r\nhost: test\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"POST /v1/sql/jobs HTTP/1.1\r\nhost: test\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/sql/jobs HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET http://elsewhere/v1/../../etc/passwd HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n",
        b"CONNECT / HTTP/1.1\r\nhost: test\r\n\r\n",
    ] {
        if let Some((status, ..)) = server.raw(bytes).await {
            assert!((400..500).contains(&status) || status == 505, "{status}");
        }
    }
    still_serves(&server).await;
}

#[tokio::test]
async fn more_connections_than_are_allowed_wait_for_their_turn() {
    let connections =
        Connections { count_max: 1, head_time: Duration::from_secs(60), ..Connections::default() };
    let server = Server::start_within(connections, Times::default(), &[]).await;
    let held = tokio::net::TcpStream::connect(server.address).await.unwrap();
    held.writable().await.unwrap();
    let waiting = server.raw(b"GET /v1/overview HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut waiting).await.is_err());
    drop(held);
    assert_eq!(waiting.await.unwrap().0, 200);
}
