//! The dispatcher's task: takes what comes in, feeds it to the pure machines, carries out what they decide. It waits for nothing
//! but its inbox and the next deadline; whatever may take long runs in a task of its own and comes back as input.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use thalweg_graph::{JobId, Options, Term};
use tokio::sync::{Semaphore, mpsc, watch};

use super::{
    Error,
    cluster::{Cluster, Effect, SessionId},
    commit,
    input::{Input, Outbox},
    recover,
    request::Request,
    rescale, script,
};
use crate::{
    access::Tokens,
    checkpoint_storage::CheckpointStorage,
    clock::{Clock, Timestamp},
    committer::Committer,
    history::History,
    planner::Planner,
    quorum::{Command, Decided, Leadership, MemberId, Quorum, ToState, Undecided},
    result_store::ResultStore,
    view::JobProgress,
};

/// The term of a JobManager that has no others beside it.
const ALONE: Term = Term(1);
/// Inputs that are taken at once.
const BATCH: usize = 512;
/// Least time between two pictures of a job's progress while its status stays the same.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// What the task owns.
pub(crate) struct Driver {
    pub(super) cluster: Cluster,
    pub(super) clock: Clock,
    pub(super) options: Options,
    pub(super) planner: Arc<dyn Planner>,
    /// Statements that are planned at once: what was accepted waits for its turn, and leaves the processor to what else there is to do.
    pub(super) planning: Arc<Semaphore>,
    /// Jobs that may wait or run at once.
    pub(super) open_jobs_max: usize,
    pub(super) results: Arc<ResultStore>,
    /// To itself, for tasks that come back with input.
    pub(super) inbox: mpsc::WeakSender<Input>,
    quorum: Quorum,
    /// The tokens that there are.
    tokens: watch::Sender<Arc<Tokens>>,
    leadership: Leadership,
    committer: Arc<dyn Committer>,
    storage: Arc<dyn CheckpointStorage>,
    pub(super) history: Option<History>,
    outboxes: BTreeMap<SessionId, Outbox>,
    watchers: BTreeMap<JobId, Watcher>,
    changed: BTreeSet<JobId>,
}

struct Watcher {
    progress: watch::Sender<Arc<JobProgress>>,
    published: Timestamp,
}

impl Driver {
    pub(crate) fn new(
        cluster: Cluster,
        clock: Clock,
        options: Options,
        planner: Arc<dyn Planner>,
        committer: Arc<dyn Committer>,
        storage: Arc<dyn CheckpointStorage>,
        history: Option<History>,
        results: Arc<ResultStore>,
        inbox: mpsc::WeakSender<Input>,
        quorum: Quorum,
        tokens: watch::Sender<Arc<Tokens>>,
        open_jobs_max: usize,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            planning: Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))),
            open_jobs_max,
            quorum,
            tokens,
            leadership: Leadership::default(),
            cluster,
            clock,
            options,
            planner,
            results,
            inbox,
            committer,
            storage,
            history,
            outboxes: BTreeMap::new(),
            watchers: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Runs until it is told to stop or nobody can tell it anything any more.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut batch = Vec::with_capacity(BATCH);
        if let Quorum::Alone = self.quorum {
            self.cluster.elected(Some(ALONE));
            self.propose(Command::Lead { member: MemberId::default() }, Box::new(|_| {}), self.clock.now());
        }
        loop {
            let deadline = self.deadline().map(|time| self.clock.instant_of(time));
            tokio::select! {
                count = inputs.recv_many(&mut batch, BATCH) => if count == 0 { return },
                () = sleep_until(deadline) => {}
            }
            let now = self.clock.now();
            for input in batch.drain(..) {
                if let Input::Stop(stopped) = input {
                    // Whoever asked may go already.
                    let _ = stopped.send(());
                    return;
                }
                self.take(input, now);
            }
            if self.cluster.deadline().is_some_and(|at| at <= now) {
                self.cluster.tick(now);
            }
            if self.results.deadline().is_some_and(|at| at <= now) {
                let unread = self.results.expire(now);
                unread.into_iter().for_each(|job| self.end_unread(job, now));
            }
            self.decide(now);
            self.carry_out();
            self.publish_progress(now);
        }
    }

    /// Hands on what the quorum is to decide.
    fn decide(&mut self, now: Timestamp) {
        loop {
            let proposals = self.cluster.take_proposals();
            if proposals.is_empty() {
                return;
            }
            for command in proposals {
                // A refusal means that what it was about is over; a leader that is one no more has been told.
                self.propose(command, Box::new(|_| {}), now);
            }
        }
    }

    /// Has the quorum decide something; `decided` is called once it is done.
    pub(super) fn propose(&mut self, command: Command, decided: Decided, now: Timestamp) {
        match &self.quorum {
            Quorum::Alone => {
                let outcome = self.cluster.apply(command, ALONE, now);
                self.share_tokens();
                decided(outcome.map_err(Undecided::Refused));
            }
            Quorum::Member(proposer) => proposer.propose(command, decided),
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        let pictures = self.changed.iter().filter_map(|job| self.watchers.get(job));
        let pictures = pictures.map(|watcher| watcher.published.after(PROGRESS_INTERVAL)).min();
        self.cluster.deadline().into_iter().chain(self.results.deadline()).chain(pictures).min()
    }

    fn take(&mut self, input: Input, now: Timestamp) {
        match input {
            Input::Request(request) if !self.cluster.leads() => {
                request.refuse(Error::NotLeader { leader: self.leadership.leader.clone() });
            }
            Input::Request(request) => self.answer(request, now),
            Input::Quorum(ToState::Apply(commands, applied)) => {
                let outcomes =
                    commands.into_iter().map(|(command, term)| self.cluster.apply(command, term, now));
                let outcomes = outcomes.collect();
                self.share_tokens();
                // Nobody waits where the member stops.
                let _ = applied.send(outcomes);
            }
            Input::Quorum(ToState::Copy(reply)) => drop(reply.send(self.cluster.copy_state())),
            Input::Quorum(ToState::Replace(state, reply)) => {
                self.forget_all();
                self.cluster.replace_state(*state);
                self.share_tokens();
                let _ = reply.send(());
            }
            Input::Leadership(leadership) => self.led_by(leadership),
            Input::ScriptOpened { request, script, reply } => {
                script::start(self, *request, script, reply, now);
            }
            Input::PlannedAgain { reply, .. } if !self.cluster.leads() => {
                drop(reply.send(Err(Error::NotLeader { leader: self.leadership.leader.clone() })));
            }
            Input::PlannedAgain { graph, reply } => rescale::decide(self, *graph, reply, now),
            // The next leader goes on with its script.
            Input::EndUnplanned(..) if !self.cluster.leads() => {}
            Input::EndUnplanned(job, end) => self.cluster.end_unplanned(job, end, now),
            // Its session ends with its outbox; it looks for the leader again.
            Input::Registered { .. } if !self.cluster.leads() => {}
            Input::Registered { session, registration, outbox } => {
                self.outboxes.insert(session, outbox);
                self.cluster.worker_registered(session, *registration, now);
            }
            Input::Said { session, worker, message } => {
                self.cluster.worker_said(session, &worker, message, now);
            }
            Input::SessionEnded { session, worker } => {
                self.outboxes.remove(&session);
                self.cluster.session_ended(session, &worker, now);
            }
            Input::Committed(job, outcome) => self.cluster.committed(job, outcome, now),
            Input::Aborted(job) => self.cluster.aborted(job, now),
            Input::CheckpointStored(job, checkpoint, outcome) => {
                self.cluster.checkpoint_stored(job, checkpoint, outcome, now);
            }
            Input::CheckpointCommitted(job, checkpoint, outcome) => {
                self.cluster.checkpoint_committed(job, checkpoint, outcome, now);
            }
            Input::OutputRecovered(job, outcome) => self.cluster.output_recovered(job, outcome, now),
            Input::ResultAbandoned(job) => self.end_unread(job, now),
            Input::Stop(_) => unreachable!("taken before"),
        }
    }

    /// Shows changed tokens to those who let callers in, before anybody hears that they are decided.
    fn share_tokens(&self) {
        let tokens = self.cluster.state.tokens();
        self.tokens.send_if_modified(|shared| {
            let changed = !Arc::ptr_eq(shared, tokens);
            shared.clone_from(tokens);
            changed
        });
    }

    /// Ends a query that makes rows for nobody.
    fn end_unread(&mut self, job: JobId, now: Timestamp) {
        tracing::warn!(%job, "nobody reads the query's rows any more; it is cancelled");
        // One that has ended meanwhile needs no end.
        self.propose(Command::CancelJob { job }, Box::new(|_| {}), now);
    }

    /// Answers a question. Whoever asked may have gone: then the answer goes nowhere.
    fn answer(&mut self, request: Request, now: Timestamp) {
        match request {
            Request::Submit(graph, reply) => {
                let job = graph.job;
                match self.cluster.submission(*graph, now) {
                    Ok(command) => {
                        let decided = move |outcome: Result<(), Undecided>| {
                            drop(reply.send(outcome.map(|()| job).map_err(Error::from)));
                        };
                        self.propose(command, Box::new(decided), now);
                    }
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Request::Script(request, reply) => script::open(self, request, reply),
            Request::Cancel(job, reply) => {
                let decided = |outcome: Result<(), Undecided>| drop(reply.send(outcome.map_err(Error::from)));
                self.propose(Command::CancelJob { job }, Box::new(decided), now);
            }
            Request::Savepoint(job, order, reply) => match self.cluster.savepoint_order(job, order) {
                Ok(command) => {
                    let decided =
                        |outcome: Result<(), Undecided>| drop(reply.send(outcome.map_err(Error::from)));
                    self.propose(command, Box::new(decided), now);
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            Request::Rescale(job, parallelism, reply) => rescale::start(self, job, parallelism, reply),
            Request::CreateToken(token, reply) => {
                let decided = |outcome: Result<(), Undecided>| drop(reply.send(outcome.map_err(Error::from)));
                self.propose(Command::CreateToken { token }, Box::new(decided), now);
            }
            Request::RevokeToken(name, reply) => {
                let decided = |outcome: Result<(), Undecided>| drop(reply.send(outcome.map_err(Error::from)));
                self.propose(Command::RevokeToken { name }, Box::new(decided), now);
            }
            Request::SavepointStatus(job, trigger, reply) => {
                drop(reply.send(self.cluster.savepoint_status(job, &trigger)));
            }
            Request::Jobs(reply) => drop(reply.send(Ok(self.cluster.jobs()))),
            Request::Job(job, reply) => drop(reply.send(self.cluster.job(job))),
            Request::Vertex(job, vertex, reply) => drop(reply.send(self.cluster.vertex(job, vertex))),
            Request::EventTime(job, reply) => drop(reply.send(self.cluster.event_time(job))),
            Request::Watch(job, reply) => drop(reply.send(self.watch(job, now))),
            Request::Overview(reply) => drop(reply.send(Ok(self.cluster.overview()))),
            Request::Workers(reply) => drop(reply.send(Ok(self.cluster.workers()))),
        }
    }

    /// Takes note of who leads. A member that is told to lead does so once it knows all that was decided before: when its own word that it
    /// leads comes back to it.
    fn led_by(&mut self, leadership: Leadership) {
        let Quorum::Member(proposer) = &self.quorum else { return };
        let began = leadership.leads && (!self.leadership.leads || self.leadership.term != leadership.term);
        self.cluster.elected(leadership.leads.then_some(Term(leadership.term)));
        self.cluster.set_job_managers(&leadership.members);
        if began {
            proposer.propose(Command::Lead { member: leadership.member }, Box::new(|_| {}));
        }
        // The log may have told already that another leads: then the cluster has stepped down, and nobody who waits knows.
        let led = self.cluster.leads() || self.leadership.leads;
        if led && (began || !leadership.leads) {
            tracing::warn!(leader = leadership.leader, "this JobManager leads no more");
            self.forget_all();
        }
        self.leadership = leadership;
    }

    /// Forgets what only a leader has: whoever waits for it asks the next one.
    fn forget_all(&mut self) {
        self.cluster.step_down();
        self.results.forget_all();
        self.watchers.clear();
        self.changed.clear();
    }

    fn watch(&mut self, job: JobId, now: Timestamp) -> Result<watch::Receiver<Arc<JobProgress>>, Error> {
        if let Some(watcher) = self.watchers.get(&job) {
            return Ok(watcher.progress.subscribe());
        }
        let progress = self.cluster.progress(job)?;
        let ended = progress.status.is_terminal();
        let (sender, receiver) = watch::channel(Arc::new(progress));
        if !ended {
            self.watchers.insert(job, Watcher { progress: sender, published: now });
        }
        Ok(receiver)
    }

    fn carry_out(&mut self) {
        for effect in self.cluster.take_effects() {
            match effect {
                Effect::Send(session, message) => self.send(session, message),
                Effect::Close(session) => drop(self.outboxes.remove(&session)),
                Effect::Commit(job, sinks) => {
                    commit::spawn_commit(job, sinks, self.committer.clone(), self.inbox.clone());
                }
                Effect::Abort(job, sinks) => {
                    commit::spawn_abort(job, sinks, self.committer.clone(), self.inbox.clone());
                }
                Effect::StoreCheckpoint(job, url, manifest) => {
                    commit::spawn_store(job, url, manifest, self.storage.clone(), self.inbox.clone());
                }
                Effect::CommitCheckpoint(job, checkpoint, sinks) => {
                    let (committer, inbox) = (self.committer.clone(), self.inbox.clone());
                    commit::spawn_commit_checkpoint(job, checkpoint, sinks, committer, inbox);
                }
                Effect::RecoverOutput(job, manifest, sinks, running) => {
                    let (committer, storage) = (self.committer.clone(), self.storage.clone());
                    let recovery = recover::Recovery { job, manifest, sinks, running };
                    recover::spawn(recovery, committer, storage, self.inbox.clone());
                }
                Effect::RemoveCheckpoint(job, manifest, kept) => {
                    let removal = commit::Removal::Checkpoint { manifest, kept };
                    commit::spawn_removal(job, removal, self.storage.clone());
                }
                Effect::RemoveCheckpoints(job, folder) => {
                    commit::spawn_removal(job, commit::Removal::Folder(folder), self.storage.clone());
                }
                Effect::ExpectResult(job) => self.results.expect(job),
                Effect::ExpectLiveResult(job) => self.results.expect_live(job),
                Effect::PublishResult(attempt) => self.results.publish(attempt),
                Effect::DropResult(attempt) => self.results.drop_attempt(attempt),
                Effect::Changed(job) => drop(self.changed.insert(job)),
                Effect::Ended(job, end) => {
                    tracing::info!(%job, status = %end.status, failure = end.failure.as_ref().map(tracing::field::display), "job ended");
                    self.results.job_ended(job, &end);
                    self.changed.remove(&job);
                    if let (Some(watcher), Ok(progress)) =
                        (self.watchers.remove(&job), self.cluster.progress(job))
                    {
                        watcher.progress.send_replace(Arc::new(progress));
                    }
                }
                Effect::Forgotten(job) => self.results.forget(job),
                Effect::Archive(job) => {
                    if let Some(history) = &self.history {
                        history.keep(job);
                    }
                }
                Effect::Leads(ended) => {
                    tracing::info!("this JobManager leads");
                    if let Some(history) = self.history.as_ref().filter(|_| !ended.is_empty()) {
                        history.keep_unknown(ended);
                    }
                }
                Effect::ResumeScript(accepted) => script::resume(self, *accepted),
            }
        }
    }

    fn send(&mut self, session: SessionId, message: thalweg_rpc::ToWorker) {
        let Some(outbox) = self.outboxes.get(&session) else { return };
        if let Err(error) = outbox.messages.try_send(message) {
            // Full: it reads too slowly. Closed: its session says so itself. Either way its session ends.
            tracing::warn!(%error, "a worker does not take its messages");
            self.outboxes.remove(&session);
        }
    }

    /// Shows changed jobs to those who watch them: a new status at once, counters now and then.
    fn publish_progress(&mut self, now: Timestamp) {
        let watchers = &mut self.watchers;
        let cluster = &self.cluster;
        self.changed.retain(|job| {
            let Some(watcher) = watchers.get_mut(job) else { return false };
            let due = watcher.published.after(PROGRESS_INTERVAL) <= now;
            let status = cluster.job_status(*job);
            if !due && status == Some(watcher.progress.borrow().status) {
                return true;
            }
            if let Ok(progress) = cluster.progress(*job) {
                watcher.progress.send_replace(Arc::new(progress));
                watcher.published = now;
            }
            false
        });
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
