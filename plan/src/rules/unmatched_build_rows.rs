//! Partitions the joins that return build rows without a match.
//!
//! With a collected build side every probe partition has all build rows, and which of them matched is known only to all
//! probe partitions together: one process shares that, subtasks on several workers cannot.

use std::sync::Arc;

use datafusion::{
    common::{
        JoinType, Result,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    config::ConfigOptions,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan,
        joins::{HashJoinExec, PartitionMode},
    },
};

/// The rule. A null-aware anti join stays collected (it must know whether any probe row exists); the cutter gives it a
/// single probe partition.
#[derive(Debug)]
pub struct UnmatchedBuildRows;

impl PhysicalOptimizerRule for UnmatchedBuildRows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else { return Ok(Transformed::no(node)) };
            let collected = *join.partition_mode() == PartitionMode::CollectLeft;
            if !collected || join.null_aware || !emits_unmatched_build_rows(*join.join_type()) {
                return Ok(Transformed::no(node));
            }
            let partitioned = join.builder().with_partition_mode(PartitionMode::Partitioned).build()?;
            Ok(Transformed::yes(Arc::new(partitioned) as _))
        })
        .data()
    }

    fn name(&self) -> &str {
        "unmatched_build_rows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether a join returns rows of its build (left) side that depend on all probe rows.
pub fn emits_unmatched_build_rows(join: JoinType) -> bool {
    matches!(
        join,
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark | JoinType::Full
    )
}
