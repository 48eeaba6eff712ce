//! Joins by sorting and merging where the build side of a hash join would not fit into memory.
//!
//! `HashJoinExec` holds its build side whole and cannot spill; a sort-merge join sorts both sides, and sorts spill. Runs
//! before distribution and orders are enforced, which adds the sorts.

use std::sync::Arc;

use datafusion::{
    arrow::compute::SortOptions,
    common::{
        Result,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    config::ConfigOptions,
    physical_expr::expressions::Column,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan,
        joins::{HashJoinExec, PartitionMode, SortMergeJoinExec},
        projection::ProjectionExec,
    },
};

use crate::estimate::estimated_bytes;

/// The share of memory that one build side may take: beside it stand other operators, and its hash table.
const BUILD_SHARE: u64 = 3;

/// The rule.
#[derive(Debug)]
pub struct SpillableJoins {
    /// Bytes of memory of a process that runs the plan.
    pub memory_bytes: u64,
    /// Partitions of a plan that one process runs.
    pub partitions_each: u64,
}

impl PhysicalOptimizerRule for SpillableJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| match node.downcast_ref::<HashJoinExec>() {
            Some(join) if self.is_too_large(join, config) => {
                let inputs = [Arc::clone(join.left()), Arc::clone(join.right())];
                Ok(Transformed::yes(sort_merge(join, inputs)?))
            }
            _ => Ok(Transformed::no(node)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "spillable_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

impl SpillableJoins {
    fn is_too_large(&self, join: &HashJoinExec, config: &ConfigOptions) -> bool {
        let Some(bytes) = estimated_bytes(join.left()).filter(|_| can_merge(join)) else { return false };
        let partitions = config.execution.target_partitions.max(1) as u64;
        let held = match join.partition_mode() {
            PartitionMode::CollectLeft => bytes,
            _ => bytes / partitions * self.partitions_each.min(partitions),
        };
        held > self.memory_bytes / BUILD_SHARE
    }
}

/// Whether the same join can be done by merging. Whether a null-aware anti join returns anything depends on all rows of the other
/// side, which no merge knows.
pub(super) fn can_merge(join: &HashJoinExec) -> bool {
    !join.null_aware
}

/// The same join of these inputs, with the same columns.
pub(super) fn sort_merge(
    join: &HashJoinExec,
    [left, right]: [Arc<dyn ExecutionPlan>; 2],
) -> Result<Arc<dyn ExecutionPlan>> {
    let merged: Arc<dyn ExecutionPlan> = Arc::new(SortMergeJoinExec::try_new(
        left,
        right,
        join.on().to_vec(),
        join.filter().cloned(),
        *join.join_type(),
        vec![SortOptions::default(); join.on().len()],
        join.null_equality(),
    )?);
    let Some(kept) = &join.projection else { return Ok(merged) };
    let schema = merged.schema();
    let columns = kept.iter().map(|position| {
        let name = schema.field(*position).name();
        (Arc::new(Column::new(name, *position)) as _, name.clone())
    });
    Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), merged)?))
}

#[cfg(test)]
mod tests {
    use datafusion::{
        arrow::{
            array::{ArrayRef, Int64Array, RecordBatch},
            util::pretty::pretty_format_batches,
        },
        datasource::MemTable,
        error::DataFusionError,
        execution::{
            SessionStateBuilder,
            memory_pool::FairSpillPool,
            runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
        },
        physical_plan::displayable,
        prelude::SessionContext,
    };
    use thalweg_graph::Options;

    use super::*;
    use crate::{session_config::planning_state, target::Target};

    const ROWS: i64 = 800_000;
    const POOL_BYTES: usize = 24 << 20;
    const QUERY: &str = "SELECT count(*), sum(a.v + b.v) FROM a JOIN b ON a.k = b.k";

    fn runtime() -> Arc<RuntimeEnv> {
        let pool = Arc::new(FairSpillPool::new(POOL_BYTES));
        RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap()
    }

    /// Two tables with the same keys, far apart so that no perfect hash table takes them.
    fn table() -> Arc<MemTable> {
        let batches: Vec<RecordBatch> = (0..ROWS / 8_000)
            .map(|batch| {
                let rows = batch * 8_000..(batch + 1) * 8_000;
                let keys: ArrayRef =
                    Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| row * 7_919)));
                let values: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.map(|row| row % 10)));
                RecordBatch::try_from_iter([("k", keys), ("v", values)]).unwrap()
            })
            .collect();
        Arc::new(MemTable::try_new(batches[0].schema(), vec![batches]).unwrap())
    }

    fn context(with_rule: bool) -> SessionContext {
        let state = planning_state(&Options::default(), runtime(), Target::Embedded { threads: 2 });
        let rules = state.physical_optimizers().to_vec();
        let kept = rules.into_iter().filter(|rule| with_rule || rule.name() != "spillable_joins").collect();
        let state = SessionStateBuilder::new_from_existing(state).with_physical_optimizer_rules(kept).build();
        let context = SessionContext::new_with_state(state);
        context.register_table("a", table()).unwrap();
        context.register_table("b", table()).unwrap();
        context
    }

    #[tokio::test]
    async fn a_join_larger_than_memory_spills() {
        let plan = context(true).sql(QUERY).await.unwrap().create_physical_plan().await.unwrap();
        let text = displayable(plan.as_ref()).indent(false).to_string();
        assert!(text.contains("SortMergeJoin"), "{text}");
        let rows = context(true).sql(QUERY).await.unwrap().collect().await.unwrap();
        let text = pretty_format_batches(&rows).unwrap().to_string();
        assert!(text.contains("| 800000 ") && text.contains("| 7200000 "), "{text}");
    }

    #[tokio::test]
    async fn it_would_fail_as_a_hash_join() {
        let error = context(false).sql(QUERY).await.unwrap().collect().await.unwrap_err();
        assert!(matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)), "{error}");
    }
}
