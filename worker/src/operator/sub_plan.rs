//! A part of a plan that is run whenever all of its rows are there: DataFusion's operators over rows in memory, to their end.
//!
//! It runs within a call. Its operators must never wait for others: they have one partition, what they sort in one batch, and no disk
//! to spill to, so that none of them starts a task.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    compute::concat_batches,
    datatypes::SchemaRef,
};
use datafusion::{
    common::tree_node::{Transformed, TransformedResult as _, TreeNode as _},
    datasource::memory::MemorySourceConfig,
    error::{DataFusionError, Result},
    execution::{
        TaskContext,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        runtime_env::RuntimeEnvBuilder,
    },
    physical_plan::{
        ExecutionPlan, collect, empty::EmptyExec, execution_plan::reset_plan_states, joins::HashJoinExec,
    },
};

/// A plan over stand-ins for rows.
pub struct SubPlan {
    plan: Arc<dyn ExecutionPlan>,
    /// Whether a side's rows may come in several batches: a join does not sort.
    takes_parts: bool,
    context: Arc<TaskContext>,
    /// The columns of what it puts out.
    schema: SchemaRef,
}

impl SubPlan {
    /// The plan, with the functions and the memory of `context`. Its results are given the columns of `schema`.
    pub fn new(plan: Arc<dyn ExecutionPlan>, context: &TaskContext, schema: SchemaRef) -> Result<Self> {
        let mut config = context.session_config().clone().with_target_partitions(1);
        // Above it a sort of several batches would start tasks.
        config.options_mut().execution.sort_in_place_threshold_bytes = usize::MAX;
        let no_disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let runtime = RuntimeEnvBuilder::from_runtime_env(&context.runtime_env())
            .with_disk_manager_builder(no_disk)
            .build_arc()?;
        let context = TaskContext::default().with_session_config(config).with_runtime(runtime);
        Ok(Self { takes_parts: plan.is::<HashJoinExec>(), plan, context: Arc::new(context), schema })
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<dyn ExecutionPlan> {
        &self.plan
    }

    /// What the plan makes of these rows: for each of its stand-ins, from left to right, those that take its place.
    pub fn run(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        rows: Vec<Vec<RecordBatch>>,
    ) -> Result<Vec<RecordBatch>> {
        let mut rows = rows.into_iter();
        let ready = Arc::clone(plan).transform_up(|node| {
            if !node.is::<EmptyExec>() {
                return Ok(Transformed::no(node));
            }
            let schema = node.schema();
            let batches = rows.next().ok_or_else(|| {
                DataFusionError::Internal("a plan has more inputs than there are rows for".to_owned())
            })?;
            let batches: Vec<RecordBatch> =
                batches.into_iter().map(|batch| with_schema(&batch, &schema)).collect::<Result<_>>()?;
            let batches = if self.takes_parts { batches } else { vec![concat_batches(&schema, &batches)?] };
            let source = MemorySourceConfig::try_new_exec(&[batches], schema, None)?;
            Ok(Transformed::yes(source as Arc<dyn ExecutionPlan>))
        });
        // A join keeps its hash table, also when its inputs are exchanged.
        let fresh = reset_plan_states(ready.data()?)?;
        // Nothing in it waits; but the runtime's budget of a task would be used up, and then it would.
        let collecting = tokio::task::unconstrained(collect(fresh, Arc::clone(&self.context)));
        let made = futures::executor::block_on(collecting)?;
        let made = made.iter().filter(|batch| batch.num_rows() > 0);
        made.map(|batch| with_schema(batch, &self.schema)).collect()
    }
}

/// The same rows under other names.
fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options)?)
}
