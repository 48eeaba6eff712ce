//! From a streaming task's descriptor to a chain that can run: its source or edges opened, its state taken back.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use arrow::datatypes::SchemaRef;
use datafusion::{
    error::DataFusionError,
    execution::TaskContext,
    physical_plan::{ExecutionPlan, ExecutionPlanProperties as _, coop::CooperativeExec},
};
use futures::stream::BoxStream;
use thalweg_connectors::{
    BuiltinConnectors, checkpoint_storage,
    sink::StreamSink,
    source::{OpenReader, Share, SourceReader, SplitPosition},
};
use thalweg_graph::{
    CheckpointId, EdgeId, FailureKind, TaskDescriptor,
    checkpoint::{Barrier, Manifest, SubtaskSnapshot},
    options::{self, Key, Value},
    task::TaskSplits,
};
use thalweg_plan::{
    exec::{ConnectorSourceExec, codec, own_partition, put_splits},
    stream::{Head, OperatorKind, OperatorSpec, StreamFragment, WatermarkAlignment, changelog::with_weight},
};
use tokio::sync::{mpsc, watch};

use super::{
    checkpointing::Checkpointing,
    ended::Ended,
    input::{Alignment, EdgeInput, PlanReader, PlannedSplit, SourceInput, TaskInput, Timing},
    lookups::{self, Lookups},
    streaming::StreamingTask,
};
use crate::{
    counters::TaskCounters,
    exchange::{event::Event, input_gate::InputGates},
    leader::Leader,
    operator::{
        Chain,
        build::{Building, PairSpec},
        link::Side,
    },
    state::{
        key_group,
        store::{self, SnapshotStore},
    },
};

type Plan = Arc<dyn ExecutionPlan>;
/// The events of each producer, with the side that they are of.
type Producers = Vec<(Side, BoxStream<'static, Result<Event, DataFusionError>>)>;

/// What a streaming task is built of.
pub struct StreamingParts<'a> {
    /// What was ordered.
    pub descriptor: &'a TaskDescriptor,
    /// Functions, settings and memory; what its source finds the worker through.
    pub context: Arc<TaskContext>,
    /// Its edges.
    pub gates: Arc<InputGates>,
    /// Its tables, and where its state is stored.
    pub connectors: &'a Arc<BuiltinConnectors>,
    /// Who is told of its snapshots.
    pub leader: Arc<Leader>,
    /// Barriers that its source is to let pass.
    pub barriers: mpsc::Receiver<Barrier>,
    /// Checkpoints that are complete.
    pub completed: mpsc::Receiver<CheckpointId>,
    /// How far its source may go in event time.
    pub allowed: watch::Receiver<i64>,
    /// Where it leaves how far its source has come.
    pub last: Arc<OnceLock<SubtaskSnapshot>>,
}

impl StreamingParts<'_> {
    /// Opens everything and takes the state back.
    pub async fn build(self) -> Result<StreamingTask, Ended> {
        let fragment = StreamFragment::decode(&self.descriptor.fragment.plan).map_err(|error| {
            Ended::failed(FailureKind::PlanRejected, format!("cannot decode the task's operators: {error}"))
        })?;
        let manifest = self.manifest().await?;
        let groups = self.option(&options::MAX_PARALLELISM)?;
        let groups = manifest.as_ref().map_or(groups as u16, |manifest| manifest.key_groups);
        let lookups = lookups::open(&fragment.chain, self.connectors, &self.context).await;
        let lookups = lookups.map_err(Ended::from)?;
        let mut chain = self.chain(&fragment, groups, &lookups)?;
        let mut store = self.store();
        // What operators had to say when their input ended is out: they do not say it again.
        let at_end = manifest.as_ref().is_some_and(|manifest| {
            let mut uids = chain.uids().peekable();
            uids.peek().is_some() && uids.all(|uid| manifest.has_finished(uid))
        });
        if let Some(manifest) = &manifest {
            let start = Instant::now();
            let share = self.share();
            let own = key_group::of_subtask(share.subtask, groups, share.parallelism);
            let wanted = chain.uids().map(str::to_owned).collect();
            let in_parts = chain.uids_in_parts().map(str::to_owned).collect();
            let take = |uid: &str, part| chain.restore_part(uid, part);
            let restoring = store.restore(manifest, &own, &wanted, &in_parts, take);
            let mut restored = restoring.await.map_err(cannot_restore)?;
            let given = chain.restore(|uid| restored.remove(uid).unwrap_or_default());
            given.map_err(|error| Ended::rejected(&error))?;
            let (attempt, took_ms) = (self.descriptor.attempt, start.elapsed().as_millis() as u64);
            tracing::info!(%attempt, checkpoint = %manifest.checkpoint, took_ms, "the state is back");
        }
        let sink = fragment.sink.as_ref().map(|uid| self.sink(uid, manifest.as_ref())).transpose()?;
        let (connectors, context) = (Arc::clone(self.connectors), Arc::clone(&self.context));
        let checkpointing = Checkpointing::new(
            self.descriptor.attempt,
            Arc::clone(&self.leader),
            store,
            self.completed,
            Arc::clone(&self.last),
        );
        let opening = Opening { descriptor: self.descriptor, context: self.context, connectors: &connectors };
        let input = match &fragment.head {
            Head::Source { uid, plan, .. } => {
                let restored = manifest.as_ref().map(|manifest| positions(manifest, uid));
                let counters = Arc::clone(&self.gates.counters);
                let source = opening.source(uid, plan, restored.as_deref(), self.barriers, counters).await?;
                let alignment = alignment_of(&fragment.chain)
                    .map(|spec| Alignment::new(spec, self.descriptor.attempt, self.leader, self.allowed));
                TaskInput::Source(source.aligned(alignment))
            }
            Head::Edges { edges, columns } => {
                let producers = opening.producers(&self.gates, Side::Left, edges, columns)?;
                TaskInput::Edges(EdgeInput::new(producers))
            }
            Head::Pair { left, right, .. } => {
                let mut producers = opening.producers(&self.gates, Side::Left, &left.edges, &left.columns)?;
                producers.extend(opening.producers(
                    &self.gates,
                    Side::Right,
                    &right.edges,
                    &right.columns,
                )?);
                TaskInput::Edges(EdgeInput::new(producers))
            }
        };
        Ok(StreamingTask {
            input,
            chain,
            context,
            checkpointing,
            at_end,
            late_told: None,
            late: fragment.late,
            sink,
        })
    }

    async fn manifest(&self) -> Result<Option<Manifest>, Ended> {
        let restored = self.descriptor.checkpoints.as_ref().and_then(|folder| folder.restored.as_ref());
        let Some(url) = restored else { return Ok(None) };
        Ok(Some(checkpoint_storage::read(self.connectors.file_systems(), url).await?))
    }

    fn store(&self) -> SnapshotStore {
        let folder =
            self.descriptor.checkpoints.as_ref().map_or(String::new(), |folder| folder.folder.clone());
        SnapshotStore::new(Arc::clone(self.connectors.file_systems()), folder, self.descriptor.attempt)
    }

    /// What a sink is opened with. What one kept goes to one subtask, at every parallelism.
    fn sink(&self, uid: &str, manifest: Option<&Manifest>) -> Result<StreamSink, Ended> {
        let interval: Duration = self.option(&options::CHECKPOINT_INTERVAL)?;
        let folder = self.descriptor.checkpoints.as_ref().map(|folder| folder.folder.clone());
        let checkpoints = folder.filter(|folder| !interval.is_zero() && !folder.is_empty());
        let share = self.share();
        let subtasks = manifest.into_iter().flat_map(|manifest| &manifest.subtasks);
        let own = subtasks.filter(|(id, _)| id.index % share.parallelism.max(1) == share.subtask);
        let kept = own.filter_map(|(_, subtask)| subtask.sink.clone()).filter(|sink| sink.uid == uid);
        Ok(StreamSink { uid: uid.to_owned(), checkpoints, restored: kept.collect() })
    }

    fn chain(&self, fragment: &StreamFragment, key_groups: u16, lookups: &Lookups) -> Result<Chain, Ended> {
        let watermark_interval = self.option(&options::WATERMARK_INTERVAL)?;
        let counters = &self.gates.counters;
        let state_backend = self.option(&options::STATE_BACKEND)?;
        let state_ttl = self.option(&options::STATE_TTL)?;
        let context = &self.context;
        let building = Building {
            context,
            watermark_interval,
            key_groups,
            counters,
            state_backend,
            state_ttl,
            keeps_late: fragment.late.is_some(),
            lookups,
        };
        let schema = |columns: &[u8]| Ok(codec::decode(columns, &self.context)?.schema());
        let chain = match &fragment.head {
            Head::Source { plan, updating, .. } => schema(plan).and_then(|columns| {
                let columns = if *updating { with_weight(&columns) } else { columns };
                building.chain(&fragment.chain, columns)
            }),
            Head::Edges { columns, .. } => {
                schema(columns).and_then(|columns| building.chain(&fragment.chain, columns))
            }
            Head::Pair { left, right, uid, name, kind } => {
                schema(&left.columns).and_then(|left| Ok([left, schema(&right.columns)?])).and_then(
                    |inputs| building.pair_chain(&PairSpec { uid, name, kind, inputs }, &fragment.chain),
                )
            }
        };
        chain.map_err(|error: DataFusionError| Ended::rejected(&error))
    }

    fn share(&self) -> Share {
        share(self.descriptor)
    }

    fn option<T: Value>(&self, key: &Key<T>) -> Result<T, Ended> {
        option(self.descriptor, key)
    }
}

fn share(descriptor: &TaskDescriptor) -> Share {
    Share { subtask: descriptor.attempt.subtask.index, parallelism: descriptor.parallelism }
}

fn option<T: Value>(descriptor: &TaskDescriptor, key: &Key<T>) -> Result<T, Ended> {
    let value = descriptor.options.get(key);
    value.map_err(|error| Ended::failed(FailureKind::PlanRejected, error.to_string()))
}

fn cannot_restore(error: store::Error) -> Ended {
    if let store::Error::Refused(error) = &error {
        return Ended::rejected(error);
    }
    let why = crate::exchange::partition_store::chain(&error);
    Ended::failed(FailureKind::StateLost, format!("the state of the checkpoint cannot be read: {why}"))
}

/// How a source keeps pace with others, where its table says so.
fn alignment_of(chain: &[OperatorSpec]) -> Option<WatermarkAlignment> {
    chain.iter().find_map(|operator| match &operator.kind {
        OperatorKind::Watermarks { options, .. } => options.alignment.clone(),
        _ => None,
    })
}

/// Where a source was, in all of its subtasks.
fn positions(manifest: &Manifest, uid: &str) -> Vec<SplitPosition> {
    let sources = manifest.subtasks.iter().filter_map(|(_, subtask)| subtask.source.as_ref());
    let positions = sources.filter(|source| source.uid == uid).flat_map(|source| &source.positions);
    positions.map(|at| SplitPosition { split: at.split.clone(), position: at.position.clone() }).collect()
}

/// Opens what a task reads.
struct Opening<'a> {
    descriptor: &'a TaskDescriptor,
    context: Arc<TaskContext>,
    connectors: &'a Arc<BuiltinConnectors>,
}

impl Opening<'_> {
    async fn source(
        self,
        uid: &str,
        plan: &[u8],
        restored: Option<&[SplitPosition]>,
        barriers: mpsc::Receiver<Barrier>,
        counters: Arc<TaskCounters>,
    ) -> Result<SourceInput, Ended> {
        let rejected = |error: DataFusionError| Ended::rejected(&error);
        let plan = codec::decode(plan, &self.context).map_err(rejected)?;
        let idle: Duration = option(self.descriptor, &options::SOURCE_IDLE_TIMEOUT)?;
        let rate = option(self.descriptor, &options::SOURCE_RATE)?;
        let timing = Timing {
            idle_timeout: (!idle.is_zero()).then_some(idle),
            rows_per_second: (rate > 0).then_some(rate),
        };
        let batch_rows = timing.batch_rows(self.context.session_config().batch_size());
        if let Some(reader) = self.connector_reader(&plan, batch_rows, restored).await? {
            return Ok(SourceInput::new(uid.to_owned(), reader, barriers, timing, None, counters));
        }
        let splits = self.planned_splits(&plan).map_err(rejected)?;
        let whole = put_splits(plan, &self.descriptor.splits).map_err(rejected)?;
        let reader = PlanReader::new(splits, batch_rows, Arc::clone(&self.context), restored)?;
        let plan = Some((whole, self.context));
        Ok(SourceInput::new(uid.to_owned(), Box::new(reader), barriers, timing, plan, counters))
    }

    /// A connector's own reader, where it has one and the plan is nothing but its scan.
    async fn connector_reader(
        &self,
        plan: &Plan,
        batch_rows: usize,
        restored: Option<&[SplitPosition]>,
    ) -> Result<Option<Box<dyn SourceReader>>, Ended> {
        let leaf = plan.downcast_ref::<CooperativeExec>().map_or(plan, |cooperative| cooperative.input());
        let Some(source) = leaf.downcast_ref::<ConnectorSourceExec>() else { return Ok(None) };
        let own = self.descriptor.attempt.subtask.index;
        let dealt = self.descriptor.splits.iter().flat_map(|scan| &scan.partitions);
        let dealt =
            dealt.filter(|(partition, _)| *partition == own).flat_map(|(_, splits)| splits.iter().cloned());
        let splits: Vec<_> = dealt.collect();
        let request = OpenReader {
            scan: &source.scan,
            schema: plan.schema(),
            batch_rows,
            share: share(self.descriptor),
            splits: &splits,
            restored,
        };
        Ok(self.connectors.open_reader(request).await?)
    }

    /// The plan of each split that was dealt to this subtask; of a source without splits, its own partition.
    fn planned_splits(&self, plan: &Plan) -> Result<Vec<PlannedSplit>, DataFusionError> {
        let own = self.descriptor.attempt.subtask.index;
        let count = plan.output_partitioning().partition_count();
        if own as usize >= count {
            return Err(DataFusionError::Plan(format!(
                "the scan has {count} partitions and no number {own}"
            )));
        }
        let mut planned = Vec::new();
        for scan in &self.descriptor.splits {
            let dealt = scan.partitions.iter().filter(|(partition, _)| *partition == own);
            for split in dealt.flat_map(|(_, splits)| splits) {
                let alone = TaskSplits { scan: scan.scan, partitions: vec![(own, vec![split.clone()])] };
                let plan = put_splits(Arc::clone(plan), &[alone])?;
                planned.push(planned_split(split.display.clone(), plan, own as usize)?);
            }
        }
        if self.descriptor.splits.is_empty() {
            planned.push(planned_split(format!("rows {own}"), Arc::clone(plan), own as usize)?);
        }
        Ok(planned)
    }

    fn producers(
        &self,
        gates: &InputGates,
        side: Side,
        edges: &[EdgeId],
        columns: &[u8],
    ) -> Result<Producers, Ended> {
        let schema: SchemaRef =
            codec::decode(columns, &self.context).map_err(|error| Ended::rejected(&error))?.schema();
        let mut producers = Vec::new();
        for edge in edges {
            producers.extend(gates.events(*edge, &schema)?.into_iter().map(|events| (side, events)));
        }
        Ok(producers)
    }
}

fn planned_split(name: String, plan: Plan, partition: usize) -> Result<PlannedSplit, DataFusionError> {
    Ok(match own_partition(&plan, partition)? {
        Some(plan) => PlannedSplit { name, plan, partition: 0 },
        None => PlannedSplit { name, plan, partition },
    })
}
