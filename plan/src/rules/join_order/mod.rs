//! Orders inner equi-joins by cost.
//!
//! DataFusion joins in the order of the text and only swaps sides. This rule takes a tree of inner hash joins apart into
//! relations and equalities ([`JoinGraph`]), finds the cheapest tree by dynamic programming over sets of relations
//! ([`order`]), and builds it again. Row counts come from the statistics of the relations; how many values a key has is
//! estimated by its range. Runs after DataFusion's join selection, and chooses build sides and modes itself.

mod build;
mod join_graph;
mod order;

use std::sync::Arc;

use datafusion::{
    common::Result,
    config::ConfigOptions,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{ExecutionPlan, execution_plan::replace_children_if_necessary},
};

use self::join_graph::JoinGraph;

/// With fewer relations there is nothing to order; with more the search takes too long.
const RELATIONS: std::ops::RangeInclusive<usize> = 3..=10;

/// The rule.
#[derive(Debug)]
pub struct JoinOrder;

impl PhysicalOptimizerRule for JoinOrder {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        ordered(&plan, config)
    }

    fn name(&self) -> &str {
        "join_order"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn ordered(plan: &Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(mut graph) = JoinGraph::of(plan).filter(|graph| RELATIONS.contains(&graph.relations.len())) {
        for relation in &mut graph.relations {
            *relation = ordered(relation, config)?;
        }
        if let Some(tree) = order::cheapest(&graph) {
            return build::plan(&graph, &tree, &plan.schema(), config);
        }
    }
    let children = plan.children().into_iter().map(|child| ordered(child, config));
    replace_children_if_necessary(Arc::clone(plan), children.collect::<Result<_>>()?)
}

#[cfg(test)]
mod tests;
