//! The logical plan of a stream: the rules of batch plans, without those that hold only for an input that ends.

use std::sync::Arc;

use datafusion::{
    execution::SessionState,
    logical_expr::LogicalPlan,
    optimizer::{Optimizer, OptimizerRule},
};
use thalweg_graph::SqlError;

use crate::{error, planner::read_fields, rules};

/// Rules that make of one aggregation two, of which the first never ends, or that count on an order or an end.
const BATCH_ONLY: &[&str] = &["single_distinct_aggregation_to_group_by", "push_down_limit"];

/// The plan as the translation takes it.
pub(super) fn optimized(plan: &LogicalPlan, state: &SessionState) -> Result<LogicalPlan, SqlError> {
    // A subquery that gives one value becomes a join, since that value may change.
    let mut state = state.clone();
    state.config_mut().options_mut().optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let analyzed = state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {});
    let analyzed = analyzed.map_err(error::from_datafusion)?;
    let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = rules::logical_rules();
    let rules = rules.into_iter().filter(|rule| !BATCH_ONLY.contains(&rule.name())).collect();
    let optimized = Optimizer::with_rules(rules).optimize(analyzed, &state, |_, _| {});
    optimized.and_then(read_fields::tell_scans).map_err(error::from_datafusion)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_left_out_exist() {
        let rules = rules::logical_rules();
        for name in BATCH_ONLY {
            assert!(rules.iter().any(|rule| rule.name() == *name), "there is no rule {name}");
        }
    }
}
