//! Three JobManagers in one process, over their real control ports: what one has accepted, the next goes on with.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use tempfile::TempDir;
use thalweg_graph::{JobId, JobStatus, VertexId};
use thalweg_rpc::{Trust, secret::ClusterSecret};
use tokio::{net::TcpListener, task::JoinHandle};

use super::fakes::{FakeWorker, Notes, Words};
use crate::{
    DispatcherHandle, History, JobManager, JobManagerConfig, Role, ScriptAccepted, ScriptRequest,
    access::{TokenDigest, TokenRecord, token},
    clock::Timestamp,
    dispatcher::Error,
    history::testing::HistoryInMemory,
    quorum::{LogLimits, MemberAddress, MemberConfig},
};

/// Pause between two looks at who leads.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

struct Member {
    manager: Arc<JobManager>,
    serving: JoinHandle<()>,
    notes: Arc<Notes>,
    config: MemberConfig,
}

/// They know the same secret.
fn trust() -> Trust {
    Trust { secret: Some(ClusterSecret::new("the secret of all members").unwrap()), ..Trust::default() }
}

impl Member {
    async fn start(config: MemberConfig, listener: TcpListener) -> Member {
        Self::start_with(config, listener, trust(), None).await
    }

    async fn start_with(
        config: MemberConfig,
        listener: TcpListener,
        trust: Trust,
        history: Option<Arc<HistoryInMemory>>,
    ) -> Member {
        let notes = Arc::new(Notes::default());
        let manager = loop {
            let options =
                [("restart-strategy.exponential-delay.initial-backoff", "0 ms")].into_iter().collect();
            let (quorum, trust) = (Some(config.clone()), trust.clone());
            let history = history.clone().map(|storage| History::open(storage, 100));
            let manager_config = JobManagerConfig { options, quorum, trust, history, ..Default::default() };
            match JobManager::start(manager_config, Arc::new(Words), notes.clone(), notes.clone()).await {
                Ok(manager) => break Arc::new(manager),
                // The one before, in the same process, has still to close its log.
                Err(error) if format!("{error:?}").contains("AlreadyOpen") => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        let serving = tokio::spawn({
            let manager = manager.clone();
            async move { drop(manager.serve(listener).await) }
        });
        Member { manager, serving, notes, config }
    }

    /// Starts it on its old address.
    async fn again(config: MemberConfig) -> Member {
        let own = config.members.iter().find(|known| known.member == config.member).unwrap();
        let listener = TcpListener::bind(&own.address).await.unwrap();
        Self::start(config, listener).await
    }

    /// The status of its answer to the bearer of a token, once it has one.
    async fn answer(&self, path: &str, token: &str) -> u16 {
        loop {
            match self.ask(path, token).await {
                503 => tokio::time::sleep(LOOK_INTERVAL).await,
                status => return status,
            }
        }
    }

    /// The status of its answer to the bearer of a token.
    async fn ask(&self, path: &str, token: &str) -> u16 {
        let own = self.config.members.iter().find(|known| known.member == self.config.member).unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let request = Request::get(format!("http://{}{path}", own.address));
        let request = request.header("authorization", format!("Bearer {token}")).body(Empty::new()).unwrap();
        client.request(request).await.unwrap().status().as_u16()
    }

    /// Ends it as a crash would, as far as others can see.
    async fn crash(self) -> MemberConfig {
        self.serving.abort();
        let _ = self.serving.await;
        self.manager.stop().await;
        self.config
    }
}

async fn three(folder: &TempDir) -> Vec<Member> {
    three_with(folder, [trust(), trust(), trust()], None).await
}

async fn three_with(
    folder: &TempDir,
    trusts: [Trust; 3],
    history: Option<Arc<HistoryInMemory>>,
) -> Vec<Member> {
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
    let members: Vec<_> = (1..)
        .zip(&listeners)
        .map(|(member, listener)| MemberAddress { member, address: address(listener) })
        .collect();
    let mut started = Vec::new();
    for ((member, listener), trust) in (1..).zip(listeners).zip(trusts) {
        let folder = folder.path().join(member.to_string());
        let config = MemberConfig {
            member,
            members: members.clone(),
            folder,
            // The other tests of this process leave it little of the processor.
            election_timeout: Duration::from_secs(2),
            log: LogLimits::default(),
        };
        started.push(Member::start_with(config, listener, trust, history.clone()).await);
    }
    started
}

/// Waits until one of them leads and takes orders; takes it out.
async fn take_leader(members: &mut Vec<Member>) -> Member {
    loop {
        for index in 0..members.len() {
            if members[index].manager.dispatcher().overview().await.is_ok() {
                return members.swap_remove(index);
            }
        }
        // Any of them may see it first, and takes orders a moment later.
        let mut leadership = members[0].manager.quorum().unwrap().leadership();
        let _ = tokio::time::timeout(LOOK_INTERVAL, leadership.changed()).await;
    }
}

fn keyed(text: &str) -> ScriptRequest {
    let idempotency_key = Some("nightly".to_owned());
    ScriptRequest { script: text.to_owned(), idempotency_key, ..ScriptRequest::default() }
}

/// Submits a script to whoever leads, as a client does: by one key, as often as another turns out to lead. Takes that one out.
async fn submit(members: &mut Vec<Member>, text: &str) -> (Member, ScriptAccepted) {
    loop {
        let leader = take_leader(members).await;
        match leader.manager.dispatcher().submit_script(keyed(text)).await {
            Ok(accepted) => return (leader, accepted),
            Err(Error::NotLeader { .. }) => members.push(leader),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_leader_goes_on_with_a_script_and_knows_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = three(&folder).await;
    let (first, accepted) = submit(&mut members, "insert\nset\ninsert").await;
    let refused = members[0].manager.dispatcher().jobs().await;
    assert!(matches!(refused, Err(Error::NotLeader { .. })), "another than the leader answers nothing");
    let mut worker = FakeWorker::attach(&first.manager, "a", 1).await;
    let attempt = worker.deployed().await[0];
    worker.finish(attempt).await;
    let job = accepted.jobs[0].jobid;
    assert_eq!(first.manager.dispatcher().wait(job).await.unwrap().status, JobStatus::Finished);
    assert_eq!(worker.deployed().await[0].job, accepted.jobs[1].jobid);
    first.crash().await;

    let (second, again) = submit(&mut members, "insert\nset\ninsert").await;
    assert_eq!(again, accepted, "the key is known");
    let dispatcher = second.manager.dispatcher();
    // The worker comes with nothing: the task it had was lost.
    let mut worker = FakeWorker::attach(&second.manager, "a", 1).await;
    let again = worker.deployed().await[0];
    assert_eq!(
        (again.job, again.number),
        (accepted.jobs[1].jobid, 1),
        "an attempt's number is never used twice"
    );
    worker.finish(again).await;
    assert_eq!(dispatcher.wait(again.job).await.unwrap().status, JobStatus::Finished);
    assert_eq!(
        second.notes.committed.lock().as_slice(),
        [(again.job, 1)],
        "the first job's output is not committed again"
    );
    let jobs = dispatcher.jobs().await.unwrap();
    assert!(jobs.iter().all(|job| job.status == JobStatus::Finished) && jobs.len() == 2, "{jobs:?}");
    second.crash().await;
}

/// All that is said of a job.
async fn told(dispatcher: &DispatcherHandle, job: JobId) -> Value {
    let details = dispatcher.job(job).await.unwrap();
    let (vertex, subtasks) = dispatcher.vertex(job, VertexId(0)).await.unwrap();
    let event_time = dispatcher.event_time(job).await.unwrap();
    assert!(!details.vertices.is_empty() && !event_time.is_empty());
    json!({ "details": *details, "vertex": vertex, "subtasks": subtasks, "eventTime": event_time })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_leader_says_of_a_job_that_has_ended_what_the_one_before_did() {
    let folder = tempfile::tempdir().unwrap();
    let history = Some(Arc::new(HistoryInMemory::default()));
    let mut members = three_with(&folder, [trust(), trust(), trust()], history).await;
    let (first, accepted) = submit(&mut members, "insert").await;
    let job = accepted.jobs[0].jobid;
    let mut worker = FakeWorker::attach(&first.manager, "a", 1).await;
    let attempt = worker.deployed().await[0];
    worker.finish(attempt).await;
    let dispatcher = first.manager.dispatcher();
    assert_eq!(dispatcher.wait(job).await.unwrap().status, JobStatus::Finished);
    // The job is through; that it has ended is decided a moment later.
    while dispatcher.job(job).await.unwrap().summary.ended.is_none() {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    let before = told(&dispatcher, job).await;
    drop(dispatcher);
    first.crash().await;

    let second = take_leader(&mut members).await;
    assert_eq!(told(&second.manager.dispatcher(), job).await, before);
    second.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_is_there_after_all_members_have_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = three(&folder).await;
    let (leader, accepted) = submit(&mut members, "insert").await;
    members.push(leader);
    let mut configs = Vec::new();
    for member in members {
        configs.push(member.crash().await);
    }
    let mut members = Vec::new();
    for config in configs {
        members.push(Member::again(config).await);
    }
    let leader = take_leader(&mut members).await;
    let mut worker = FakeWorker::attach(&leader.manager, "a", 1).await;
    let attempt = worker.deployed().await[0];
    assert_eq!(attempt.job, accepted.jobs[0].jobid);
    worker.finish(attempt).await;
    let end = leader.manager.dispatcher().wait(attempt.job).await.unwrap();
    assert_eq!(end.status, JobStatus::Finished);
    leader.crash().await;
    for member in members {
        member.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_with_another_secret_takes_no_part_and_the_others_do_without() {
    let folder = tempfile::tempdir().unwrap();
    let other =
        Trust { secret: Some(ClusterSecret::new("another secret than theirs").unwrap()), ..Trust::default() };
    // The first would begin the quorum.
    let mut members = three_with(&folder, [other, trust(), trust()], None).await;
    let leader = take_leader(&mut members).await;
    assert_ne!(leader.config.member, 1);
    let stranger = members.iter().find(|member| member.config.member == 1).unwrap();
    let seen = stranger.manager.quorum().unwrap().leadership().borrow().clone();
    assert!(!seen.leads && seen.leader.is_none(), "{seen:?}");
    leader.crash().await;
    for member in members {
        member.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_known_at_every_member_and_to_the_next_leader() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = three(&folder).await;
    let made = token::make().unwrap();
    let record = TokenRecord {
        name: "ci".to_owned(),
        digest: TokenDigest::of(&made),
        role: Role::Read,
        created: Timestamp::wall(),
        expires: None,
        by: "test".to_owned(),
    };
    let leader = loop {
        let leader = take_leader(&mut members).await;
        match leader.manager.dispatcher().create_token(record.clone()).await {
            Ok(()) => break leader,
            Err(Error::NotLeader { .. }) => members.push(leader),
            Err(error) => panic!("{error}"),
        }
    };
    for follower in &members {
        // It hears of it with the leader's next sign of life.
        while follower.ask("/config", &made).await != 200 {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        assert_eq!(follower.answer("/config", "thalweg_00").await, 401);
        assert_eq!(follower.answer("/jobs", "thalweg_00").await, 401, "strangers are not sent to the leader");
    }
    leader.crash().await;
    let leader = take_leader(&mut members).await;
    assert_eq!(leader.ask("/jobs", &made).await, 200);
    let mut configs = vec![leader.crash().await];
    for member in members {
        configs.push(member.crash().await);
    }
    // One alone does not know what was decided: what it has may be old.
    let first = Member::again(configs.remove(0)).await;
    for _ in 0..10 {
        assert_ne!(first.ask("/config", &made).await, 401, "it is not known to be a stranger's");
    }
    assert_eq!(first.ask("/config", "thalweg_00").await, 503);
    let second = Member::again(configs.remove(0)).await;
    for member in [&first, &second] {
        assert_eq!(member.answer("/config", &made).await, 200);
        assert_eq!(member.answer("/config", "thalweg_00").await, 401);
    }
    first.crash().await;
    second.crash().await;
}
