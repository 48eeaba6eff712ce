//! The workers' door: one task for each session. Rows of queries go into the result store on the way, everything else to the
//! dispatcher; what the dispatcher has for the worker goes out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use thalweg_graph::{Attempt, BUILD_ID, Failure, TaskMetrics, WorkerId};
use thalweg_rpc::{Registration, Session, TaskUpdate, ToLeader, ToWorker};
use tokio::{
    sync::{mpsc, oneshot},
    time,
};

use crate::{
    dispatcher::{
        cluster::SessionId,
        input::{Input, Outbox},
    },
    result_store::{CannotKeep, ResultStore},
};

/// Time for the first message.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages that may wait for one worker. The dispatcher never waits: a worker that is so far behind is given up.
const OUTBOX_MESSAGES: usize = 1 << 16;
/// Time for what was sent before a session is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Takes workers in.
#[derive(Clone)]
pub struct WorkerGateway {
    inputs: mpsc::Sender<Input>,
    results: Arc<ResultStore>,
    sessions: Arc<AtomicU64>,
}

impl WorkerGateway {
    pub(crate) fn new(inputs: mpsc::Sender<Input>, results: Arc<ResultStore>) -> Self {
        Self { inputs, results, sessions: Arc::default() }
    }

    /// Runs a worker's session to its end, in a task of its own.
    pub fn attach(&self, session: Session<ToWorker, ToLeader>) {
        tokio::spawn(self.clone().run(session));
    }

    async fn run(self, session: Session<ToWorker, ToLeader>) {
        let Session { sender, mut receiver } = session;
        let registration = match register(&mut receiver).await {
            Ok(registration) => registration,
            Err(reason) => {
                tracing::warn!(reason, "a worker is refused");
                let refusal = sender.send(ToWorker::Refused { reason });
                return drop(time::timeout(CLOSE_TIMEOUT, refusal).await);
            }
        };
        let worker = registration.worker.clone();
        let id = SessionId(self.sessions.fetch_add(1, Ordering::Relaxed));
        tracing::info!(%worker, slots = registration.slots, "a worker registers");
        let (messages, queue) = mpsc::channel(OUTBOX_MESSAGES);
        let (open, closed) = oneshot::channel();
        let mut sending = tokio::spawn(forward(queue, sender.clone()));
        let outbox = Outbox { messages, _open: open };
        let registered = Input::Registered { session: id, registration: Box::new(registration), outbox };
        if self.inputs.send(registered).await.is_err() {
            return sending.abort();
        }
        tokio::select! {
            () = self.listen(id, &worker, &mut receiver, &sender) => {}
            _ = closed => drop(time::timeout(CLOSE_TIMEOUT, &mut sending).await),
        }
        sending.abort();
        // A dispatcher that is gone needs to know nothing.
        let _ = self.inputs.send(Input::SessionEnded { session: id, worker }).await;
    }

    async fn listen(
        &self,
        id: SessionId,
        worker: &WorkerId,
        receiver: &mut mpsc::Receiver<ToLeader>,
        sender: &mpsc::Sender<ToWorker>,
    ) {
        while let Some(message) = receiver.recv().await {
            let message = match message {
                ToLeader::ResultChunk { attempt, bytes } => {
                    match self.results.append(attempt, bytes, sender).await {
                        Ok(()) => continue,
                        Err(error) => cannot_keep(attempt, &error),
                    }
                }
                message => message,
            };
            let said = Input::Said { session: id, worker: worker.clone(), message };
            if self.inputs.send(said).await.is_err() {
                return;
            }
        }
    }
}

async fn register(receiver: &mut mpsc::Receiver<ToLeader>) -> Result<Registration, String> {
    let registration = match time::timeout(REGISTER_TIMEOUT, receiver.recv()).await {
        Ok(Some(ToLeader::Register(registration))) => registration,
        Ok(Some(_)) => return Err("the first message must be a registration".to_owned()),
        Ok(None) => return Err("the session ended before a registration".to_owned()),
        Err(_) => return Err(format!("no registration within {} s", REGISTER_TIMEOUT.as_secs())),
    };
    if registration.build_id != BUILD_ID {
        return Err(format!(
            "worker `{}` is of build `{}`, the JobManager of build `{BUILD_ID}`: start it from the same binary",
            registration.worker, registration.build_id
        ));
    }
    Ok(registration)
}

async fn forward(mut queue: mpsc::Receiver<ToWorker>, sender: mpsc::Sender<ToWorker>) {
    while let Some(message) = queue.recv().await {
        if sender.send(message).await.is_err() {
            return;
        }
    }
}

/// Rows that cannot be kept fail the task that sends them.
fn cannot_keep(attempt: Attempt, error: &CannotKeep) -> ToLeader {
    let failure = Failure::new(error.kind(), error.to_string());
    ToLeader::Task { attempt, update: TaskUpdate::Failed { failure, metrics: TaskMetrics::default() } }
}
