//! The control plane with many workers: real code, workers inside this process that keep their tasks running and give signs of life as
//! real ones do.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use thalweg_graph::{Attempt, JobStatus, TaskMetrics, TaskReport, exchange::ExchangeKind};
use thalweg_rpc::{Session, TaskUpdate, ToLeader, ToWorker};
use tokio::time::{MissedTickBehavior, interval};

use super::{Error, NoCommitter, NoPlanner, NoStorage, VERTICES, graph, registration};
use crate::{JobManager, JobManagerConfig};

/// What a cluster of some size takes of its control plane.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Workers.
    pub workers: u32,
    /// Tasks of the job.
    pub tasks: u32,
    /// From the first registration to the last.
    pub registered: Duration,
    /// From the submission until every task runs.
    pub running: Duration,
    /// From the cancel to the job's end.
    pub canceled: Duration,
}

/// Registers workers, runs a pipelined job of about so many tasks on them for a while, and cancels it. `observed` is called when all tasks
/// run, and again after the while.
pub async fn measure(
    workers: u32,
    tasks: u32,
    duration: Duration,
    mut observed: impl FnMut(),
) -> Result<Scale, Error> {
    let parallelism = (tasks / VERTICES).max(1);
    let config = JobManagerConfig::default();
    let manager =
        JobManager::start(config, Arc::new(NoPlanner), Arc::new(NoCommitter), Arc::new(NoStorage)).await?;
    let dispatcher = manager.dispatcher();
    let start = Instant::now();
    for number in 0..workers {
        let (worker, leader) = Session::<ToLeader, ToWorker>::pair();
        manager.attach_worker(leader);
        tokio::spawn(keep_running(worker, number, parallelism.div_ceil(workers)));
    }
    while dispatcher.overview().await?.workers < workers {
        tokio::task::yield_now().await;
    }
    let registered = start.elapsed();
    let graph = graph(parallelism, ExchangeKind::Pipelined);
    let tasks = graph.task_count() as u32;
    let start = Instant::now();
    let job = dispatcher.submit(graph).await?;
    let mut progress = dispatcher.watch(job).await?;
    let all_run = progress.wait_for(|progress| {
        progress.vertices.iter().map(|vertex| vertex.running).sum::<u32>() == tasks
            || progress.status.is_terminal()
    });
    let status = all_run.await.map_err(|_| crate::dispatcher::Error::Stopped)?.status;
    if status.is_terminal() {
        return Err(Error::Ended(status));
    }
    let running = start.elapsed();
    observed();
    tokio::time::sleep(duration).await;
    observed();
    let start = Instant::now();
    dispatcher.cancel(job).await?;
    let end = dispatcher.wait(job).await?;
    let canceled = start.elapsed();
    manager.stop().await;
    match end.status {
        JobStatus::Canceled => Ok(Scale { workers, tasks, registered, running, canceled }),
        status => Err(Error::Ended(status)),
    }
}

/// A worker whose tasks run until they are cancelled.
async fn keep_running(mut session: Session<ToLeader, ToWorker>, number: u32, slots: u32) {
    if session.sender.send(ToLeader::Register(registration(number, slots))).await.is_err() {
        return;
    }
    let mut running = BTreeSet::<Attempt>::new();
    let mut heartbeat = interval(Duration::from_secs(2));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let answers = tokio::select! {
            _ = heartbeat.tick() => vec![sign_of_life(&running)],
            message = session.receiver.recv() => match message {
                Some(message) => obey(message, &mut running),
                None => return,
            },
        };
        for answer in answers {
            if session.sender.send(answer).await.is_err() {
                return;
            }
        }
    }
}

fn sign_of_life(running: &BTreeSet<Attempt>) -> ToLeader {
    let report = |attempt: &Attempt| TaskReport {
        attempt: *attempt,
        metrics: TaskMetrics::default(),
        splits: Vec::new(),
    };
    ToLeader::Heartbeat { tasks: running.iter().map(report).collect(), memory_used_bytes: 0 }
}

fn obey(message: ToWorker, running: &mut BTreeSet<Attempt>) -> Vec<ToLeader> {
    match message {
        ToWorker::Deploy { tasks, .. } => {
            let attempts = tasks.iter().map(|task| task.attempt);
            let answers = attempts.map(|attempt| {
                running.insert(attempt);
                ToLeader::Task { attempt, update: TaskUpdate::Running }
            });
            answers.collect()
        }
        ToWorker::Cancel { attempt, .. } => {
            running.remove(&attempt);
            vec![ToLeader::Task { attempt, update: TaskUpdate::Canceled }]
        }
        _ => Vec::new(),
    }
}
