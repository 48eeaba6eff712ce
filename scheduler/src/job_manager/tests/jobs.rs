//! Whole jobs: deployed, recovered, committed, cancelled, read.

use bytes::Bytes;
use futures::TryStreamExt as _;
use thalweg_graph::{FailureKind, JobId, JobStatus, exchange::ExchangeKind::Blocking};
use thalweg_rpc::{Session, TaskUpdate, ToLeader, ToWorker};

use super::fakes::{FakeWorker, manager};
use crate::{
    ScriptRequest,
    dispatcher::Error,
    testing::{graph, query, registration},
};

#[tokio::test]
async fn a_job_runs_and_is_committed_once() {
    let (manager, notes) = manager(&[]).await;
    let mut worker = FakeWorker::attach(&manager, "a", 2).await;
    let job = manager.dispatcher().submit(graph(7, &[2, 1], &[(0, 1, Blocking)], &[])).await.unwrap();
    for count in [2, 1] {
        let tasks = worker.deployed().await;
        assert_eq!(tasks.len(), count);
        for task in tasks {
            worker.update(task, TaskUpdate::Running).await;
            worker.finish(task).await;
        }
    }
    let end = manager.dispatcher().wait(job).await.unwrap();
    assert_eq!(end.status, JobStatus::Finished);
    assert_eq!(*notes.committed.lock(), [(job, 1)]);
    loop {
        if matches!(worker.hear().await, ToWorker::ForgetJob { job: over, .. } if over == job) {
            break;
        }
    }
    let overview = manager.dispatcher().overview().await.unwrap();
    assert_eq!((overview.slots_free, overview.jobs_finished), (2, 1));
}

#[tokio::test]
async fn a_task_of_a_lost_worker_runs_on_another() {
    let (manager, _) = manager(&[]).await;
    let options = [("restart-strategy.exponential-delay.initial-backoff", "0 ms")];
    let mut lost = FakeWorker::attach(&manager, "a", 1).await;
    let job = manager.dispatcher().submit(graph(7, &[1], &[], &options)).await.unwrap();
    let first = lost.deployed().await[0];
    drop(lost);
    let mut worker = FakeWorker::attach(&manager, "b", 1).await;
    let second = worker.deployed().await[0];
    assert_eq!((second.subtask, second.number), (first.subtask, 1));
    worker.finish(second).await;
    assert_eq!(manager.dispatcher().wait(job).await.unwrap().status, JobStatus::Finished);
    let details = manager.dispatcher().job(job).await.unwrap();
    assert_eq!((details.restarts, details.failures[0].failure.kind.clone()), (1, FailureKind::WorkerLost));
}

#[tokio::test]
async fn a_worker_that_registers_again_at_once_keeps_its_tasks() {
    let (manager, _) = manager(&[("heartbeat.timeout", "1 h")]).await;
    let mut before = FakeWorker::attach(&manager, "a", 1).await;
    let job = manager.dispatcher().submit(graph(7, &[1], &[], &[])).await.unwrap();
    let attempt = before.deployed().await[0];
    let (worker, leader) = Session::pair();
    manager.attach_worker(leader);
    let after = FakeWorker(worker);
    let mut again = registration("a", 1);
    again.running = vec![thalweg_rpc::RunningTask {
        attempt,
        epoch: Default::default(),
        state: thalweg_graph::TaskState::Running,
        slot: 0,
        barrier: None,
    }];
    after.say(ToLeader::Register(again)).await;
    after.finish(attempt).await;
    assert_eq!(manager.dispatcher().wait(job).await.unwrap().status, JobStatus::Finished);
    assert_eq!(before.0.receiver.recv().await, None, "the old session is closed");
}

#[tokio::test]
async fn cancel_stops_the_tasks_and_withdraws_the_output() {
    let (manager, notes) = manager(&[]).await;
    let mut worker = FakeWorker::attach(&manager, "a", 1).await;
    let job = manager.dispatcher().submit(graph(7, &[1], &[], &[])).await.unwrap();
    let attempt = worker.deployed().await[0];
    manager.dispatcher().cancel(job).await.unwrap();
    assert!(matches!(worker.hear().await, ToWorker::Cancel { attempt: told, .. } if told == attempt));
    worker.update(attempt, TaskUpdate::Canceled).await;
    assert_eq!(manager.dispatcher().wait(job).await.unwrap().status, JobStatus::Canceled);
    assert_eq!((notes.committed.lock().len(), notes.aborted.lock().as_slice()), (0, [job].as_slice()));
}

#[tokio::test]
async fn a_job_without_slots_says_why_and_fails_with_that() {
    let (manager, _) = manager(&[]).await;
    let _worker = FakeWorker::attach(&manager, "a", 2).await;
    let edges = [(0, 1, thalweg_graph::exchange::ExchangeKind::Pipelined)];
    let options = [("slot.request.timeout", "50 ms")];
    let job = manager.dispatcher().submit(graph(7, &[4, 4], &edges, &options)).await.unwrap();
    let details = manager.dispatcher().job(job).await.unwrap();
    assert_eq!(details.summary.status, JobStatus::Created);
    assert_eq!(details.waiting.as_deref(), Some("needs 4 slots, 2 are free on 1 worker"));
    let end = manager.dispatcher().wait(job).await.unwrap();
    let failure = end.failure.unwrap();
    assert_eq!((end.status, failure.kind), (JobStatus::Failed, FailureKind::NoSlots));
    assert!(failure.message.contains("needs 4 slots, 2 are free on 1 worker"), "{}", failure.message);
}

#[tokio::test]
async fn a_commit_is_tried_again_and_a_final_refusal_fails_the_job() {
    let (manager, notes) = manager(&[]).await;
    let mut worker = FakeWorker::attach(&manager, "a", 1).await;
    for (job, failures, status) in [
        (1, vec![FailureKind::Io], JobStatus::Finished),
        (2, vec![FailureKind::Deterministic], JobStatus::Failed),
    ] {
        *notes.failures.lock() = failures;
        let job = manager.dispatcher().submit(graph(job, &[1], &[], &[])).await.unwrap();
        let attempt = worker.deployed().await[0];
        worker.finish(attempt).await;
        assert_eq!(manager.dispatcher().wait(job).await.unwrap().status, status);
    }
    assert_eq!(*notes.committed.lock(), [(JobId(1), 1)]);
    assert_eq!(*notes.aborted.lock(), [JobId(2)]);
}

#[tokio::test]
async fn a_retried_query_shows_the_rows_of_its_finished_attempt_only() {
    let (manager, _) = manager(&[]).await;
    let mut worker = FakeWorker::attach(&manager, "a", 1).await;
    let mut graph = query(7);
    graph.options = [("restart-strategy.exponential-delay.initial-backoff", "0 ms")].into_iter().collect();
    let job = manager.dispatcher().submit(graph).await.unwrap();
    let first = worker.deployed().await[0];
    worker.say(ToLeader::ResultChunk { attempt: first, bytes: Bytes::from_static(b"half") }).await;
    worker.fail(first, FailureKind::Io).await;
    let second = worker.deployed().await[0];
    for bytes in [&b"all of"[..], &b" it"[..]] {
        worker.say(ToLeader::ResultChunk { attempt: second, bytes: Bytes::from_static(bytes) }).await;
    }
    worker.finish(second).await;
    let chunks: Vec<Bytes> = manager.dispatcher().result(job).await.unwrap().try_collect().await.unwrap();
    assert_eq!(chunks.concat(), b"all of it");
    let broken = manager.dispatcher().result_page(job, 0).await;
    assert!(matches!(broken, Err(Error::ResultUnreadable { .. })));
}

#[tokio::test]
async fn an_unread_result_is_freed_after_its_time() {
    let (manager, _) = manager(&[("sql-gateway.operation.idle-timeout", "0 ms")]).await;
    let mut worker = FakeWorker::attach(&manager, "a", 1).await;
    let job = manager.dispatcher().submit(query(7)).await.unwrap();
    let attempt = worker.deployed().await[0];
    worker.finish(attempt).await;
    manager.dispatcher().wait(job).await.unwrap();
    let mut states = manager.dispatcher().results.watch(job).unwrap();
    states.wait_for(|state| matches!(state, crate::result_store::JobResult::Gone)).await.unwrap();
    assert!(matches!(manager.dispatcher().result(job).await, Err(Error::ResultGone(_))));
}

#[tokio::test]
async fn a_worker_of_another_build_is_refused_with_a_reason() {
    let (manager, _) = manager(&[]).await;
    let (mut worker, leader) = Session::<ToLeader, ToWorker>::pair();
    manager.attach_worker(leader);
    let mut other = registration("a", 1);
    other.build_id = "old".to_owned();
    worker.sender.send(ToLeader::Register(other)).await.unwrap();
    let Some(ToWorker::Refused { reason }) = worker.receiver.recv().await else { panic!("it was taken") };
    assert!(reason.contains("`old`"), "{reason}");
    assert_eq!(worker.receiver.recv().await, None);
}

fn script(text: &str) -> ScriptRequest {
    ScriptRequest { script: text.to_owned(), ..ScriptRequest::default() }
}

#[tokio::test]
async fn a_scripts_jobs_run_one_after_another() {
    let (manager, notes) = manager(&[]).await;
    let mut worker = FakeWorker::attach(&manager, "a", 2).await;
    let accepted = manager.dispatcher().submit_script(script("set\ninsert\nnothing\ninsert")).await.unwrap();
    let lines: Vec<_> = accepted.jobs.iter().map(|job| (job.line, job.is_query)).collect();
    assert_eq!(lines, [(2, false), (3, false), (4, false)]);
    let first = worker.deployed().await[0];
    let second = accepted.jobs[2].jobid;
    let details = manager.dispatcher().job(second).await.unwrap();
    assert_eq!(details.summary.status, JobStatus::Initializing);
    worker.finish(first).await;
    let next = worker.deployed().await[0];
    assert_eq!(next.job, second);
    worker.finish(next).await;
    assert_eq!(manager.dispatcher().wait(second).await.unwrap().status, JobStatus::Finished);
    assert_eq!(notes.committed.lock().len(), 2);
}

#[tokio::test]
async fn a_statement_that_cannot_be_planned_fails_its_job_and_the_rest() {
    let (manager, _) = manager(&[]).await;
    let mut worker = FakeWorker::attach(&manager, "a", 1).await;
    let accepted = manager.dispatcher().submit_script(script("insert\nbroken\nquery")).await.unwrap();
    let attempt = worker.deployed().await[0];
    worker.finish(attempt).await;
    let mut texts = Vec::new();
    for job in &accepted.jobs[1..] {
        let end = manager.dispatcher().wait(job.jobid).await.unwrap();
        assert_eq!(end.status, JobStatus::Failed);
        texts.push(end.failure.unwrap().message);
    }
    assert_eq!(texts[0], "there is no table `t`");
    assert_eq!(texts[1], "not run: the statement on line 2 failed: there is no table `t`");
    let unread = manager.dispatcher().result(accepted.jobs[2].jobid).await;
    assert!(matches!(unread, Err(Error::JobFailed { .. })));
}

#[tokio::test]
async fn a_cancelled_job_of_a_script_takes_those_after_it_along() {
    let (manager, _) = manager(&[]).await;
    let accepted = manager.dispatcher().submit_script(script("insert\ninsert")).await.unwrap();
    let [first, second] = [0, 1].map(|n: usize| accepted.jobs[n].jobid);
    manager.dispatcher().cancel(first).await.unwrap();
    assert_eq!(manager.dispatcher().wait(first).await.unwrap().status, JobStatus::Canceled);
    let end = manager.dispatcher().wait(second).await.unwrap();
    assert_eq!(end.status, JobStatus::Failed);
    assert!(end.failure.unwrap().message.contains("CANCELED"));
}

#[tokio::test]
async fn the_same_key_gives_the_same_answer_and_another_script_is_refused() {
    let (manager, _) = manager(&[]).await;
    let keyed = |text: &str| ScriptRequest { idempotency_key: Some("k".to_owned()), ..script(text) };
    let first = manager.dispatcher().submit_script(keyed("insert")).await.unwrap();
    assert_eq!(manager.dispatcher().submit_script(keyed("insert")).await.unwrap(), first);
    assert_eq!(manager.dispatcher().jobs().await.unwrap().len(), 1);
    let other = manager.dispatcher().submit_script(keyed("query")).await;
    assert!(matches!(other, Err(Error::KeyReused(_))));
}

#[tokio::test]
async fn more_jobs_than_are_allowed_are_refused_until_some_have_ended() {
    let (manager, _) = manager(&[("jobmanager.open-jobs.max", "1")]).await;
    let dispatcher = manager.dispatcher();
    let accepted = dispatcher.submit_script(script("insert")).await.unwrap();
    assert!(matches!(dispatcher.submit_script(script("insert")).await, Err(Error::TooManyJobs(1))));
    dispatcher.cancel(accepted.jobs[0].jobid).await.unwrap();
    dispatcher.wait(accepted.jobs[0].jobid).await.unwrap();
    dispatcher.submit_script(script("insert")).await.unwrap();
}

#[tokio::test]
async fn a_script_that_is_refused_leaves_no_job() {
    let (manager, _) = manager(&[]).await;
    assert!(matches!(manager.dispatcher().submit_script(script("syntax")).await, Err(Error::Sql(_))));
    let accepted = manager.dispatcher().submit_script(script("set")).await.unwrap();
    assert_eq!((accepted.jobid, accepted.jobs.len()), (None, 0));
    assert!(manager.dispatcher().jobs().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_stopped_dispatcher_says_so() {
    let (manager, _) = manager(&[]).await;
    let job = manager.dispatcher().submit(graph(7, &[1], &[], &[])).await.unwrap();
    let waiting = tokio::spawn({
        let dispatcher = manager.dispatcher();
        let watch = dispatcher.watch(job).await.unwrap();
        async move {
            let mut watch = watch;
            watch.wait_for(|progress| progress.status.is_terminal()).await.is_err()
        }
    });
    manager.stop().await;
    assert!(waiting.await.unwrap());
    assert!(matches!(manager.dispatcher().jobs().await, Err(Error::Stopped)));
}
