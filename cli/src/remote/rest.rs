//! The JobManager's REST API, as far as the command line uses it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use async_trait::async_trait;
use http::{Method, StatusCode, Uri, header};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use thalweg_graph::{
    JobId, JobStatus, Options, SqlError,
    failure::chain,
    options,
    sql_error::{Position, SqlErrorCode},
};

use thalweg_rpc::{Tls, Trust, trust};
use thalweg_scheduler::{MemberAddress, QuorumStatus, view::VertexEventTime};

use super::{
    events,
    http::{self as calls, Http, Response},
};
use crate::{
    backend::{JobLine, Jobs, ProgressStream},
    rows::Rows,
};

/// Silence of the JobManager after which a call is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause between two questions about a savepoint.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long a JobManager that leads is looked for, and the pause between two tries.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(15);
const SEARCH_PAUSE: Duration = Duration::from_millis(100);
/// How often in a row a call is sent elsewhere.
pub(super) const HOPS_MAX: usize = 5;

/// A JobManager, or those of a quorum: whichever is asked sends the client to the one that leads.
#[derive(Clone)]
pub struct Rest {
    addresses: Arc<[String]>,
    /// The one that answered last.
    newest: Arc<AtomicUsize>,
    http: Http,
    /// What is sent with each call.
    token: Option<Arc<str>>,
}

/// The search for a JobManager that leads.
struct Search {
    until: Instant,
    /// How many were not asked yet. They are, also when one has taken all the time by saying nothing.
    unasked: usize,
}

impl Search {
    /// Whether another one is to be asked, where one gave no answer.
    fn goes_on(&mut self, now: Instant) -> bool {
        self.unasked = self.unasked.saturating_sub(1);
        self.unasked > 0 || now < self.until
    }
}

/// `GET /jobs/overview`.
#[derive(Deserialize)]
struct Overview {
    jobs: Vec<JobBody>,
}

/// A job there.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct JobBody {
    jid: JobId,
    name: String,
    state: JobStatus,
    start_time: i64,
}

/// A job of a script that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScriptJob {
    /// Its id.
    pub jobid: JobId,
    /// Whether it returns rows.
    #[serde(alias = "is_query")]
    pub is_query: bool,
}

/// A refusal's body. `errors` is Flink's, the rest ours.
#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    errors: Vec<String>,
    code: Option<String>,
    line: Option<u64>,
    column: Option<u64>,
}

impl Rest {
    /// The JobManager at `addresses` (`host:port`, several separated by commas); nothing is sent yet.
    pub fn new(addresses: &str, options: &Options) -> Result<Rest> {
        // Without the secret: whoever may call by a token need not be able to read it.
        let http = Http::new(Trust { tls: Tls::from_options(options)?, ..Trust::default() });
        let addresses = addresses.split(',').map(str::to_owned).collect();
        let token = token(options)?.map(Arc::from);
        Ok(Rest { addresses, newest: Arc::default(), http, token })
    }

    /// Whatever there is no method for.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let response = self.send(method, path, body).await?;
        self.body(response).await
    }

    /// How the quorum stands, as the first JobManager sees it that answers.
    pub async fn quorum(&self) -> Result<QuorumStatus> {
        self.get("/quorum").await
    }

    /// Adds a member to the quorum.
    pub async fn add_member(&self, member: &MemberAddress) -> Result<QuorumStatus> {
        let response = self.send(Method::POST, "/quorum/members", Some(&json!(member))).await?;
        self.body(response).await
    }

    /// Removes a member from the quorum.
    pub async fn remove_member(&self, member: u64) -> Result<QuorumStatus> {
        let response = self.send(Method::DELETE, &format!("/quorum/members/{member}"), None).await?;
        self.body(response).await
    }

    /// The slots of the cluster.
    pub async fn slots(&self) -> Result<u32> {
        let overview: Value = self.get("/overview").await?;
        let slots =
            overview["slots-total"].as_u64().context("the JobManager's overview has no `slots-total`")?;
        Ok(u32::try_from(slots)?)
    }

    /// Submits a script; its jobs, in order.
    pub async fn submit(
        &self,
        script: &str,
        name: Option<&str>,
        options: &Options,
        parallelism: Option<u32>,
    ) -> Result<Vec<ScriptJob>> {
        #[derive(Deserialize)]
        struct Accepted {
            jobs: Vec<ScriptJob>,
        }
        // With a key it runs once, however often it has to be sent.
        let key = crate::job_id::random().to_string();
        // What is the operator's here is the operator's there.
        let options = options.of_jobs();
        let mut body = json!({ "script": script, "configuration": options, "idempotencyKey": key });
        if let Some(name) = name {
            body["name"] = json!(name);
        }
        if let Some(parallelism) = parallelism {
            body["parallelism"] = json!(parallelism);
        }
        let response = self.send(Method::POST, "/sql/jobs", Some(&body)).await?;
        Ok(self.body::<Accepted>(response).await?.jobs)
    }

    /// Asks for a savepoint or the like and waits until it is complete; its folder.
    pub async fn trigger(&self, job: JobId, what: &str, body: &Value) -> Result<String> {
        let response = self.send(Method::POST, &format!("/jobs/{job}/{what}"), Some(body)).await?;
        let asked: Value = self.body(response).await?;
        let trigger = asked["request-id"].as_str().context("the JobManager gave no `request-id`")?;
        loop {
            let status: Value = self.get(&format!("/jobs/{job}/savepoints/{trigger}")).await?;
            if status["status"]["id"] == "COMPLETED" {
                let operation = &status["operation"];
                if let Some(folder) = operation["location"].as_str() {
                    return Ok(folder.to_owned());
                }
                let why = operation["failure-cause"]["stack-trace"].as_str().unwrap_or("it was given up");
                return Err(anyhow!("{why}"));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Lets a stream go on at another parallelism.
    pub async fn rescale(&self, job: JobId, parallelism: u32) -> Result<()> {
        let path = format!("/jobs/{job}/resource-requirements");
        let mut wanted: BTreeMap<String, Value> = self.get(&path).await?;
        for vertex in wanted.values_mut() {
            *vertex = json!({ "parallelism": { "lowerBound": 1, "upperBound": parallelism } });
        }
        let response = self.send(Method::PUT, &path, Some(&json!(wanted))).await?;
        self.body::<Value>(response).await.map(drop)
    }

    /// A stream that ends when there is no more to tell.
    pub(super) async fn event_stream(&self, path: &str) -> Result<Response> {
        self.send(Method::GET, path, None).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let response = self.send(Method::GET, path, None).await?;
        self.body(response).await
    }

    async fn body<T: DeserializeOwned>(&self, response: Response) -> Result<T> {
        let path = response.path.clone();
        let bytes = response.bytes().await.with_context(|| self.broken())?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("`{}{path}` gave an answer of another version", self.address()))
    }

    /// The rows of a query.
    async fn rows(&self, job: JobId, silence_max: Option<Duration>) -> Result<Rows> {
        let path = format!("/sql/jobs/{job}/result?format=arrow");
        let response = self.send_within(silence_max, Method::GET, &path, None).await?;
        Rows::open(response.bytes_stream()).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response> {
        self.send_within(Some(READ_TIMEOUT), method, path, body).await
    }

    async fn send_within(
        &self,
        silence_max: Option<Duration>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response> {
        // What may be said twice is said again where the answer is lost.
        let may_repeat = method != Method::POST || path == "/sql/jobs";
        let mut search = Search { until: Instant::now() + SEARCH_TIMEOUT, unasked: self.addresses.len() };
        let mut leader = None;
        let mut hops = 0;
        loop {
            let address = leader.take().unwrap_or_else(|| self.address().to_owned());
            let path = format!("/v1{path}");
            let token = self.token.as_deref();
            let calling = self.http.call(method.clone(), &address, &path, token, body, silence_max);
            let problem = match calling.await {
                Ok(response) if response.status.is_success() => return Ok(response),
                Ok(response) => {
                    let status = response.status;
                    leader = elsewhere(&response).filter(|_| hops < HOPS_MAX);
                    if leader.is_some() {
                        hops += 1;
                        continue;
                    }
                    let body = response.bytes().await.unwrap_or_default();
                    let body: ErrorBody = serde_json::from_slice(&body).unwrap_or_default();
                    let leads =
                        !matches!(body.code.as_deref(), Some("no-leader" | "not-leader" | "stopping"));
                    let problem = refusal(status.as_u16(), body);
                    if leads {
                        return Err(problem);
                    }
                    problem
                }
                Err(error) if error.is_connect() || may_repeat => self.unreachable(&error),
                Err(error) => return Err(self.unreachable(&error)),
            };
            // One JobManager alone has no other that could lead.
            if self.addresses.len() == 1 || !search.goes_on(Instant::now()) {
                return Err(problem);
            }
            hops = 0;
            self.newest.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(SEARCH_PAUSE).await;
        }
    }

    /// The JobManager to ask.
    fn address(&self) -> &str {
        &self.addresses[self.newest.load(Ordering::Relaxed) % self.addresses.len()]
    }

    fn unreachable(&self, error: &calls::Error) -> anyhow::Error {
        let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
        let trust = causes.clone().find_map(|cause| cause.downcast_ref::<trust::Error>());
        let cause = match trust {
            Some(trust) if trust.is_refusal() => chain(trust),
            // The HTTP client's own text says no more than that; the last cause is what happened.
            _ => causes.by_ref().last().map(ToString::to_string).unwrap_or_default(),
        };
        anyhow!("cannot reach the JobManager at `{}`: {cause}", self.address())
    }

    fn broken(&self) -> String {
        format!("the connection to the JobManager at `{}` broke", self.address())
    }
}

/// The token that the options give, themselves or by a file.
pub(super) fn token(options: &Options) -> Result<Option<String>> {
    let given = options.get(&options::REST_TOKEN)?;
    let path = options.get(&options::REST_TOKEN_FILE)?;
    let text = match (given.is_empty(), path.is_empty()) {
        (false, _) => given,
        (true, false) => {
            std::fs::read_to_string(&path).with_context(|| format!("cannot read the token from `{path}`"))?
        }
        (true, true) => return Ok(None),
    };
    let token = text.trim();
    // What is not one would be refused without saying so.
    if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
        bail!("what is given as a token is none: expected a line of letters and digits");
    }
    Ok(Some(token.to_owned()))
}

/// The `host:port` that an answer sends its caller to.
fn elsewhere(response: &Response) -> Option<String> {
    let location: Uri = response.headers.get(header::LOCATION)?.to_str().ok()?.parse().ok()?;
    let is_sent = response.status == StatusCode::TEMPORARY_REDIRECT;
    is_sent.then(|| location.authority().map(ToString::to_string)).flatten()
}

/// The refusal that a body tells.
pub(super) fn refusal_of(status: u16, body: &[u8]) -> anyhow::Error {
    refusal(status, serde_json::from_slice(body).unwrap_or_default())
}

#[async_trait]
impl Jobs for Rest {
    async fn list(&self) -> Result<Vec<JobLine>> {
        let jobs = self.get::<Overview>("/jobs/overview").await?.jobs.into_iter();
        let line = |job: JobBody| JobLine {
            job: job.jid,
            name: job.name,
            status: job.state,
            start_ms: job.start_time,
        };
        Ok(jobs.map(line).collect())
    }

    async fn watch(&self, job: JobId) -> Result<ProgressStream> {
        events::watch(self.clone(), job).await
    }

    async fn result(&self, job: JobId) -> Result<Rows> {
        self.rows(job, Some(READ_TIMEOUT)).await
    }

    async fn live_result(&self, job: JobId) -> Result<Rows> {
        // Rows come when there are some, and the job's news tell whether the JobManager lives.
        self.rows(job, None).await
    }

    async fn event_time(&self, job: JobId) -> Result<Vec<VertexEventTime>> {
        #[derive(Deserialize)]
        struct EventTime {
            vertices: Vec<VertexEventTime>,
        }
        Ok(self.get::<EventTime>(&format!("/jobs/{job}/event-time")).await?.vertices)
    }

    async fn cancel(&self, job: JobId) -> Result<()> {
        self.send(Method::PATCH, &format!("/jobs/{job}?mode=cancel"), None).await?;
        Ok(())
    }

    async fn stop_with_savepoint(&self, job: JobId, drain: bool) -> Result<String> {
        self.trigger(job, "stop", &json!({ "drain": drain })).await
    }
}

/// A refusal of SQL keeps its place, for the caret.
fn refusal(status: u16, body: ErrorBody) -> anyhow::Error {
    let text = match body.errors.is_empty() {
        true => format!("the JobManager answered with status {status}"),
        false => body.errors.join("; "),
    };
    let code = body.code.as_deref().and_then(|code| code.strip_prefix("sql-"));
    let Some(code) = code else { return anyhow!(text) };
    let code = serde_json::from_value(json!(code)).unwrap_or(SqlErrorCode::Invalid);
    let position = body.line.zip(body.column).map(|(line, column)| Position { line, column });
    SqlError { code, message: text, position }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_job_manager_does_not_keep_the_others_from_being_asked() {
        let start = Instant::now();
        let mut search = Search { until: start + SEARCH_TIMEOUT, unasked: 3 };
        let late = start + READ_TIMEOUT;
        assert!(search.goes_on(late) && search.goes_on(late));
        assert!(!search.goes_on(late), "all three were asked");
        let mut search = Search { until: start + SEARCH_TIMEOUT, unasked: 1 };
        assert!(search.goes_on(start), "one of them may lead in a moment");
    }

    #[test]
    fn refusals_of_sql_keep_their_place() {
        let body = r#"{"errors":["unknown table `t`"],"code":"sql-unknown-table","line":2,"column":15}"#;
        let error = refusal(400, serde_json::from_str(body).unwrap());
        let sql = error.downcast_ref::<SqlError>().unwrap();
        assert_eq!(sql.code, SqlErrorCode::UnknownTable);
        assert_eq!(sql.position, Some(Position { line: 2, column: 15 }));
        assert_eq!(refusal(500, ErrorBody::default()).to_string(), "the JobManager answered with status 500");
    }
}
