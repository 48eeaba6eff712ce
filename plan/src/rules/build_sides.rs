//! What can be done about hash joins when memory has run out: the same plan with joins that sort and merge, and so spill.
//!
//! Which joins those would be is decided by estimates when a plan is made (`spillable_joins`); an estimate can be far too low.

use std::sync::Arc;

use datafusion::{
    arrow::compute::SortOptions,
    common::{
        Result,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    config::ConfigOptions,
    physical_expr::{LexOrdering, PhysicalExprRef, PhysicalSortExpr},
    physical_optimizer::{
        PhysicalOptimizerRule, ensure_requirements::EnsureRequirements,
        output_requirements::OutputRequirements,
    },
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties as _, joins::HashJoinExec, sorts::sort::SortExec,
    },
};

use super::spillable_joins::{can_merge, sort_merge};

type Plan = Arc<dyn ExecutionPlan>;

/// Whether operators of a plan hold a side of a join in memory that could be sorted instead.
pub fn holds_build_sides(plan: &Plan) -> bool {
    plan.exists(|node| Ok(node.downcast_ref::<HashJoinExec>().is_some_and(can_merge))).unwrap_or(false)
}

/// The same plan, with every hash join sorted and merged that can be. Rows may only move between the partitions of a `whole` plan:
/// another process runs the others of a part.
pub fn without_build_sides(plan: Plan, options: &ConfigOptions, whole: bool) -> Result<Plan> {
    if !whole {
        return plan.transform_up(merged_in_place).data();
    }
    // Partitions that share the memory would each have less of it for their sorts.
    let mut single = options.clone();
    single.execution.target_partitions = 1;
    let options = &single;
    let plan = OutputRequirements::new_add_mode().optimize(plan, options)?;
    let plan = plan
        .transform_up(|node| match node.downcast_ref::<HashJoinExec>().filter(|join| can_merge(join)) {
            Some(join) => {
                let inputs = [Arc::clone(join.left()), Arc::clone(join.right())];
                Ok(Transformed::yes(sort_merge(join, inputs)?))
            }
            None => Ok(Transformed::no(node)),
        })
        .data()?;
    let plan = EnsureRequirements::new().optimize(plan, options)?;
    OutputRequirements::new_remove_mode().optimize(plan, options)
}

/// A join whose sides are sorted where they are: both of one partition, and nobody above may count on the order of the probe side.
fn merged_in_place(node: Plan) -> Result<Transformed<Plan>> {
    let Some(join) = node.downcast_ref::<HashJoinExec>().filter(|join| can_merge(join)) else {
        return Ok(Transformed::no(node));
    };
    let is_single = |side: &Plan| side.output_partitioning().partition_count() == 1;
    if !is_single(join.left()) || !is_single(join.right()) || join.right().output_ordering().is_some() {
        return Ok(Transformed::no(node));
    }
    let (left, right): (Vec<_>, Vec<_>) = join.on().iter().cloned().unzip();
    let inputs = [sorted(join.left(), left), sorted(join.right(), right)];
    Ok(Transformed::yes(sort_merge(join, inputs)?))
}

fn sorted(side: &Plan, keys: Vec<PhysicalExprRef>) -> Plan {
    let keys = keys.into_iter().map(|expr| PhysicalSortExpr { expr, options: SortOptions::default() });
    match LexOrdering::new(keys) {
        Some(order) => Arc::new(SortExec::new(order, Arc::clone(side)).with_preserve_partitioning(true)),
        None => Arc::clone(side),
    }
}
