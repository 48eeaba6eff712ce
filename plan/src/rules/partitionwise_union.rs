//! Replaces `UnionExec` by [`PartitionwiseUnionExec`], whose partitions are those of its inputs.
//!
//! Runs before orders are enforced, since the replacement keeps none.

use std::sync::Arc;

use datafusion::{
    common::{
        Result,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    config::ConfigOptions,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{ExecutionPlan, union::UnionExec},
};

use crate::exec::PartitionwiseUnionExec;

/// The rule.
#[derive(Debug)]
pub struct PartitionwiseUnions;

impl PhysicalOptimizerRule for PartitionwiseUnions {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if node.downcast_ref::<UnionExec>().is_none() {
                return Ok(Transformed::no(node));
            }
            let inputs = node.children().into_iter().cloned().collect();
            Ok(Transformed::yes(Arc::new(PartitionwiseUnionExec::try_new(inputs, node.schema())?) as _))
        })
        .data()
    }

    fn name(&self) -> &str {
        "partitionwise_unions"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
