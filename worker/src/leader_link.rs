//! The worker's side of its session with the leader: registers, gives signs of life, takes orders, and finds the leader again when the
//! session breaks. Tasks keep running meanwhile: a leader change restarts nothing.

use std::{sync::Arc, time::Duration};

use thalweg_graph::WorkerId;
use thalweg_rpc::{Registration, Session, ToLeader, ToWorker, upgrade};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::task_table::TaskTable;

/// Time for the answer to a registration.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the last words.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(3);

/// How a worker reaches its leader.
pub enum LeaderLink {
    /// In the same process. The worker stops when the session ends.
    InProcess(Session<ToLeader, ToWorker>),
    /// At its control port, `host:port`. The worker connects again whenever the session breaks.
    Remote {
        /// Where.
        address: String,
    },
}

/// Why a worker stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// It was told to: by whom and why.
    InOrder(String),
    /// The leader does not want it.
    Refused(String),
}

enum SessionEnd {
    Stopped(Stopped),
    Broken(String),
}

/// Keeps in touch with the leader until the worker is to stop.
pub async fn run(
    link: LeaderLink,
    registration: Registration,
    tasks: Arc<TaskTable>,
    stop: CancellationToken,
) -> Stopped {
    match link {
        LeaderLink::InProcess(session) => {
            match converse(session, &registration, &tasks, &stop, false).await {
                SessionEnd::Stopped(stopped) => stopped,
                SessionEnd::Broken(why) => Stopped::InOrder(why),
            }
        }
        LeaderLink::Remote { address } => stay_connected(&address, registration, &tasks, &stop).await,
    }
}

async fn stay_connected(
    address: &str,
    registration: Registration,
    tasks: &Arc<TaskTable>,
    stop: &CancellationToken,
) -> Stopped {
    let mut backoff = BACKOFF_MIN;
    loop {
        let connecting = tokio::select! {
            connecting = upgrade::connect(address) => connecting,
            () = stop.cancelled() => return stopped_here(),
        };
        let why = match connecting {
            Err(error) => crate::exchange::partition_store::chain(&error),
            Ok(session) => match converse(session, &registration, tasks, stop, true).await {
                SessionEnd::Stopped(stopped) => return stopped,
                SessionEnd::Broken(why) => {
                    backoff = BACKOFF_MIN;
                    why
                }
            },
        };
        tracing::warn!(%why, retry_ms = backoff.as_millis() as u64, "no session with the JobManager");
        tokio::select! {
            () = sleep(backoff) => {}
            () = stop.cancelled() => return stopped_here(),
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

fn stopped_here() -> Stopped {
    Stopped::InOrder("the worker was asked to stop".to_owned())
}

/// One session, from the registration to its end.
async fn converse(
    mut session: Session<ToLeader, ToWorker>,
    registration: &Registration,
    tasks: &Arc<TaskTable>,
    stop: &CancellationToken,
    watch_silence: bool,
) -> SessionEnd {
    let registration = Registration {
        running: tasks.running_tasks(),
        partitions: tasks.exchange.store.files(),
        ..registration.clone()
    };
    if session.sender.send(ToLeader::Register(registration)).await.is_err() {
        return SessionEnd::Broken("the session ended before the registration".to_owned());
    }
    let answer = tokio::select! {
        answer = timeout(WELCOME_TIMEOUT, session.receiver.recv()) => answer,
        () = stop.cancelled() => return SessionEnd::Stopped(stopped_here()),
    };
    let (term, every, silence_max) = match answer {
        Ok(Some(ToWorker::Welcome { term, heartbeat_interval, heartbeat_timeout })) => {
            (term, heartbeat_interval, heartbeat_timeout)
        }
        Ok(Some(ToWorker::Refused { reason })) => return SessionEnd::Stopped(Stopped::Refused(reason)),
        Ok(Some(_)) => {
            return SessionEnd::Broken("the registration was answered by something else".to_owned());
        }
        Ok(None) => return SessionEnd::Broken("the session ended during the registration".to_owned()),
        Err(_) => return SessionEnd::Broken("the registration was not answered".to_owned()),
    };
    if !tasks.admits(term) {
        return SessionEnd::Broken("the leader was replaced by a later one".to_owned());
    }
    for update in tasks.connect(session.sender.clone()) {
        if session.sender.send(update).await.is_err() {
            break;
        }
    }
    tracing::info!(term = term.0, "registered with the JobManager");
    let silence_max = if watch_silence { silence_max } else { Duration::MAX };
    let end = obey(&mut session, tasks, stop, every, silence_max).await;
    tasks.disconnect();
    if let SessionEnd::Stopped(Stopped::InOrder(reason)) = &end {
        let goodbye = ToLeader::Goodbye { reason: reason.clone() };
        // Whether it is heard or not, the worker goes.
        let _ = session.sender.send_timeout(goodbye, GOODBYE_TIMEOUT).await;
    }
    end
}

async fn obey(
    session: &mut Session<ToLeader, ToWorker>,
    tasks: &Arc<TaskTable>,
    stop: &CancellationToken,
    heartbeat_interval: Duration,
    silence_max: Duration,
) -> SessionEnd {
    let mut heartbeat = interval(heartbeat_interval.max(Duration::from_millis(1)));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = tokio::time::Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return SessionEnd::Stopped(stopped_here()),
            _ = heartbeat.tick() => {
                if heard.elapsed() > silence_max {
                    return SessionEnd::Broken(format!("silent for {} ms", silence_max.as_millis()));
                }
                let (sample, memory_used_bytes) = (tasks.reports(), tasks.memory_used_bytes());
                // A full queue means that the leader is busy with what came before; the next one will do.
                let _ = session.sender.try_send(ToLeader::Heartbeat { tasks: sample, memory_used_bytes });
            }
            order = session.receiver.recv() => {
                heard = tokio::time::Instant::now();
                let Some(order) = order else { return SessionEnd::Broken("the session ended".to_owned()) };
                if let Some(end) = carry_out(order, session, tasks).await {
                    return end;
                }
            }
        }
    }
}

async fn carry_out(
    order: ToWorker,
    session: &Session<ToLeader, ToWorker>,
    tasks: &Arc<TaskTable>,
) -> Option<SessionEnd> {
    match order {
        ToWorker::Welcome { .. } | ToWorker::Heartbeat => {}
        ToWorker::Refused { reason } => return Some(SessionEnd::Stopped(Stopped::Refused(reason))),
        ToWorker::Stop { reason } => return Some(SessionEnd::Stopped(Stopped::InOrder(reason))),
        ToWorker::Deploy { term, tasks: descriptors } => {
            if tasks.admits(term) {
                descriptors.into_iter().for_each(|descriptor| tasks.deploy(descriptor));
            }
        }
        ToWorker::Cancel { term, attempt } => {
            if tasks.admits(term)
                && let Some(answer) = tasks.cancel(attempt)
            {
                // A session that is over is noticed at the next order.
                let _ = session.sender.send(answer).await;
            }
        }
        ToWorker::Checkpoint { term, attempts, barrier } => {
            if tasks.admits(term) {
                tasks.checkpoint(&attempts, &barrier);
            }
        }
        ToWorker::AlignSource { attempt, allowed_ms } => tasks.align_source(attempt, allowed_ms),
        ToWorker::ResultTaken { attempt, chunks } => tasks.result_taken(attempt, chunks),
        ToWorker::CheckpointCompleted { term, attempts, checkpoint } => {
            if tasks.admits(term) {
                tasks.checkpoint_completed(&attempts, checkpoint);
            }
        }
        ToWorker::ReleasePartitions { term, partitions } => {
            if tasks.admits(term) {
                tasks.release(&partitions);
            }
        }
        ToWorker::ForgetJob { term, job } => {
            if tasks.admits(term) {
                tasks.forget(job);
            }
        }
    }
    None
}

/// What a worker says of itself, without what changes.
pub fn introduction(
    worker: WorkerId,
    host: String,
    data_address: String,
    slots: u32,
    memory_bytes: u64,
) -> Registration {
    Registration {
        worker,
        host,
        data_address,
        slots,
        memory_bytes,
        build_id: thalweg_graph::BUILD_ID.to_owned(),
        pid: std::process::id(),
        running: Vec::new(),
        partitions: Vec::new(),
    }
}
