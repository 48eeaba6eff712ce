//! The client: submits scripts by keys, over REST, as often as it takes; when the cluster has healed, it asks what became of them.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rand::{Rng as _, rngs::StdRng};
use serde_json::{Value, json};
use thalweg_graph::JobId;
use turmoil::net::TcpStream;

use crate::{
    event::{Event, Meddling},
    hosts,
    world::World,
};

/// Time for one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest pause between two tries.
const PAUSE_MS_MAX: u64 = 300;
/// How often something is asked of a job that does not run.
const TRIES: usize = 20;

/// What is submitted, and when.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The client's key.
    pub key: String,
    /// The script.
    pub script: String,
    /// After how long.
    pub after: Duration,
    /// Whether it is sent twice, as if the first answer were not believed.
    pub twice: bool,
    /// What is asked of its first job, and how long after what came before.
    pub meddling: Vec<(Duration, Meddling)>,
}

/// Submits all of this; ends when it has seen the end of every job.
pub async fn run(world: World, submissions: Vec<Submission>) -> turmoil::Result {
    let following = submissions.into_iter().map(|submission| follow(world.clone(), submission));
    futures::future::join_all(following).await;
    Ok(())
}

async fn follow(world: World, submission: Submission) {
    let Submission { key, script, after, twice, meddling } = submission;
    tokio::time::sleep(after).await;
    let mut client = Client { random: world.generator(&key), member: 1 };
    let submit = || async {
        let mut client = Client { random: world.generator(&format!("{key} again")), member: 2 };
        client.submit(&world, &key, &script).await
    };
    let jobs = match twice {
        false => client.submit(&world, &key, &script).await,
        true => futures::join!(client.submit(&world, &key, &script), submit()).0,
    };
    if let Some(job) = jobs.first() {
        for (after, meddling) in meddling {
            tokio::time::sleep(after).await;
            world.tell(Event::Meddled { job: *job, meddling });
            if client.meddle(*job, meddling).await {
                world.tell(Event::Granted { job: *job, meddling });
            }
        }
    }
    while !world.is_healed() {
        client.pause().await;
    }
    for job in jobs {
        let status = client.end_of(job).await;
        world.tell(Event::Found { job, status });
    }
}

struct Client {
    random: StdRng,
    /// Whom it asks next.
    member: u64,
}

impl Client {
    async fn pause(&mut self) {
        let pause = self.random.random_range(20..PAUSE_MS_MAX);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    /// Submits a script until somebody takes it.
    async fn submit(&mut self, world: &World, key: &str, script: &str) -> Vec<JobId> {
        let body = json!({ "script": script, "idempotencyKey": key }).to_string();
        loop {
            if let Ok((202, answer)) = self.call(Method::POST, "/v1/sql/jobs", &body).await {
                let jobs: Vec<JobId> = jobs(&answer);
                world.tell(Event::Accepted { key: key.to_owned(), jobs: jobs.clone() });
                return jobs;
            }
            self.pause().await;
        }
    }

    /// Asks for something of a job until it is granted or refused; tells whether it is granted.
    async fn meddle(&mut self, job: JobId, meddling: Meddling) -> bool {
        for _ in 0..TRIES {
            let answer = match meddling {
                Meddling::Cancel => {
                    self.call(Method::PATCH, &format!("/v1/jobs/{job}?mode=cancel"), "").await
                }
                Meddling::Stop => {
                    let body = json!({ "targetDirectory": "sim:///savepoints" }).to_string();
                    self.call(Method::POST, &format!("/v1/jobs/{job}/stop"), &body).await
                }
                Meddling::Rescale(parallelism) => self.rescale(job, parallelism).await,
            };
            match answer {
                Ok((200..300, _)) => return true,
                // It does not run yet, or not any more.
                Ok((409 | 500.., _)) | Err(_) => self.pause().await,
                Ok(_) => return false,
            }
        }
        false
    }

    async fn rescale(&mut self, job: JobId, parallelism: u32) -> anyhow::Result<(u16, Value)> {
        let path = format!("/v1/jobs/{job}/resource-requirements");
        let (status, mut wanted) = self.call(Method::GET, &path, "").await?;
        if status != 200 {
            return Ok((status, wanted));
        }
        for vertex in wanted.as_object_mut().into_iter().flat_map(|vertices| vertices.values_mut()) {
            vertex["parallelism"]["upperBound"] = parallelism.into();
        }
        self.call(Method::PUT, &path, &wanted.to_string()).await
    }

    /// Waits for a job's end: its state, or none if nobody knows the job.
    async fn end_of(&mut self, job: JobId) -> Option<String> {
        loop {
            match self.call(Method::GET, &format!("/v1/jobs/{job}/status"), "").await {
                Ok((200, answer)) => {
                    let status = answer["status"].as_str().unwrap_or_default();
                    if matches!(status, "FINISHED" | "FAILED" | "CANCELED") {
                        return Some(status.to_owned());
                    }
                }
                Ok((404, _)) => return None,
                Ok(_) | Err(_) => {}
            }
            self.pause().await;
        }
    }

    /// One call of a JobManager; of another the next time, if it did not answer well.
    async fn call(&mut self, method: Method, path: &str, body: &str) -> anyhow::Result<(u16, Value)> {
        let asked = hosts::address(self.member);
        let called = tokio::time::timeout(CALL_TIMEOUT, call(&asked, method, path, body)).await;
        let next = self.random.random_range(1..=hosts::MEMBERS);
        match called {
            Ok(Ok(Answer { status: 307, location: Some(member), .. })) => {
                self.member = member;
                bail!("another leads")
            }
            Ok(Ok(Answer { status, body, .. })) => {
                if status >= 500 {
                    self.member = next;
                }
                Ok((status, body))
            }
            Ok(Err(error)) => {
                self.member = next;
                Err(error)
            }
            Err(_) => {
                self.member = next;
                bail!("no answer")
            }
        }
    }
}

fn jobs(answer: &Value) -> Vec<JobId> {
    let each = answer["jobs"].as_array().into_iter().flatten();
    each.filter_map(|job| job["jobid"].as_str()?.parse().ok()).collect()
}

struct Answer {
    status: u16,
    location: Option<u64>,
    body: Value,
}

async fn call(address: &str, method: Method, path: &str, body: &str) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, address)
        .body(Full::new(Bytes::from(body.to_owned())))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let location = answer.headers().get(header::LOCATION).and_then(|location| {
        let uri: http::Uri = location.to_str().ok()?.parse().ok()?;
        Some(hosts::member_at(uri.authority()?.as_str())).filter(|member| *member > 0)
    });
    let body = answer.into_body().collect().await.context("the answer broke")?.to_bytes();
    connection.abort();
    Ok(Answer { status, location, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}
