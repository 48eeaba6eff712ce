//! The leaf of a fragment that reads what other vertices wrote over one edge.

use std::{fmt, sync::Arc};

use datafusion::{
    arrow::datatypes::SchemaRef,
    common::{Result, internal_err, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        execution_plan::{Boundedness, EmissionType, SchedulingType},
    },
};
use thalweg_graph::EdgeId;

/// Which of an edge's producers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// All of them, in whatever order their batches arrive.
    All,
    /// The producer subtask of this index alone, in its order.
    Producer(usize),
}

/// Opens the edges that lead into a task. Implemented by the worker.
pub trait OpenExchange: Send + Sync {
    /// The rows that the edge brings to this subtask over a channel. Each channel is opened at most once.
    fn open(&self, edge: EdgeId, channel: Channel, schema: SchemaRef) -> Result<SendableRecordBatchStream>;
}

/// The session-config extension under which [`ExchangeSourceExec`] finds its worker.
pub struct ExchangeReader(pub Arc<dyn OpenExchange>);

/// Reads an edge of the job graph.
///
/// Usually partition `i` is what subtask `i` of the vertex receives, so a task opens one channel. Under a sort-preserving
/// merge (`per_producer`) it is what producer `i` sends to the only subtask.
#[derive(Debug, Clone)]
pub struct ExchangeSourceExec {
    /// The edge.
    pub edge: EdgeId,
    /// Whether partitions are producers rather than subtasks.
    pub per_producer: bool,
    properties: Arc<PlanProperties>,
}

impl ExchangeSourceExec {
    /// A reader of `edge` whose rows have the given schema, order and equivalences.
    pub fn new(
        edge: EdgeId,
        per_producer: bool,
        equivalences: EquivalenceProperties,
        partitioning: Partitioning,
    ) -> Self {
        let properties =
            PlanProperties::new(equivalences, partitioning, EmissionType::Incremental, Boundedness::Bounded)
                .with_scheduling_type(SchedulingType::Cooperative);
        Self { edge, per_producer, properties: Arc::new(properties) }
    }

    /// The reader of the rows that one subtask receives, as its only partition.
    pub(super) fn for_one_subtask(&self) -> Self {
        let partitioning = match &self.properties.partitioning {
            Partitioning::Hash(keys, _) => Partitioning::Hash(keys.clone(), 1),
            _ => Partitioning::UnknownPartitioning(1),
        };
        Self::new(self.edge, false, self.properties.eq_properties.clone(), partitioning)
    }

    /// The same reader for an edge of another number.
    pub fn with_edge(&self, edge: EdgeId) -> Self {
        Self { edge, ..self.clone() }
    }
}

impl DisplayAs for ExchangeSourceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExchangeSourceExec: edge={}, partitioning={}", self.edge, self.properties.partitioning)?;
        if self.per_producer { f.write_str(", per_producer") } else { Ok(()) }
    }
}

impl ExecutionPlan for ExchangeSourceExec {
    fn name(&self) -> &str {
        "ExchangeSourceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(reader) = context.session_config().get_extension::<ExchangeReader>() else {
            return internal_err!("{} is read outside of a task", self.edge);
        };
        let channel = if self.per_producer { Channel::Producer(partition) } else { Channel::All };
        reader.0.open(self.edge, channel, self.schema())
    }
}
