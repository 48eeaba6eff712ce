//! The cluster's workers: how they come and go, what they say, what they are told.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_graph::{JobId, TaskReport, WorkerId};
use thalweg_rpc::{Registration, ToLeader, ToWorker};

use super::{Cluster, Effect, SessionId, TASKS_PER_MESSAGE};
use crate::{clock::Timestamp, job_master::Event, quorum::Command};

impl Cluster {
    /// A worker has opened a session.
    pub fn worker_registered(&mut self, session: SessionId, registration: Registration, now: Timestamp) {
        let worker = registration.worker.clone();
        if let Some(old) = self.sessions.insert(worker.clone(), session) {
            self.effects.push(Effect::Close(old));
        }
        self.orders.remove(&worker);
        if !self.state.workers().contains(&worker) {
            self.propose(Command::WorkerCame { worker: worker.clone() });
        }
        self.effects.push(Effect::Send(
            session,
            ToWorker::Welcome {
                term: self.state.term(),
                heartbeat_interval: self.settings.heartbeat_interval,
                heartbeat_timeout: self.settings.heartbeat_timeout,
                job_managers: self.job_managers.clone(),
            },
        ));
        let mut actions = Vec::new();
        let known = self.resources.register(&registration, now, &mut actions);
        if known || self.is_reconciling() {
            self.worker_returned(&worker, registration, now);
        } else {
            self.refuse_strays(&worker, &registration);
        }
        self.manage(actions, now);
        self.reconciled_with(&worker, now);
        self.settle(now);
    }

    /// The quorum has these members: workers look for a leader among them.
    pub fn set_job_managers(&mut self, addresses: &[String]) {
        if self.job_managers == addresses {
            return;
        }
        self.job_managers = addresses.to_vec();
        for session in self.sessions.values() {
            let message = ToWorker::JobManagers { addresses: addresses.to_vec() };
            self.effects.push(Effect::Send(*session, message));
        }
    }

    /// Lets each job look at what the worker still has of it.
    fn worker_returned(&mut self, worker: &WorkerId, registration: Registration, now: Timestamp) {
        let Registration { mut running, mut ended, mut partitions, .. } = registration;
        let Some(location) = self.resources.worker(worker).map(|worker| worker.location.clone()) else {
            return;
        };
        let jobs: Vec<_> = self.masters.keys().copied().collect();
        for job in jobs {
            let event = Event::WorkerReturned {
                location: location.clone(),
                running: running.extract_if(.., |task| task.attempt.job == job).collect(),
                ended: ended.extract_if(.., |(attempt, _)| attempt.job == job).collect(),
                partitions: partitions.extract_if(.., |held| held.producer.job == job).collect(),
            };
            self.tell(job, event, now);
        }
        let running = running.iter().map(|task| task.attempt.job);
        let ended = ended.iter().map(|(attempt, _)| attempt.job);
        let held = partitions.iter().map(|held| held.producer.job);
        self.forget_jobs(worker, running.chain(ended).chain(held).collect());
    }

    /// A worker that was given up is back: what it still runs was started elsewhere since.
    fn refuse_strays(&mut self, worker: &WorkerId, registration: &Registration) {
        let running = registration.running.iter().map(|task| task.attempt);
        let (live, over): (Vec<_>, Vec<_>) = running.partition(|id| self.masters.contains_key(&id.job));
        let term = self.state.term();
        for attempt in live {
            self.send(worker, ToWorker::Cancel { term, attempt });
        }
        let held = registration.partitions.iter().map(|partition| partition.producer.job);
        let ended = registration.ended.iter().map(|(attempt, _)| attempt.job);
        let over = over.iter().map(|attempt| attempt.job).chain(held).chain(ended);
        let over = over.filter(|job| !self.masters.contains_key(job)).collect();
        self.forget_jobs(worker, over);
    }

    fn forget_jobs(&mut self, worker: &WorkerId, jobs: BTreeSet<JobId>) {
        let term = self.state.term();
        for job in jobs {
            self.send(worker, ToWorker::ForgetJob { term, job });
        }
    }

    /// A worker said something. Words of a session that was replaced are void.
    pub fn worker_said(&mut self, session: SessionId, worker: &WorkerId, message: ToLeader, now: Timestamp) {
        if self.sessions.get(worker) != Some(&session) {
            return;
        }
        let memory = match &message {
            ToLeader::Heartbeat { memory_used_bytes, .. } => Some(*memory_used_bytes),
            _ => None,
        };
        self.resources.heard(worker, memory, now);
        match message {
            ToLeader::Task { attempt, update } if self.masters.contains_key(&attempt.job) => {
                let event = Event::Task { worker: worker.clone(), attempt, update };
                self.tell(attempt.job, event, now);
            }
            ToLeader::Task { attempt, update: thalweg_rpc::TaskUpdate::Running } => {
                self.forget_jobs(worker, [attempt.job].into());
            }
            ToLeader::Heartbeat { tasks, .. } => self.note_reports(tasks, now),
            ToLeader::Goodbye { reason } => {
                tracing::info!(%worker, reason, "a worker says goodbye");
                let mut actions = Vec::new();
                self.resources.worker_left(worker, &reason, &mut actions, now);
                self.manage(actions, now);
            }
            // Rows go to the result store before they come here; a session registers once.
            ToLeader::Snapshot { attempt, checkpoint, snapshot } => {
                self.tell(attempt.job, Event::Snapshot { attempt, checkpoint, snapshot }, now);
            }
            ToLeader::SourceTime { attempt, group, watermark_ms, max_drift_ms } => {
                let event = Event::SourceTime { attempt, group, watermark_ms, max_drift_ms };
                self.tell(attempt.job, event, now);
            }
            ToLeader::Task { .. } | ToLeader::ResultChunk { .. } | ToLeader::Register(_) => {}
        }
        self.settle(now);
    }

    fn note_reports(&mut self, tasks: Vec<TaskReport>, now: Timestamp) {
        let mut by_job = BTreeMap::<JobId, Vec<_>>::new();
        for report in tasks {
            by_job.entry(report.attempt.job).or_default().push(report);
        }
        for (job, tasks) in by_job {
            self.tell(job, Event::Reports(tasks), now);
        }
    }

    /// A session is over.
    pub fn session_ended(&mut self, session: SessionId, worker: &WorkerId, now: Timestamp) {
        if self.sessions.get(worker) == Some(&session) {
            self.sessions.remove(worker);
            self.resources.session_ended(worker, now);
        }
    }

    pub(super) fn worker_lost(&mut self, worker: WorkerId, reason: String, now: Timestamp) {
        tracing::info!(%worker, reason, "a worker is gone");
        self.propose(Command::WorkerLeft { worker: worker.clone() });
        self.orders.remove(&worker);
        // A worker that registers anew at this moment has its session already.
        if self.resources.worker(&worker).is_none()
            && let Some(session) = self.sessions.remove(&worker)
        {
            self.effects.push(Effect::Close(session));
        }
        let jobs: Vec<_> = self.masters.keys().copied().collect();
        for job in jobs {
            self.tell(job, Event::WorkerLost { worker: worker.clone(), reason: reason.clone() }, now);
        }
    }

    pub(super) fn send(&mut self, worker: &WorkerId, message: ToWorker) {
        self.send_orders(worker);
        if let Some(session) = self.sessions.get(worker) {
            self.effects.push(Effect::Send(*session, message));
        }
    }

    /// Orders wait for company, but never behind a later message to the same worker.
    pub(super) fn send_orders(&mut self, worker: &WorkerId) {
        let Some(tasks) = self.orders.remove(worker) else { return };
        let Some(session) = self.sessions.get(worker).copied() else { return };
        let term = self.state.term();
        for tasks in tasks.chunks(TASKS_PER_MESSAGE) {
            self.effects.push(Effect::Send(session, ToWorker::Deploy { term, tasks: tasks.to_vec() }));
        }
    }
}
