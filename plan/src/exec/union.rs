//! `UNION ALL` for distributed plans: partition `i` of the output is partition `i` of every input.
//!
//! DataFusion's `UnionExec` puts the partitions of its inputs side by side, so that a subtask's number is not its
//! number within an input, and an exchange below it would deliver rows to the wrong subtask.

use std::{fmt, sync::Arc};

use datafusion::{
    arrow::datatypes::SchemaRef,
    common::{Result, Statistics, internal_err, stats::Precision, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        statistics::{ChildStats, StatisticsArgs},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, stream};

/// All rows of all inputs. Has as many partitions as the input with the most; orders and equivalences are given up.
#[derive(Debug, Clone)]
pub struct PartitionwiseUnionExec {
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl PartitionwiseUnionExec {
    /// The union of at least one input; their columns have the types of `schema`.
    pub fn try_new(inputs: Vec<Arc<dyn ExecutionPlan>>, schema: SchemaRef) -> Result<Self> {
        let Some(partitions) = inputs.iter().map(|input| input.output_partitioning().partition_count()).max()
        else {
            return internal_err!("a union has no inputs");
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { inputs, properties: Arc::new(properties) })
    }
}

impl DisplayAs for PartitionwiseUnionExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PartitionwiseUnionExec")
    }
}

impl ExecutionPlan for PartitionwiseUnionExec {
    fn name(&self) -> &str {
        "PartitionwiseUnionExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.inputs.len()]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::try_new(children, self.schema())?))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let streams = self
            .inputs
            .iter()
            .filter(|input| partition < input.output_partitioning().partition_count())
            .map(|input| input.execute(partition, Arc::clone(&context)))
            .collect::<Result<Vec<_>>>()?;
        let target = Arc::clone(&schema);
        let batches =
            stream::iter(streams).flatten().map(move |batch| Ok(batch?.with_schema(Arc::clone(&target))?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let mut total = Statistics::new_unknown(&self.schema());
        total.num_rows = sum(inputs.iter().map(|input| input.num_rows));
        total.total_byte_size = sum(inputs.iter().map(|input| input.total_byte_size));
        Ok(Arc::new(total))
    }

    fn child_stats_requests(&self, _: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(None); self.inputs.len()]
    }
}

fn sum(parts: impl Iterator<Item = Precision<usize>>) -> Precision<usize> {
    parts.reduce(|a, b| a.add(&b)).unwrap_or(Precision::Absent)
}
