//! The worker's side of its session with the leader: registers, gives signs of life, takes orders, and finds the leader again when the
//! session breaks. Tasks keep running meanwhile: a leader change restarts nothing.

use std::{sync::Arc, time::Duration};

use thalweg_graph::{Term, WorkerId};
use thalweg_rpc::{Registration, Session, ToLeader, ToWorker, Trust, call, upgrade};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::task_table::TaskTable;

/// Time for the answer to a registration.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the last words.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(3);
/// The same soon after a leader was lost, and how long that is.
const BACKOFF_EAGER_MAX: Duration = Duration::from_millis(200);
const SEARCH_EAGERLY: Duration = Duration::from_secs(15);
/// Time for a JobManager to take the connection and open the session.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// Silence of the leader, beyond its heartbeat interval, after which other JobManagers are asked; how often, and for how long.
const ASK_AFTER: Duration = Duration::from_millis(500);
const ASK_INTERVAL: Duration = Duration::from_millis(500);
const ASK_TIMEOUT: Duration = Duration::from_millis(500);

/// How a worker reaches its leader.
pub enum LeaderLink {
    /// In the same process. The worker stops when the session ends.
    InProcess(Session<ToLeader, ToWorker>),
    /// At the control port of one of these JobManagers, `host:port` each. The worker looks for the leader again whenever the session
    /// breaks.
    Remote {
        /// Where; at least one.
        addresses: Vec<String>,
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
    trust: Trust,
    registration: Registration,
    tasks: Arc<TaskTable>,
    stop: CancellationToken,
) -> Stopped {
    match link {
        LeaderLink::InProcess(session) => match converse(session, &registration, &tasks, &stop, None).await {
            SessionEnd::Stopped(stopped) => stopped,
            SessionEnd::Broken(why) => Stopped::InOrder(why),
        },
        LeaderLink::Remote { addresses } => {
            stay_connected(Members::new(addresses, trust), registration, &tasks, &stop).await
        }
    }
}

async fn stay_connected(
    mut members: Members,
    registration: Registration,
    tasks: &Arc<TaskTable>,
    stop: &CancellationToken,
) -> Stopped {
    let mut backoff = BACKOFF_MIN;
    let mut lost = Instant::now();
    loop {
        let address = members.next();
        let mut refused = false;
        let connecting = tokio::select! {
            connecting = timeout(OPEN_TIMEOUT, upgrade::connect(&address, &members.trust)) => connecting,
            () = stop.cancelled() => return stopped_here(),
        };
        let why = match connecting {
            Err(_) => format!("`{address}` did not answer within {} ms", OPEN_TIMEOUT.as_millis()),
            Ok(Err(upgrade::Error::Elsewhere { leader, .. })) if members.follow(&leader) => continue,
            Ok(Err(error)) => {
                refused = error.is_refusal();
                thalweg_graph::failure::chain(&error)
            }
            Ok(Ok(session)) => {
                members.leader(&address);
                match converse(session, &registration, tasks, stop, Some(&mut members)).await {
                    SessionEnd::Stopped(stopped) => return stopped,
                    SessionEnd::Broken(why) => {
                        (backoff, lost) = (BACKOFF_MIN, Instant::now());
                        why
                    }
                }
            }
        };
        if refused {
            // It will be the same the next time, until somebody changes a configuration.
            backoff = BACKOFF_MAX;
        }
        tracing::warn!(%why, retry_ms = backoff.as_millis() as u64, "no session with the JobManager");
        tokio::select! {
            () = sleep(backoff) => {}
            () = stop.cancelled() => return stopped_here(),
        }
        // A quorum has another leader within a second or two.
        let max = if lost.elapsed() < SEARCH_EAGERLY && !refused { BACKOFF_EAGER_MAX } else { BACKOFF_MAX };
        backoff = (backoff * 2).min(max);
    }
}

/// The JobManagers that a worker knows, and which of them it asks next.
struct Members {
    known: Vec<String>,
    turn: usize,
    /// Whom one of them has named as the leader.
    named: Option<String>,
    /// How often in a row it was sent elsewhere.
    hops: usize,
    /// Whom it has spoken with last.
    leader: String,
    /// What the worker proves itself by.
    trust: Trust,
}

impl Members {
    fn new(known: Vec<String>, trust: Trust) -> Self {
        Self { known, turn: 0, named: None, hops: 0, leader: String::new(), trust }
    }

    /// This one leads.
    fn leader(&mut self, address: &str) {
        address.clone_into(&mut self.leader);
    }

    /// The quorum has these members.
    fn replace(&mut self, addresses: Vec<String>) {
        if !addresses.is_empty() {
            self.known = addresses;
        }
    }

    fn next(&mut self) -> String {
        if let Some(named) = self.named.take() {
            return named;
        }
        self.hops = 0;
        self.turn += 1;
        self.known.get((self.turn - 1) % self.known.len().max(1)).cloned().unwrap_or_default()
    }

    /// Asks the one next that was named; not for ever, where two name each other.
    fn follow(&mut self, leader: &str) -> bool {
        self.hops += 1;
        self.named = Some(leader.to_owned());
        self.hops <= self.known.len() + 1
    }

    /// All but the leader.
    fn others(&self) -> impl Iterator<Item = &String> {
        self.known.iter().filter(|known| **known != self.leader)
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
    mut members: Option<&mut Members>,
) -> SessionEnd {
    let running = tasks.running_tasks();
    let registration = Registration {
        running: running.clone(),
        ended: tasks.ended_tasks(),
        partitions: tasks.partitions(),
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
        Ok(Some(ToWorker::Welcome { term, heartbeat_interval, heartbeat_timeout, job_managers })) => {
            if let Some(members) = &mut members {
                members.replace(job_managers);
            }
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
    for update in tasks.connect(session.sender.clone(), &running) {
        if session.sender.send(update).await.is_err() {
            break;
        }
    }
    tracing::info!(term = term.0, "registered with the JobManager");
    let mut watch = LeaderWatch { max: silence_max, ask_after: every + ASK_AFTER, members, term };
    let end = obey(&mut session, tasks, stop, every, &mut watch).await;
    tasks.disconnect();
    if let SessionEnd::Stopped(Stopped::InOrder(reason)) = &end {
        let goodbye = ToLeader::Goodbye { reason: reason.clone() };
        // Whether it is heard or not, the worker goes.
        let _ = session.sender.send_timeout(goodbye, GOODBYE_TIMEOUT).await;
    }
    end
}

/// What a worker does about a leader that says nothing.
struct LeaderWatch<'a> {
    /// Silence after which it is given up.
    max: Duration,
    /// Silence after which others are asked whether one of them leads now.
    ask_after: Duration,
    /// All JobManagers; `None` for the one in this process, which is never given up.
    members: Option<&'a mut Members>,
    /// The term of the leader.
    term: Term,
}

impl LeaderWatch<'_> {
    /// Whether it was silent for too long.
    fn gives_up_after(&self, silent: Duration) -> bool {
        self.members.is_some() && silent > self.max
    }

    /// Whether others are to be asked.
    fn asks_after(&self, silent: Duration) -> bool {
        silent > self.ask_after
            && self.members.as_ref().is_some_and(|members| members.others().next().is_some())
    }

    /// Whether another JobManager leads in a later term.
    async fn is_replaced(&self) -> bool {
        let Some(members) = &self.members else { return false };
        let asking = members.others().map(|other| timeout(ASK_TIMEOUT, call::leader(other, &members.trust)));
        let answers = futures::future::join_all(asking).await;
        answers.into_iter().any(|answer| matches!(answer, Ok(Ok(Some((term, _)))) if Term(term) > self.term))
    }
}

async fn obey(
    session: &mut Session<ToLeader, ToWorker>,
    tasks: &Arc<TaskTable>,
    stop: &CancellationToken,
    heartbeat_interval: Duration,
    watch: &mut LeaderWatch<'_>,
) -> SessionEnd {
    let mut heartbeat = interval(heartbeat_interval.max(Duration::from_millis(1)));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ask = interval(ASK_INTERVAL);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return SessionEnd::Stopped(stopped_here()),
            _ = heartbeat.tick() => {
                if watch.gives_up_after(heard.elapsed()) {
                    return SessionEnd::Broken(format!("silent for {} ms", watch.max.as_millis()));
                }
                let (sample, memory_used_bytes) = (tasks.reports(), tasks.memory_used_bytes());
                // A full queue means that the leader is busy with what came before; the next one will do.
                let _ = session.sender.try_send(ToLeader::Heartbeat { tasks: sample, memory_used_bytes });
            }
            _ = ask.tick(), if watch.asks_after(heard.elapsed()) => {
                if watch.is_replaced().await {
                    return SessionEnd::Broken("it is silent, and another JobManager leads".to_owned());
                }
            }
            order = session.receiver.recv() => {
                heard = Instant::now();
                let Some(order) = order else { return SessionEnd::Broken("the session ended".to_owned()) };
                if let (ToWorker::JobManagers { addresses }, Some(members)) = (&order, &mut watch.members) {
                    members.replace(addresses.clone());
                }
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
        ToWorker::Welcome { .. } | ToWorker::Heartbeat | ToWorker::JobManagers { .. } => {}
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
        ended: Vec::new(),
        partitions: Vec::new(),
    }
}
