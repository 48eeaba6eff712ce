//! Who may do what at the control port: no operation is open to whoever has no token, or one that may too little.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{
    rest_bad_input::{head, unknown},
    server::Server,
};
use crate::{
    JobManagerConfig, Login, Role,
    access::{TokenDigest, TokenRecord, token},
    clock::Timestamp,
    rest::{
        limits::Times,
        routes::{Answer, ROUTES},
        serve::Connections,
    },
};

async fn server(login: Login) -> Server {
    let config = JobManagerConfig { login, ..JobManagerConfig::default() };
    Server::start_as(config, Connections::default(), Times::default()).await
}

/// A token that is there from now on.
async fn token_of(server: &Server, name: &str, role: Role, expires: Option<Timestamp>) -> String {
    let made = token::make().unwrap();
    let (name, digest, created) = (name.to_owned(), TokenDigest::of(&made), Timestamp::wall());
    let record = TokenRecord { name, digest, role, created, expires, by: "test".to_owned() };
    server.manager.dispatcher().create_token(record).await.unwrap();
    made
}

/// The status, the challenge and the body of an answer to whoever has this token.
async fn ask(server: &Server, method: &str, path: &str, token: Option<&str>) -> (u16, String, Value) {
    let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!("{}{token}content-length: 0\r\n\r\n", head(method, path));
    let (status, head, body) = server.raw(request.as_bytes()).await.unwrap();
    let challenge = head.lines().find_map(|line| line.strip_prefix("www-authenticate: ")).unwrap_or_default();
    (status, challenge.to_owned(), serde_json::from_slice(&body).unwrap_or_default())
}

#[test]
fn what_changes_something_needs_more_than_to_read() {
    for route in ROUTES.iter().filter(|route| matches!(route.answer, Answer::By(_))) {
        if route.method != "get" {
            assert!(route.role > Role::Read, "{} {}", route.method, route.path);
        }
    }
}

#[tokio::test]
async fn every_operation_asks_who_calls_and_whether_that_one_may() {
    let server = server(Login::Everybody).await;
    let tokens = [
        token_of(&server, "reads", Role::Read, None).await,
        token_of(&server, "submits", Role::Submit, None).await,
        token_of(&server, "administers", Role::Admin, None).await,
    ];
    let others = [("get", "/metrics", Role::Read)];
    let routes = ROUTES.iter().map(|route| (route.method, route.path, route.role)).chain(others);
    for (method, path, role) in routes {
        for prefix in ["", "/v1"] {
            if path == "/metrics" && prefix == "/v1" {
                continue;
            }
            let path = format!("{prefix}{}", unknown(path));
            let what = format!("{method} {path}");
            let (status, challenge, body) = ask(&server, method, &path, None).await;
            assert_eq!((status, body["code"].as_str()), (401, Some("no-token")), "{what}: {body}");
            assert!(challenge.starts_with("bearer realm="), "{what}: {challenge}");
            for (has, token) in Role::ALL.into_iter().zip(&tokens) {
                // The one that may would end the server.
                if has >= role && path.ends_with("/cluster") {
                    continue;
                }
                let (status, challenge, body) = ask(&server, method, &path, Some(token)).await;
                if has >= role {
                    assert!(![401, 403].contains(&status), "{what} as {has}: {status} {body}");
                    continue;
                }
                assert_eq!((status, body["code"].as_str()), (403, Some("role")), "{what} as {has}: {body}");
                assert!(challenge.contains(&format!("scope=\"{role}\"")), "{what}: {challenge}");
                let text = body["errors"][0].as_str().unwrap();
                assert!(text.contains(&format!("`{role}`")), "{what}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn unknown_expired_and_revoked_tokens_are_refused() {
    let server = server(Login::Others).await;
    let past = token_of(&server, "past", Role::Admin, Some(Timestamp(1))).await;
    let future = Timestamp::wall().after(Duration::from_secs(600));
    let good = token_of(&server, "good", Role::Read, Some(future)).await;
    assert_eq!(ask(&server, "get", "/v1/overview", Some(&good)).await.0, 200);
    server.manager.dispatcher().revoke_token("good".to_owned()).await.unwrap();
    let long = "a".repeat(8_000);
    for (token, code) in [
        (past.as_str(), "expired-token"),
        (&good, "unknown-token"),
        ("thalweg_", "unknown-token"),
        ("%00", "unknown-token"),
        (&long, "unknown-token"),
    ] {
        let (status, challenge, body) = ask(&server, "get", "/v1/overview", Some(token)).await;
        assert_eq!((status, body["code"].as_str()), (401, Some(code)), "{token}: {body}");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        assert!(!body.to_string().contains(&good) && !body.to_string().contains(&past));
    }
    // On the same host nothing is needed, unless a page of another site asks.
    assert_eq!(ask(&server, "get", "/v1/overview", None).await.0, 200);
    let from_page = head("post", "/v1/sql/jobs") + "origin: http://evil.example\r\ncontent-length: 0\r\n\r\n";
    let (status, ..) = server.raw(from_page.as_bytes()).await.unwrap();
    assert_eq!(status, 403);
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked_and_shown_once() {
    let server = server(Login::Others).await;
    let wanted = json!({ "role": "submit", "name": "ci", "expiresInMs": 60_000 }).to_string();
    let (status, made) = server.json(Method::POST, "/v1/tokens", wanted.clone()).await;
    assert_eq!((status, &made["role"], &made["createdBy"]), (201, &json!("submit"), &json!("loopback")));
    let token = made["token"].as_str().unwrap();
    assert_eq!(ask(&server, "get", "/v1/jobs", Some(token)).await.0, 200);
    let (status, again) = server.json(Method::POST, "/v1/tokens", wanted).await;
    assert_eq!((status, again["code"].as_str()), (409, Some("token-exists")), "{again}");
    let (_, unnamed) = server.json(Method::POST, "/v1/tokens", r#"{"role":"read"}"#).await;
    assert!(unnamed["name"].as_str().unwrap().starts_with("token-"), "{unnamed}");
    let (_, listed) = server.get("/v1/tokens").await;
    assert_eq!(listed["tokens"].as_array().unwrap().len(), 2);
    let digest = serde_json::to_string(&TokenDigest::of(token)).unwrap();
    assert!(!listed.to_string().contains(token) && !listed.to_string().contains(digest.trim_matches('"')));
    assert_eq!(server.json(Method::DELETE, "/v1/tokens/ci", "").await.0, 200);
    assert_eq!(ask(&server, "get", "/v1/jobs", Some(token)).await.0, 401);
    let (status, gone) = server.json(Method::DELETE, "/v1/tokens/ci", "").await;
    assert_eq!((status, gone["code"].as_str()), (404, Some("unknown-token")));
    for wrong in
        [r#"{"role":"root"}"#, r#"{"role":"read","name":"a b"}"#, r#"{"role":"read","nmae":"x"}"#, "{}"]
    {
        let (status, _) = server.json(Method::POST, "/v1/tokens", wrong).await;
        assert_eq!(status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_script_neither_sets_nor_sees_what_is_the_operators() {
    let options = [("security.cluster.secret", "0123456789abcdef"), ("rest.token", "t0ken")];
    let config = JobManagerConfig { options: options.into_iter().collect(), ..JobManagerConfig::default() };
    let server = Server::start_as(config, Connections::default(), Times::default()).await;
    let body = json!({ "script": "insert", "configuration": { "security.cluster.secret": "hunter2" } });
    let (status, refused) = server.json(Method::POST, "/v1/sql/jobs", body.to_string()).await;
    assert_eq!((status, refused["code"].as_str()), (400, Some("invalid-option")), "{refused}");
    assert!(!refused.to_string().contains("hunter2"), "{refused}");
    let request = crate::ScriptRequest::default();
    let seen = request.session_options(&options.into_iter().collect()).unwrap();
    assert!(seen.0.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn changes_and_refusals_are_written_down_without_what_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let options = [("security.audit.path", path.to_str().unwrap())].into_iter().collect();
    let config = JobManagerConfig { options, ..JobManagerConfig::default() };
    let server = Server::start_as(config, Connections::default(), Times::default()).await;
    let body = json!({ "script": "set\ninsert", "configuration": { "fs.password": "hunter2" } }).to_string();
    let (_, accepted) = server.json(Method::POST, "/v1/sql/jobs?", body).await;
    let job = accepted["jobs"][0]["jobid"].clone();
    let reads = token_of(&server, "reads", Role::Read, None).await;
    ask(&server, "get", "/v1/overview", Some(&reads)).await;
    let cancel = format!("/v1/jobs/{}?mode=cancel", job.as_str().unwrap());
    ask(&server, "patch", &cancel, Some(&reads)).await;
    ask(&server, "get", "/v1/overview", Some("thalweg_00")).await;
    ask(&server, "patch", &cancel, None).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["who"].as_str().unwrap(),
                line["method"].as_str().unwrap(),
                line["status"].as_u64().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("loopback", "POST", 202),
        ("token reads", "PATCH", 403),
        ("unknown", "GET", 401),
        ("loopback", "PATCH", 202),
    ];
    assert_eq!(told, expected);
    assert_eq!((&lines[0]["jobs"][0], &lines[3]["jobs"][0]), (&job, &job));
    for secret in ["hunter2", reads.as_str(), "thalweg_00", "mode=", "insert"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(lines.iter().all(|line| line["from"].as_str().unwrap().starts_with("127.0.0.1:")), "{text}");
}
