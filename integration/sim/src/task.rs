//! A task of the simulation. It computes nothing: it takes its time, counts rows, lets barriers pass and keeps where it was, as real ones do
//! towards the leader (`worker/src/task`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use rand::{Rng as _, rngs::StdRng};
use thalweg_graph::{
    CheckpointId, Failure, FailureKind, RuntimeMode, TaskDescriptor, VertexOutput, WorkerId,
    checkpoint::{AfterBarrier, Barrier, SourceState, StoredPosition, SubtaskSnapshot},
    table::Committable,
};
use thalweg_rpc::ToLeader;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    attempts::Task,
    leader::Leader,
    rows::{Rows, SHARDS},
    world::{Output, World},
};

/// How often a task looks around.
const STEP: Duration = Duration::from_millis(20);
/// How long a consumer waits for a producer that is being deployed.
const PRODUCER_WAIT: Duration = Duration::from_secs(3);
/// The name of all operators.
const UID: &str = "all";

/// Something for a running task.
#[derive(Debug, Clone)]
pub enum Order {
    /// Let it pass.
    Barrier(Barrier),
    /// It is complete.
    Completed(CheckpointId),
}

/// One attempt.
pub struct SimTask {
    descriptor: Arc<TaskDescriptor>,
    cancel: CancellationToken,
    orders: mpsc::UnboundedSender<Order>,
    inbox: Mutex<Option<mpsc::UnboundedReceiver<Order>>>,
    barrier: Mutex<Option<CheckpointId>>,
}

impl Task for SimTask {
    fn descriptor(&self) -> &TaskDescriptor {
        &self.descriptor
    }

    fn newest_barrier(&self) -> Option<CheckpointId> {
        *self.barrier.lock()
    }

    fn cancel(&self) {
        self.cancel.cancel();
    }
}

/// How an attempt ends.
pub enum End {
    /// Well, with what its sink leaves and where it stood.
    Finished(Vec<Committable>, Option<Box<SubtaskSnapshot>>),
    /// Not well.
    Failed(Failure),
    /// As asked.
    Canceled,
}

/// What a task lives in.
pub struct Surroundings {
    /// The world.
    pub world: World,
    /// Its worker.
    pub worker: WorkerId,
    /// Whom it tells.
    pub leader: Arc<Leader>,
    /// Its own random numbers.
    pub random: StdRng,
}

impl SimTask {
    /// One that does not run yet.
    pub fn new(descriptor: Arc<TaskDescriptor>) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        let inbox = Mutex::new(Some(inbox));
        Self { descriptor, cancel: CancellationToken::new(), orders, inbox, barrier: Mutex::new(None) }
    }

    /// Tells it something. One that has ended does not hear it.
    pub fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// Runs it; `begun` is called when it reads.
    pub async fn run(&self, mut surroundings: Surroundings, begun: impl Future<Output = ()>) -> End {
        let starting = Duration::from_millis(surroundings.random.random_range(1..60));
        let (attempt, world) = (self.descriptor.attempt, surroundings.world.clone());
        let running = async {
            tokio::time::sleep(starting).await;
            begun.await;
            match self.descriptor.fragment.mode {
                RuntimeMode::Batch => self.batch(&mut surroundings).await,
                RuntimeMode::Streaming => self.stream(&mut surroundings).await,
            }
        };
        let end = tokio::select! {
            end = running => end,
            () = self.cancel.cancelled() => End::Canceled,
        };
        world.outputs(|outputs| {
            if let Some(output) = outputs.get_mut(&attempt) {
                match end {
                    End::Finished(..) => output.ended = true,
                    End::Failed(_) | End::Canceled => output.failed = true,
                }
            }
        });
        end
    }

    /// The number in its fragment's words.
    fn number(&self) -> u64 {
        let words = self.descriptor.fragment.display.split(' ');
        words.filter_map(|word| word.parse().ok()).next().unwrap_or(1)
    }

    fn is_sink(&self) -> bool {
        matches!(*self.descriptor.output, VertexOutput::Sink(_))
    }

    /// What its sink has made of each shard since the last barrier.
    fn staged(&self, shards: &[Shard], total: u64) -> Vec<Committable> {
        let attempt = self.descriptor.attempt;
        let grown = shards.iter().filter(|shard| self.is_sink() && shard.staged_from < shard.position);
        let rows = grown.map(|Shard { number: shard, staged_from: from, position: to }| {
            Rows { attempt, shard: *shard, shards: SHARDS, from: *from, to: *to, total }.committable()
        });
        rows.collect()
    }

    async fn batch(&self, surroundings: &mut Surroundings) -> End {
        let Surroundings { world, worker, random, .. } = surroundings;
        for gate in &self.descriptor.inputs {
            for producer in gate.producers.iter() {
                let there = world.partitions(|all| all.contains(&(producer.worker.clone(), producer.id)));
                if !there {
                    let kind = FailureKind::FetchFailed { edge: gate.edge, producer: producer.id.producer };
                    return End::Failed(Failure::new(
                        kind,
                        format!("{} has no such output", producer.worker),
                    ));
                }
            }
        }
        let work_ms = self.number();
        tokio::time::sleep(Duration::from_millis(random.random_range(work_ms / 2..=work_ms * 2))).await;
        if !world.is_healed() && random.random_bool(0.03) {
            return End::Failed(Failure::new(FailureKind::Io, "a simulated disk did not answer"));
        }
        world.partitions(|all| {
            all.extend(self.descriptor.outputs.iter().map(|output| (worker.clone(), output.id)));
        });
        let (attempt, shards) = (self.descriptor.attempt, self.descriptor.parallelism);
        let rows = Rows { attempt, shard: attempt.subtask.index, shards, from: 0, to: 1, total: 1 };
        End::Finished(self.is_sink().then(|| rows.committable()).into_iter().collect(), None)
    }

    async fn stream(&self, surroundings: &mut Surroundings) -> End {
        let attempt = self.descriptor.attempt;
        let total = self.number();
        let mut part = match self.restored(&surroundings.world) {
            Ok(shards) => Part { shards, prepared: BTreeMap::new() },
            Err(failure) => return End::Failed(failure),
        };
        let output =
            Output { worker: surroundings.worker.clone(), barrier: None, ended: false, failed: false };
        surroundings.world.outputs(|outputs| outputs.insert(attempt, output));
        let Some(mut orders) = self.inbox.lock().take() else { return End::Canceled };
        // What is kept at a barrier is stored in order, beside the rows that go on.
        let (storing, to_store) = mpsc::unbounded_channel();
        let storer = tokio::spawn(store(
            to_store,
            Arc::clone(&surroundings.leader),
            surroundings.world.generator(&format!("storing of {attempt}")),
        ));
        let began = Instant::now();
        let end = loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Barrier(barrier)) => {
                        let ends = barrier.then != AfterBarrier::GoOn;
                        self.pass(barrier, total, &mut part, surroundings, &storing);
                        if ends {
                            break Ok(());
                        }
                    }
                    Some(Order::Completed(checkpoint)) => {
                        part.prepared = part.prepared.split_off(&CheckpointId(checkpoint.0 + 1));
                    }
                    None => break Ok(()),
                },
                () = tokio::time::sleep(STEP) => {}
            }
            for shard in &mut part.shards {
                shard.position = total.min(shard.position + surroundings.random.random_range(0..4));
            }
            let producers = match self.producers(surroundings, began) {
                Ok(producers) => producers,
                Err(failure) => break Err(failure),
            };
            if let Some(barrier) = producers.barrier
                && self.newest_barrier().is_none_or(|newest| newest < barrier.checkpoint)
            {
                self.pass(barrier, total, &mut part, surroundings, &storing);
            }
            if part.shards.iter().all(|shard| shard.position == total) && producers.ended {
                break Ok(());
            }
        };
        drop(storing);
        if let Err(failure) = end {
            return End::Failed(failure);
        }
        // A barrier's answer goes before the end.
        let _ = storer.await;
        let committables = self.staged(&part.shards, total);
        let last = SubtaskSnapshot {
            earlier: part.earlier(),
            finished: [UID.to_owned()].into(),
            ..self.snapshot(&part.shards)
        };
        End::Finished(committables, Some(Box::new(last)))
    }

    /// Its shards, where the checkpoint left them from which it goes on, whoever had them then.
    fn restored(&self, world: &World) -> Result<Vec<Shard>, Failure> {
        let TaskDescriptor { attempt, parallelism, checkpoints, .. } = &*self.descriptor;
        let own = (attempt.subtask.index..SHARDS).step_by(*parallelism as usize);
        let shard = |number, position| Shard { number, position, staged_from: position };
        let Some(url) = checkpoints.as_ref().and_then(|folder| folder.restored.as_ref()) else {
            return Ok(own.map(|number| shard(number, 0)).collect());
        };
        let Some(manifest) = world.manifests(|kept| kept.get(url).cloned()) else {
            return Err(Failure::new(FailureKind::StateLost, format!("there is no `{url}`")));
        };
        let of_vertex = manifest.subtasks.iter().filter(|(id, _)| id.vertex == attempt.subtask.vertex);
        let positions: BTreeMap<u32, u64> = of_vertex
            .flat_map(|(_, snapshot)| snapshot.source.iter().flat_map(|source| &source.positions))
            .filter_map(|StoredPosition { split, position }| {
                Some((split.parse().ok()?, std::str::from_utf8(position).ok()?.parse().ok()?))
            })
            .collect();
        let missing = |number| Failure::new(FailureKind::StateLost, format!("`{url}` has no shard {number}"));
        let found = |number| positions.get(&number).map(|position| shard(number, *position));
        own.map(|number| found(number).ok_or_else(|| missing(number))).collect()
    }

    fn snapshot(&self, shards: &[Shard]) -> SubtaskSnapshot {
        let positions = shards.iter().map(|shard| StoredPosition {
            split: shard.number.to_string(),
            position: Bytes::from(shard.position.to_string()),
        });
        let source = SourceState { uid: UID.to_owned(), positions: positions.collect() };
        SubtaskSnapshot { source: Some(source), ..SubtaskSnapshot::default() }
    }

    /// Keeps what is before a barrier and lets it pass.
    fn pass(
        &self,
        barrier: Barrier,
        total: u64,
        part: &mut Part,
        surroundings: &mut Surroundings,
        storing: &mpsc::UnboundedSender<ToLeader>,
    ) {
        let (attempt, checkpoint) = (self.descriptor.attempt, barrier.checkpoint);
        *self.barrier.lock() = Some(checkpoint);
        let earlier = part.earlier();
        let committables = self.staged(&part.shards, total);
        for shard in &mut part.shards {
            shard.staged_from = shard.position;
        }
        part.prepared.entry(checkpoint).or_default().extend(committables.clone());
        let snapshot = SubtaskSnapshot { committables, earlier, ..self.snapshot(&part.shards) };
        surroundings.world.outputs(|outputs| {
            if let Some(output) = outputs.get_mut(&attempt) {
                output.barrier = Some(barrier);
            }
        });
        // A task that ends has no use for it.
        let _ = storing.send(ToLeader::Snapshot { attempt, checkpoint, snapshot: Ok(Box::new(snapshot)) });
    }

    /// What its producers have put out, together. A source has none.
    fn producers(&self, surroundings: &Surroundings, began: Instant) -> Result<Producers, Failure> {
        let mut all = Producers { barrier: None, ended: true };
        for gate in &self.descriptor.inputs {
            let outputs: Vec<_> = surroundings.world.outputs(|outputs| {
                let each = gate.producers.iter();
                each.map(|producer| (producer.id.producer, outputs.get(&producer.id.producer).cloned()))
                    .collect()
            });
            for (producer, output) in &outputs {
                let is_late = output.is_none() && began.elapsed() > PRODUCER_WAIT;
                if is_late || output.as_ref().is_some_and(|output| output.failed) {
                    let kind = FailureKind::FetchFailed { edge: gate.edge, producer: *producer };
                    return Err(Failure::new(kind, format!("{producer} cannot be read")));
                }
            }
            let ended = |output: &Option<Output>| output.as_ref().is_some_and(|output| output.ended);
            all.ended = outputs.iter().all(|(_, output)| ended(output));
            let live = outputs.iter().filter(|(_, output)| !ended(output));
            let newest = live.map(|(_, output)| output.as_ref()?.barrier.clone());
            let aligned = newest.collect::<Option<Vec<_>>>().unwrap_or_default();
            let same = aligned.iter().all(|barrier| Some(barrier) == aligned.first());
            all.barrier = aligned.first().filter(|_| same).cloned();
        }
        Ok(all)
    }
}

/// What comes from a task's producers.
struct Producers {
    /// The barrier that all of them have let pass that have not ended.
    barrier: Option<Barrier>,
    /// Nothing follows.
    ended: bool,
}

/// What a stream's task holds.
struct Part {
    /// How far each shard is.
    shards: Vec<Shard>,
    /// What was prepared for checkpoints that are not known to be complete.
    prepared: BTreeMap<CheckpointId, Vec<Committable>>,
}

/// One shard of a stream's task.
struct Shard {
    number: u32,
    /// Rows so far.
    position: u64,
    /// Those before are prepared.
    staged_from: u64,
}

impl Part {
    fn earlier(&self) -> Vec<(CheckpointId, Vec<Committable>)> {
        let prepared = self.prepared.iter().filter(|(_, prepared)| !prepared.is_empty());
        prepared.map(|(checkpoint, prepared)| (*checkpoint, prepared.clone())).collect()
    }
}

/// Stores what was kept, one after another, and tells the leader.
async fn store(mut kept: mpsc::UnboundedReceiver<ToLeader>, leader: Arc<Leader>, mut random: StdRng) {
    while let Some(snapshot) = kept.recv().await {
        let wait =
            if random.random_bool(0.1) { random.random_range(100..600) } else { random.random_range(1..40) };
        tokio::time::sleep(Duration::from_millis(wait)).await;
        leader.tell(snapshot).await;
    }
}
