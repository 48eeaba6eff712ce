//! The control plane's state for readers.

use std::sync::Arc;

use thalweg_graph::{JobId, JobStatus, VertexId, explain};

use super::{Error, cluster::Cluster};
use crate::{
    job_master::{JobMaster, event_time},
    quorum::JobRecord,
    view::{
        JobDetails, JobProgress, JobSummary, Overview, SubtaskDetails, TaskCounts, VertexDetails,
        VertexEventTime, WorkerDetails,
    },
};

impl Cluster {
    /// Every job, newest first.
    pub fn jobs(&self) -> Vec<JobSummary> {
        let mut jobs: Vec<_> = self.state.jobs().collect();
        jobs.sort_by_key(|(_, record)| std::cmp::Reverse(record.number));
        jobs.into_iter().map(|(job, record)| self.summary(job, record)).collect()
    }

    fn summary(&self, job: JobId, record: &JobRecord) -> JobSummary {
        if let Some(archived) = self.archive.get(&job) {
            return archived.details.summary.clone();
        }
        let master = self.masters.get(&job);
        let mut tasks = TaskCounts::default();
        for vertex in master.iter().flat_map(|master| &master.execution().vertices) {
            tasks.merge(&vertex.counts);
        }
        let status = master.map_or(record.status(), |master| master.status().0);
        let times = master.and_then(|master| master.status().1.get(&status));
        let ended = record.end.as_ref().map(|(_, at)| *at);
        JobSummary {
            job,
            name: record.name.clone(),
            status,
            submitted: record.submitted,
            ended,
            changed: ended.or(times.copied()).unwrap_or(record.submitted),
            tasks,
        }
    }

    /// All about a job; its plan only if it was asked for before.
    pub(super) fn details(&self, job: JobId) -> Option<JobDetails> {
        let record = self.state.job(job)?;
        let master = self.masters.get(&job);
        let graph = master.map(|master| &master.execution().graph);
        let mut status_times = master.map(|master| master.status().1.clone()).unwrap_or_default();
        status_times.insert(JobStatus::Initializing, record.submitted);
        let (failures, failures_truncated) = match master {
            Some(master) => (master.failures().0.iter().cloned().collect(), master.failures().1),
            None => (Vec::new(), false),
        };
        if let Some((end, at)) = &record.end {
            status_times.insert(end.status, *at);
        }
        Some(JobDetails {
            summary: self.summary(job, record),
            mode: graph.map(|graph| graph.mode),
            statement: record.statement.clone(),
            status_times,
            vertices: master.map(vertices).unwrap_or_default(),
            waiting: self.waiting(job, record),
            failure: self.failure(job, record),
            failures,
            failures_truncated,
            restarts: master.map_or(0, JobMaster::restarts),
            parallelism: graph.map_or(0, |graph| graph.max_parallelism()),
            plan: Arc::default(),
            options: graph.map(|graph| Arc::new(graph.options.clone())).unwrap_or_default(),
            checkpoints: master.map(JobMaster::checkpoint_records).unwrap_or_default(),
            checkpoint_counts: master.map(JobMaster::checkpoint_counts).unwrap_or_default(),
            restored: master.and_then(JobMaster::restored),
            is_query: record.is_query,
            has_live_result: graph.is_some_and(|graph| graph.has_live_result()),
            result_columns: graph.and_then(|graph| graph.result_columns.clone()).map(Arc::from),
        })
    }

    /// All about a job.
    pub fn job(&mut self, job: JobId) -> Result<Arc<JobDetails>, Error> {
        if let Some(archived) = self.archive.get(&job) {
            return Ok(archived.details.clone());
        }
        let plan = self.plan(job).unwrap_or_default();
        let details = self.details(job).ok_or(Error::UnknownJob(job))?;
        Ok(Arc::new(JobDetails { plan, ..details }))
    }

    /// The job's plan in Flink's shape; made once.
    pub(super) fn plan(&mut self, job: JobId) -> Option<Arc<serde_json::Value>> {
        let graph = self.masters.get(&job).map(|master| &master.execution().graph)?;
        Some(self.plans.entry(job).or_insert_with(|| Arc::new(explain::json(graph))).clone())
    }

    fn waiting(&self, job: JobId, record: &JobRecord) -> Option<String> {
        match record.status() {
            JobStatus::Initializing => Some("waits for the statements before it".to_owned()),
            _ => self.resources.shortfall(job).map(|shortfall| shortfall.to_string()),
        }
    }

    fn failure(&self, job: JobId, record: &JobRecord) -> Option<thalweg_graph::Failure> {
        record.failure().or_else(|| self.masters.get(&job)?.failure()).cloned()
    }

    /// One vertex with its subtasks.
    pub fn vertex(
        &self,
        job: JobId,
        vertex: VertexId,
    ) -> Result<(VertexDetails, Vec<SubtaskDetails>), Error> {
        let unknown = Error::UnknownVertex { job, vertex };
        if let Some(archived) = self.archive.get(&job) {
            return archived.vertex(vertex).ok_or(unknown);
        }
        self.state.job(job).ok_or(Error::UnknownJob(job))?;
        let execution = self.masters.get(&job).map(JobMaster::execution).ok_or(unknown.clone())?;
        if vertex.index() >= execution.vertices.len() {
            return Err(unknown);
        }
        Ok((execution.vertex_details(vertex), execution.subtask_details(vertex)))
    }

    /// How far event time has come in a job, and what holds it back.
    pub fn event_time(&self, job: JobId) -> Result<Vec<VertexEventTime>, Error> {
        if let Some(archived) = self.archive.get(&job) {
            return Ok(archived.event_time());
        }
        self.state.job(job).ok_or(Error::UnknownJob(job))?;
        let master = self.masters.get(&job);
        Ok(master.map(|master| event_time::explain(master.execution())).unwrap_or_default())
    }

    /// How far a job is.
    pub fn progress(&self, job: JobId) -> Result<JobProgress, Error> {
        let record = self.state.job(job).ok_or(Error::UnknownJob(job))?;
        if let Some(archived) = self.archive.get(&job) {
            return Ok(archived.progress());
        }
        let master = self.masters.get(&job);
        let execution = master.map(JobMaster::execution);
        let ids = execution.into_iter().flat_map(|execution| {
            execution.vertices.iter().map(|vertex| execution.vertex_progress(vertex.id))
        });
        Ok(JobProgress {
            job,
            status: self.summary(job, record).status,
            waiting: self.waiting(job, record),
            failure: self.failure(job, record),
            restarts: master.map_or(0, JobMaster::restarts),
            has_live_result: execution.is_some_and(|execution| execution.graph.has_live_result()),
            vertices: ids.collect(),
        })
    }

    /// The cluster in a line.
    pub fn overview(&self) -> Overview {
        let (slots_total, slots_free) = self.resources.slots();
        let workers = self.resources.workers().count() as u32;
        let mut overview = Overview { workers, slots_total, slots_free, ..Overview::default() };
        for (_, record) in self.state.jobs() {
            match record.status() {
                JobStatus::Finished => overview.jobs_finished += 1,
                JobStatus::Canceled => overview.jobs_canceled += 1,
                JobStatus::Failed => overview.jobs_failed += 1,
                _ => overview.jobs_running += 1,
            }
        }
        overview
    }

    /// The registered workers.
    pub fn workers(&self) -> Vec<WorkerDetails> {
        let details = self.resources.workers().map(|(id, worker)| WorkerDetails {
            worker: id.clone(),
            host: worker.host.clone(),
            data_address: worker.location.data_address.clone(),
            pid: worker.pid,
            slots: worker.slots,
            free_slots: worker.free(),
            memory_bytes: worker.memory_bytes,
            memory_used_bytes: worker.memory_used_bytes,
            last_heard: worker.last_heard,
            allocated: worker.allocations.values().copied().collect(),
        });
        details.collect()
    }
}

fn vertices(master: &JobMaster) -> Vec<VertexDetails> {
    let execution = master.execution();
    execution.vertices.iter().map(|vertex| execution.vertex_details(vertex.id)).collect()
}
