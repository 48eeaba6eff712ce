//! How a member begins to lead and how it stops: what another leader has left is found out from the workers before anything is given out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use thalweg_graph::{JobEpoch, JobId, JobStatus, Term, WorkerId};

use super::{Cluster, Effect};
use crate::{
    clock::Timestamp,
    job_master::{Event, JobMaster, Remembered, SavepointOrder},
    quorum::{self, Command, JobRecord},
    view::{EndedJob, JobEnd},
};

/// Whether this member leads.
#[derive(Debug)]
pub(super) enum Leading {
    No,
    /// It does, and waits for these workers.
    Reconciling {
        missing: BTreeSet<WorkerId>,
        until: Timestamp,
    },
    Yes,
}

/// Time in which the workers of the leader before find this one. One that needs longer counts as lost.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(10);

impl Cluster {
    /// Whether this member leads.
    pub fn leads(&self) -> bool {
        !matches!(self.leading, Leading::No)
    }

    pub(super) fn is_reconciling(&self) -> bool {
        matches!(self.leading, Leading::Reconciling { .. })
    }

    /// This member was elected in a term, or was not.
    pub fn elected(&mut self, term: Option<Term>) {
        self.elected = term;
    }

    /// Begins to lead, with all that was decided before.
    pub(super) fn lead(&mut self, now: Timestamp) {
        self.step_down();
        self.leading = Leading::Reconciling {
            missing: self.state.workers().clone(),
            until: now.after(RECONCILE_TIMEOUT),
        };
        let ended = self.state.jobs().filter(|(_, record)| record.end.is_some()).map(|(job, _)| job);
        let ended = ended.filter_map(|job| self.remembered_end(job)).collect();
        self.effects.push(Effect::Leads(ended));
        let open: Vec<JobId> =
            self.state.jobs().filter(|(_, record)| record.end.is_none()).map(|(job, _)| job).collect();
        open.into_iter().for_each(|job| self.take_over(job, now));
        let scripts: Vec<_> = self.state.scripts().cloned().map(Box::new).collect();
        self.effects.extend(scripts.into_iter().map(Effect::ResumeScript));
        self.end_reconciliation_if_due(now);
    }

    /// What this member knows of a job that has ended: all, if it led then.
    fn remembered_end(&self, job: JobId) -> Option<Arc<EndedJob>> {
        if let Some(archived) = self.archive.get(&job) {
            return Some(archived.clone());
        }
        let details = Arc::new(self.details(job)?);
        Some(Arc::new(EndedJob { details, subtasks: Vec::new(), savepoints: BTreeMap::new() }))
    }

    fn take_over(&mut self, job: JobId, now: Timestamp) {
        let Some(record) = self.state.job(job) else { return };
        let (remembered, is_query, cancel) =
            (remembered(record, self.state.term()), record.is_query, record.cancel_wished);
        let Some(graph) = record.graph.clone() else {
            if is_query {
                self.effects.push(Effect::ExpectResult(job));
            }
            if cancel {
                self.end(job, JobEnd { status: JobStatus::Canceled, failure: None }, now);
            }
            return;
        };
        let Some(settings) = self.settings_of(&graph, now) else { return };
        self.expect_rows(&graph);
        self.resources.introduce(job, settings.class.clone());
        let master = JobMaster::take_over(graph, JobEpoch::default(), settings, remembered, now);
        self.masters.insert(job, master);
    }

    /// Leads no more: what only a leader has is forgotten.
    pub fn step_down(&mut self) {
        self.leading = Leading::No;
        self.masters.clear();
        self.orders.clear();
        self.proposals.clear();
        self.resources = self.resources.successor(self.state.term());
        let sessions = std::mem::take(&mut self.sessions);
        self.effects.extend(sessions.into_values().map(Effect::Close));
    }

    /// The replicated state.
    pub fn copy_state(&self) -> quorum::State {
        self.state.clone()
    }

    /// Another replicated state, of a member that does not lead.
    pub fn replace_state(&mut self, state: quorum::State) {
        self.state = state;
        let state = &self.state;
        self.archive.retain(|job, _| state.job(*job).is_some());
        self.plans.clear();
    }

    pub(super) fn reconcile_deadline(&self) -> Option<Timestamp> {
        match &self.leading {
            Leading::Reconciling { until, .. } => Some(*until),
            Leading::No | Leading::Yes => None,
        }
    }

    /// A worker has registered with all that it has.
    pub(super) fn reconciled_with(&mut self, worker: &WorkerId, now: Timestamp) {
        if let Leading::Reconciling { missing, .. } = &mut self.leading {
            missing.remove(worker);
            self.end_reconciliation_if_due(now);
        }
    }

    /// Goes on once every worker that was known has come, or had its time to.
    pub(super) fn end_reconciliation_if_due(&mut self, now: Timestamp) {
        let Leading::Reconciling { missing, until } = &mut self.leading else { return };
        if !missing.is_empty() && *until > now {
            return;
        }
        let missing = std::mem::take(missing);
        self.leading = Leading::Yes;
        for worker in missing {
            tracing::warn!(%worker, "a worker has not found this JobManager; what ran there runs again");
            self.propose(Command::WorkerLeft { worker });
        }
        for job in self.masters.keys().copied().collect::<Vec<_>>() {
            self.tell(job, Event::Reconciled, now);
        }
        self.settle(now);
    }
}

/// The leader before may have begun it: its files are left alone.
fn elsewhere(order: SavepointOrder, Term(term): Term) -> SavepointOrder {
    let folder = order.folder.map(|folder| format!("{}-{term}", folder.trim_end_matches('/')));
    SavepointOrder { folder, ..order }
}

fn remembered(record: &JobRecord, term: Term) -> Remembered {
    Remembered {
        generation: record.generation,
        graph_since: record.graph_since,
        rescales: record.rescales,
        checkpoints: record.checkpoints.clone(),
        complete_upto: record.complete_upto,
        restored: record.restored.clone(),
        open_commit: record.open_commits.last_key_value().map(|(id, sinks)| (*id, sinks.clone())),
        commit: record.commit.clone(),
        ending: record.ending.as_ref().map(|end| (end.status, end.failure.clone())),
        cancel_wished: record.cancel_wished,
        savepoints: record.open_savepoints().into_iter().map(|order| elsewhere(order, term)).collect(),
    }
}
