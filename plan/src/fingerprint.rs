//! Which parts of a plan compute the same rows: their encodings are equal, files included, and nothing in them varies from run
//! to run. A query that names a view twice holds its plan twice; with this such a plan is found and computed once.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::{
    common::{
        Result,
        tree_node::{TreeNode as _, TreeNodeRecursion},
    },
    physical_expr_common::physical_expr::is_volatile,
    physical_plan::{
        ExecutionPlan,
        aggregates::AggregateExec,
        joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec},
        windows::{BoundedWindowAggExec, WindowAggExec},
    },
};

use crate::exec::codec;

/// What equal plans have in common. `None` for a plan that is cheaper to compute again than to keep (mere scans and filters), that
/// has volatile functions, each use of which has values of its own, or that cannot be encoded.
pub(crate) fn fingerprint(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Bytes>> {
    if !plan.exists(|node| Ok(is_costly(node)))? || plan.exists(has_volatile)? {
        return Ok(None);
    }
    Ok(codec::identity(plan).ok())
}

/// Whether a node's own expressions hold `RAND`, `UUID` and the like.
pub(crate) fn has_volatile(node: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut found = false;
    node.apply_expressions(&mut |expression| {
        found |= is_volatile(expression);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn is_costly(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.is::<AggregateExec>()
        || node.is::<HashJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<CrossJoinExec>()
        || node.is::<WindowAggExec>()
        || node.is::<BoundedWindowAggExec>()
}
