//! Our own rules of the optimiser, logical and physical ones, one file each.

mod filter_constants;
mod join_order;
mod partitionwise_union;
mod runtime_filters;
mod spillable_joins;
mod build_sides;
mod unmatched_build_rows;

use std::sync::Arc;

use datafusion::{
    optimizer::{Optimizer, OptimizerRule},
    physical_optimizer::{PhysicalOptimizerRule, optimizer::PhysicalOptimizer},
};

pub use build_sides::{holds_build_sides, without_build_sides};
pub use filter_constants::FilterConstants;
pub use join_order::JoinOrder;
pub use partitionwise_union::PartitionwiseUnions;
pub use runtime_filters::{RuntimeFilters, add_runtime_filters};
pub use spillable_joins::SpillableJoins;
pub use unmatched_build_rows::{UnmatchedBuildRows, emits_unmatched_build_rows};

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// DataFusion's logical rules, with ours.
pub fn logical_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    rules.insert(0, Arc::new(FilterConstants));
    rules
}

/// DataFusion's physical rules, with those added that make better plans.
pub fn physical_rules(spillable_joins: SpillableJoins) -> Vec<Rule> {
    let mut rules = PhysicalOptimizer::new().rules;
    let join_selection =
        rules.iter().position(|rule| rule.name() == "join_selection").unwrap_or(rules.len() - 1);
    let ours: [Rule; 2] = [Arc::new(JoinOrder), Arc::new(spillable_joins)];
    rules.splice(join_selection + 1..join_selection + 1, ours);
    rules.push(Arc::new(RuntimeFilters));
    rules
}

/// The physical rules, with those added that make a plan fit for cutting.
pub fn physical_rules_for_cutting(spillable_joins: SpillableJoins) -> Vec<Rule> {
    let mut rules = physical_rules(spillable_joins);
    let before_requirements =
        rules.iter().position(|rule| rule.name() == "EnsureRequirements").unwrap_or(rules.len());
    let ours: [Rule; 2] = [Arc::new(PartitionwiseUnions), Arc::new(UnmatchedBuildRows)];
    rules.splice(before_requirements..before_requirements, ours);
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_run_before_distribution_is_decided() {
        let rules = physical_rules_for_cutting(SpillableJoins { memory_bytes: 1 << 30, partitions_each: 1 });
        let at = |name| rules.iter().position(|rule| rule.name() == name);
        assert!(at("EnsureRequirements").is_some());
        assert!(at("partitionwise_unions") < at("EnsureRequirements"));
        assert!(at("join_selection") < at("join_order"));
        assert!(at("join_order") < at("spillable_joins"));
        assert!(at("spillable_joins") < at("unmatched_build_rows"));
        assert_eq!(at("runtime_filters"), Some(rules.len() - 1));
    }
}
