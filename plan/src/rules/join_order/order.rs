//! The cheapest order of joins, by dynamic programming over sets of relations (bushy trees, no cross products).

use std::sync::Arc;

use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties as _,
    filter::FilterExec,
    projection::ProjectionExec,
    statistics::{StatisticsArgs, StatisticsContext},
};

use super::join_graph::{JoinGraph, Leaf};
use crate::estimate::value_range;

/// What a build row costs, where a probe row and a row of output each cost one: it is hashed, stored and found again.
const BUILD_ROW_COST: f64 = 3.0;

/// The share of rows that a condition which is no equality is taken to keep.
const CONDITION_SELECTIVITY: f64 = 0.2;

/// A join tree over the relations of a graph.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    /// One relation, by its number.
    Relation(usize),
    /// The left side is built, the right one probes.
    Join {
        /// Fewer rows, by estimate.
        build: Box<Tree>,
        /// More rows.
        probe: Box<Tree>,
        /// The estimated rows of the build side.
        build_rows: f64,
    },
}

/// What is known of a relation.
struct Relation {
    rows: f64,
    /// Before filters.
    base_rows: f64,
    /// For each column, at most how many values it had before filters.
    values: Vec<f64>,
}

/// The best way to join one set of relations.
#[derive(Clone)]
struct Best {
    cost: f64,
    rows: f64,
    /// The build set and the probe set; none for a single relation.
    split: Option<(usize, usize)>,
}

/// The cheapest tree; `None` if the size of a relation is not known or the relations do not hang together.
pub fn cheapest(graph: &JoinGraph) -> Option<Tree> {
    let relations = graph.relations.iter().map(relation).collect::<Option<Vec<_>>>()?;
    let all = (1usize << relations.len()) - 1;
    let mut best: Vec<Option<Best>> = vec![None; all + 1];
    for (position, relation) in relations.iter().enumerate() {
        best[1 << position] = Some(Best { cost: 0.0, rows: relation.rows, split: None });
    }
    // A set's subsets have smaller numbers, so they are ready.
    for set in 1..=all {
        if set.count_ones() < 2 {
            continue;
        }
        let mut part = (set - 1) & set;
        while part > 0 {
            let rest = set & !part;
            if part < rest {
                consider(graph, &relations, &mut best, part, rest);
            }
            part = (part - 1) & set;
        }
    }
    best[all].is_some().then(|| tree(&best, all))
}

fn consider(graph: &JoinGraph, relations: &[Relation], best: &mut [Option<Best>], a: usize, b: usize) {
    let (Some(left), Some(right)) = (&best[a], &best[b]) else { return };
    let Some(keys) = key_values(graph, relations, a, b) else { return };
    let conditions = graph.conditions.iter().filter(|condition| {
        let set = condition.columns.iter().fold(0, |set, leaf| set | 1 << leaf.relation);
        set & !(a | b) == 0 && set & !a != 0 && set & !b != 0
    });
    let selectivity = CONDITION_SELECTIVITY.powi(conditions.count() as i32);
    let rows = (left.rows * right.rows / keys * selectivity).max(1.0);
    let (build, probe) = if left.rows <= right.rows { (a, b) } else { (b, a) };
    let (few, many) = (left.rows.min(right.rows), left.rows.max(right.rows));
    let cost = left.cost + right.cost + few * BUILD_ROW_COST + many + rows;
    let known = &mut best[a | b];
    let rows = known.as_ref().map_or(rows, |known| known.rows.min(rows));
    if known.as_ref().is_none_or(|known| cost < known.cost) {
        *known = Some(Best { cost, rows, split: Some((build, probe)) });
    } else if let Some(known) = known {
        known.rows = rows;
    }
}

/// The number of values that the keys between two sets can have; `None` without a key.
fn key_values(graph: &JoinGraph, relations: &[Relation], a: usize, b: usize) -> Option<f64> {
    let within = |leaf: &Leaf, set: usize| set & (1 << leaf.relation) != 0;
    let crossing: Vec<&Vec<Leaf>> = graph
        .classes
        .iter()
        .filter(|class| class.iter().any(|leaf| within(leaf, a)) && class.iter().any(|leaf| within(leaf, b)))
        .collect();
    if crossing.is_empty() {
        return None;
    }
    // Of a key and its references the one with the fewest values is the key: the others' ranges only bound theirs.
    let values = |class: &Vec<Leaf>| {
        class.iter().map(|leaf| relations[leaf.relation].values[leaf.column]).fold(f64::INFINITY, f64::min)
    };
    let product: f64 = crossing.iter().map(|class| values(class)).product();
    // A relation with all columns of a composite key has no more keys than rows.
    let holders = relations.iter().enumerate().filter(|(position, _)| {
        (a | b) & (1 << position) != 0
            && crossing.iter().all(|class| class.iter().any(|leaf| leaf.relation == *position))
    });
    Some(holders.map(|(_, relation)| relation.base_rows).fold(product, f64::min).max(1.0))
}

fn tree(best: &[Option<Best>], set: usize) -> Tree {
    match best[set].as_ref().and_then(|best| best.split) {
        None => Tree::Relation(set.trailing_zeros() as usize),
        Some((build, probe)) => Tree::Join {
            build: Box::new(tree(best, build)),
            probe: Box::new(tree(best, probe)),
            build_rows: best[build].as_ref().map_or(f64::INFINITY, |best| best.rows),
        },
    }
}

fn relation(plan: &Arc<dyn ExecutionPlan>) -> Option<Relation> {
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).ok()?;
    let rows = *statistics.num_rows.get_value()? as f64;
    let base_rows = base_rows(plan).unwrap_or(rows).max(rows).max(1.0);
    let values = statistics.column_statistics.iter().map(|column| {
        let counted = column.distinct_count.get_value().map(|count| *count as f64);
        let range = || value_range(column.min_value.get_value()?, column.max_value.get_value()?);
        counted.or_else(range).unwrap_or(base_rows).clamp(1.0, base_rows)
    });
    Some(Relation { rows: rows.max(1.0), base_rows, values: values.collect() })
}

/// The rows below a relation's filters.
fn base_rows(plan: &Arc<dyn ExecutionPlan>) -> Option<f64> {
    let mut plan = plan;
    while plan.downcast_ref::<FilterExec>().is_some() || plan.downcast_ref::<ProjectionExec>().is_some() {
        plan = plan.children().first()?;
    }
    debug_assert!(plan.output_partitioning().partition_count() > 0);
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).ok()?;
    statistics.num_rows.get_value().map(|rows| *rows as f64)
}
