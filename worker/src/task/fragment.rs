//! From a task's descriptor to operators that can run.

use std::sync::Arc;

use datafusion::{error::DataFusionError, execution::TaskContext, physical_plan::ExecutionPlan};
use thalweg_graph::{BUILD_ID, FailureKind, TaskDescriptor};
use thalweg_plan::{
    exec::{ConnectorReader, ExchangeReader, OpenExchange, OpenSource, codec, own_partition, put_splits},
    rules::{add_runtime_filters, without_build_sides},
};

use super::ended::Ended;

/// A fragment ready to run.
pub struct Runnable {
    /// Its root.
    pub plan: Arc<dyn ExecutionPlan>,
    /// What its operators find their worker through.
    pub context: Arc<TaskContext>,
    /// The partitions that this subtask runs.
    pub partitions: Vec<RunPartition>,
}

/// A partition of a fragment that a subtask runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunPartition {
    /// Its number in the vertex: names what a sink writes.
    pub number: u32,
    /// Its number in the plan that runs.
    pub index: usize,
}

/// Refuses a fragment that another build has made.
pub fn check_build(descriptor: &TaskDescriptor) -> Result<(), Ended> {
    if descriptor.build_id != BUILD_ID {
        let message = format!(
            "the plan was made by build `{}` and this worker is build `{BUILD_ID}`; run the same version everywhere",
            descriptor.build_id
        );
        return Err(Ended::failed(FailureKind::PlanRejected, message));
    }
    Ok(())
}

/// Decodes a batch task's fragment, gives its scans their splits and its leaves their life.
pub fn build(descriptor: &TaskDescriptor, context: Arc<TaskContext>) -> Result<Runnable, Ended> {
    let rejected = |error: DataFusionError| Ended::rejected(&error);
    let plan = codec::decode(&descriptor.fragment.plan, &context).map_err(rejected)?;
    let plan = put_splits(plan, &descriptor.splits).map_err(rejected)?;
    let config = context.session_config().options();
    let is_whole = descriptor.parallelism == 1;
    let plan = match descriptor.spills_joins && is_whole {
        true => without_build_sides(plan, config, true).map_err(rejected)?,
        false => plan,
    };
    let (count, expected) =
        (plan.properties().partitioning.partition_count(), descriptor.fragment.partitions);
    // Joins that spill may deal the rows of a whole plan to more partitions.
    if (count != expected as usize && !(is_whole && descriptor.spills_joins)) || descriptor.parallelism == 0 {
        let message = format!(
            "the fragment has {count} partitions where {expected} are announced for {} subtasks",
            descriptor.parallelism
        );
        return Err(Ended::failed(FailureKind::PlanRejected, message));
    }
    let first = descriptor.attempt.subtask.index as usize;
    let partitions: Vec<_> = (first..count)
        .step_by(descriptor.parallelism as usize)
        .map(|index| RunPartition { number: index as u32, index })
        .collect();
    if let [only] = partitions[..]
        && let Some(plan) = own_partition(&plan, only.index).map_err(rejected)?
    {
        let plan = match descriptor.spills_joins && !is_whole {
            true => without_build_sides(plan, config, false).map_err(rejected)?,
            false => plan,
        };
        let plan = add_runtime_filters(plan, config).map_err(rejected)?;
        return Ok(Runnable { plan, context, partitions: vec![RunPartition { index: 0, ..only }] });
    }
    Ok(Runnable { plan, context, partitions })
}

/// The context through which a task's operators find their worker.
pub fn with_extensions(
    descriptor: &TaskDescriptor,
    job: &TaskContext,
    exchange: Arc<dyn OpenExchange>,
    sources: Arc<dyn OpenSource>,
) -> Arc<TaskContext> {
    let config = job
        .session_config()
        .clone()
        .with_extension(Arc::new(ExchangeReader(exchange)))
        .with_extension(Arc::new(ConnectorReader(sources)));
    Arc::new(TaskContext::new(
        Some(descriptor.attempt.to_string()),
        job.session_id(),
        config,
        job.scalar_functions().clone(),
        job.higher_order_functions().clone(),
        job.aggregate_functions().clone(),
        job.window_functions().clone(),
        job.runtime_env(),
    ))
}
