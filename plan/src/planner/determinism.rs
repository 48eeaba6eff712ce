//! Whether a fragment that runs again gives the same rows again. Where it does not, whoever has read its older output must run again
//! too, or a job would mix rows of two attempts.
//!
//! In doubt a fragment counts as not deterministic: that only costs work, and only after an output was lost. Sums of floating point
//! numbers, whose last digits depend on the order of rows, do count as deterministic: each key's value comes from one attempt.

use std::sync::Arc;

use datafusion::{
    common::tree_node::TreeNode as _,
    error::Result,
    physical_plan::{
        ExecutionPlan,
        aggregates::AggregateExec,
        windows::{BoundedWindowAggExec, WindowAggExec},
    },
};

use crate::fingerprint::has_volatile;

/// Aggregates whose value depends on the order of their rows, by the names of those that run: `LISTAGG`, `COLLECT` and others are
/// written out in these (`functions/aggregate`).
const ORDER_DEPENDENT: [&str; 4] = ["array_agg", "first_value", "last_value", "string_agg"];

/// Whether the fragment gives the same rows each time.
pub(super) fn is_deterministic(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let varies =
        plan.exists(|node| Ok(has_volatile(node)? || (depends_on_order(node) && !inputs_ordered(node))))?;
    Ok(!varies)
}

/// First come, first served: which rows a limit takes, how rows of the same rank are numbered, in what order texts are joined.
fn depends_on_order(node: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        let mut functions = aggregate.aggr_expr().iter();
        return functions
            .any(|call| ORDER_DEPENDENT.iter().any(|name| call.fun().name().eq_ignore_ascii_case(name)));
    }
    node.fetch().is_some() || node.is::<WindowAggExec>() || node.is::<BoundedWindowAggExec>()
}

/// Whether rows come into a node in the same order each time: none of them came from another task, or through a place where streams
/// that run side by side become one. A sort does not help, since it leaves equal rows as they came.
fn inputs_ordered(node: &Arc<dyn ExecutionPlan>) -> bool {
    let children = node.children();
    children.into_iter().all(|child| !mixes(child) && inputs_ordered(child))
}

fn mixes(node: &Arc<dyn ExecutionPlan>) -> bool {
    matches!(
        node.name(),
        "ExchangeSourceExec"
            | "RepartitionExec"
            | "CoalescePartitionsExec"
            | "InterleaveExec"
            | "SortPreservingMergeExec"
    )
}
