//! The tasks of a simulated worker, as the real `leader_link` reaches them: what is known of attempts is the worker's own code
//! (`worker/src/attempts.rs`), what they do is simulated.

use std::sync::Arc;

use parking_lot::Mutex;
use thalweg_graph::{
    Attempt, CheckpointId, JobId, TaskDescriptor, TaskMetrics, TaskReport, Term, WorkerId,
    checkpoint::Barrier, exchange::ResultPartitionId,
};
use thalweg_rpc::{RunningTask, TaskUpdate, ToLeader};
use tokio::sync::mpsc;

use crate::{
    attempts::{Attempts, Task as _},
    event::Event,
    hosts,
    leader::Leader,
    network::SimNetwork,
    task::{End, Order, SimTask, Surroundings},
    world::World,
};

/// All tasks of one worker.
pub struct TaskTable {
    world: World,
    worker: WorkerId,
    network: Arc<SimNetwork>,
    leader: Arc<Leader>,
    attempts: Mutex<Attempts<SimTask>>,
    session: Mutex<Session>,
}

/// Whom it obeys.
#[derive(Default)]
struct Session {
    member: u64,
    told: Option<(u64, Term)>,
}

impl TaskTable {
    /// A table without tasks.
    pub fn new(world: World, worker: WorkerId, network: Arc<SimNetwork>) -> Self {
        let (leader, attempts, session) = Default::default();
        Self { world, worker, network, leader, attempts, session }
    }

    /// As the worker's.
    pub fn admits(&self, term: Term) -> bool {
        let admitted = self.attempts.lock().admits(term);
        let session = &mut *self.session.lock();
        let now = Some((session.member, term));
        if admitted && session.told != now {
            session.told = now;
            self.world.tell(Event::Obeys { worker: self.worker.clone(), member: session.member, term });
        }
        admitted
    }

    /// As the worker's.
    pub fn connect(&self, leader: mpsc::Sender<ToLeader>, registered: &[RunningTask]) -> Vec<ToLeader> {
        self.leader.connect(leader);
        self.attempts.lock().ended_since(registered)
    }

    /// As the worker's.
    pub fn disconnect(&self) {
        self.leader.disconnect();
    }

    /// As the worker's.
    pub fn ended_tasks(&self) -> Vec<(Attempt, TaskUpdate)> {
        self.attempts.lock().ended_tasks()
    }

    /// As the worker's. It is asked for when a session begins: with whom, the network knows.
    pub fn running_tasks(&self) -> Vec<RunningTask> {
        self.session.lock().member = hosts::member_at(&self.network.dialled());
        let tasks = self.attempts.lock().running_tasks();
        let running = tasks.iter().map(|task| task.attempt).collect();
        self.world.tell(Event::Registers { worker: self.worker.clone(), running });
        tasks
    }

    /// As the worker's.
    pub fn partitions(&self) -> Vec<ResultPartitionId> {
        let own = |(of, id): &(WorkerId, ResultPartitionId)| (*of == self.worker).then_some(*id);
        self.world.partitions(|all| all.iter().filter_map(own).collect())
    }

    /// As the worker's.
    pub fn deploy(self: &Arc<Self>, descriptor: Arc<TaskDescriptor>) {
        if self.leader.session().is_none() {
            return;
        }
        let TaskDescriptor { attempt, epoch, slot, .. } = *descriptor;
        let Some(task) = self.attempts.lock().take(descriptor, SimTask::new) else { return };
        self.world.tell(Event::TaskBegan { worker: self.worker.clone(), attempt, epoch, slot });
        tokio::spawn(Arc::clone(self).run(task));
    }

    async fn run(self: Arc<Self>, task: Arc<SimTask>) {
        let attempt = task.descriptor().attempt;
        let surroundings = Surroundings {
            world: self.world.clone(),
            worker: self.worker.clone(),
            leader: Arc::clone(&self.leader),
            random: self.world.generator(&format!("{attempt} on {}", self.worker)),
        };
        let begun = async {
            self.attempts.lock().begun(attempt);
            self.leader.tell(ToLeader::Task { attempt, update: TaskUpdate::Running }).await;
        };
        let metrics = TaskMetrics::default();
        let (how, update) = match task.run(surroundings, begun).await {
            End::Finished(committables, last) => {
                ("finished", TaskUpdate::Finished { metrics, committables, last })
            }
            End::Failed(failure) => {
                let failure = failure.of(attempt, self.worker.clone());
                ("failed", TaskUpdate::Failed { failure, metrics })
            }
            End::Canceled => ("cancelled", TaskUpdate::Canceled),
        };
        self.world.tell(Event::TaskEnded { worker: self.worker.clone(), attempt, how });
        if self.attempts.lock().ended(task.descriptor(), &update) {
            self.leader.tell(ToLeader::Task { attempt, update }).await;
        }
    }

    /// As the worker's.
    pub fn cancel(&self, attempt: Attempt) -> Option<ToLeader> {
        self.attempts.lock().cancel(attempt)
    }

    /// As the worker's.
    pub fn checkpoint(&self, attempts: &[Attempt], barrier: &Barrier) {
        let running = self.attempts.lock().running(attempts);
        running.iter().for_each(|task| task.order(Order::Barrier(barrier.clone())));
    }

    /// As the worker's.
    pub fn checkpoint_completed(&self, attempts: &[Attempt], checkpoint: CheckpointId) {
        if let Some(Attempt { job, .. }) = attempts.first() {
            self.world.tell(Event::Completed { worker: self.worker.clone(), job: *job, checkpoint });
        }
        let running = self.attempts.lock().running(attempts);
        running.iter().for_each(|task| task.order(Order::Completed(checkpoint)));
    }

    /// No simulated source keeps pace with others.
    pub fn align_source(&self, _: Attempt, _: i64) {}

    /// No simulated task has a live result.
    pub fn result_taken(&self, _: Attempt, _: u32) {}

    /// As the worker's.
    pub fn release(&self, partitions: &[ResultPartitionId]) {
        self.world.partitions(|all| {
            all.retain(|(of, id)| *of != self.worker || !partitions.contains(id));
        });
    }

    /// As the worker's.
    pub fn forget(&self, job: JobId) {
        self.attempts.lock().forget(job);
        self.world.partitions(|all| all.retain(|(of, id)| *of != self.worker || id.producer.job != job));
    }

    /// As the worker's.
    pub fn reports(&self) -> Vec<TaskReport> {
        let report = |task: &Arc<SimTask>| TaskReport {
            attempt: task.descriptor().attempt,
            metrics: TaskMetrics::default(),
            splits: Vec::new(),
        };
        self.attempts.lock().all_running().iter().map(report).collect()
    }

    /// Nothing is held in memory.
    pub fn memory_used_bytes(&self) -> u64 {
        0
    }
}
