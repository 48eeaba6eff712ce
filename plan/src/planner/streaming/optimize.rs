//! The logical plan of a stream: the rules of batch plans, without those that hold only for an input that ends.

use std::sync::Arc;

use datafusion::{
    common::{
        Result,
        tree_node::{Transformed, TransformedResult as _, TreeNode as _},
    },
    execution::SessionState,
    logical_expr::{Expr, LogicalPlan, expr_rewriter::NamePreserver},
    optimizer::{Optimizer, OptimizerRule},
};
use thalweg_graph::SqlError;

use crate::{error, functions::temporal::for_each_batch, planner::read_fields, rules};

/// Rules that make of one aggregation two, of which the first never ends, or that count on an order or an end.
const BATCH_ONLY: &[&str] = &["single_distinct_aggregation_to_group_by", "push_down_limit"];

/// The rule that leaves out columns which the result does not need.
const PRUNING: &str = "optimize_projections";

/// The plan as the translation takes it; with `whole_rows` all operators have all columns of the tables.
pub(super) fn optimized(
    plan: &LogicalPlan,
    state: &SessionState,
    whole_rows: bool,
) -> Result<LogicalPlan, SqlError> {
    // A subquery that gives one value becomes a join, since that value may change.
    let mut state = state.clone();
    state.config_mut().options_mut().optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let analyzed = state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {});
    let analyzed = analyzed.and_then(read_clock_for_each_batch).map_err(error::from_datafusion)?;
    let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = rules::logical_rules();
    let left_out = |name: &str| BATCH_ONLY.contains(&name) || whole_rows && name == PRUNING;
    let rules = rules.into_iter().filter(|rule| !left_out(rule.name())).collect();
    let optimized = Optimizer::with_rules(rules).optimize(analyzed, &state, |_, _| {});
    optimized.and_then(read_fields::tell_scans).map_err(error::from_datafusion)
}

/// A stream has no start whose time all of its rows could see.
fn read_clock_for_each_batch(plan: LogicalPlan) -> Result<LogicalPlan> {
    let replaced = |expr: Expr| {
        Ok(match for_each_batch(&expr) {
            Some(call) => Transformed::yes(call),
            None => Transformed::no(expr),
        })
    };
    let made = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(expr.transform_up(replaced)?.update_data(|expr| name.restore(expr)))
        })
    });
    made.data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_left_out_exist() {
        let rules = rules::logical_rules();
        for name in BATCH_ONLY.iter().chain([&PRUNING]) {
            assert!(rules.iter().any(|rule| rule.name() == *name), "there is no rule {name}");
        }
    }
}
