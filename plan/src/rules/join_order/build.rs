//! From a join tree back to operators: each join carries only the columns that are still needed.

use std::{collections::BTreeSet, sync::Arc};

use datafusion::{
    arrow::datatypes::SchemaRef,
    common::{
        JoinType, NullEquality, Result, internal_datafusion_err,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    config::ConfigOptions,
    physical_expr::{PhysicalExpr, expressions::Column},
    physical_plan::{
        ExecutionPlan,
        filter::FilterExec,
        joins::{HashJoinExec, PartitionMode},
        projection::ProjectionExec,
    },
};

use super::{
    join_graph::{Condition, JoinGraph, Leaf},
    order::Tree,
};

/// Bytes that a column is taken for when a build side is weighed.
const COLUMN_BYTES: f64 = 16.0;

/// A subtree with the columns it puts out.
struct Built {
    plan: Arc<dyn ExecutionPlan>,
    columns: Vec<Leaf>,
    relations: BTreeSet<usize>,
}

/// Builds the operators of a tree; the result has the columns and names of `schema`.
pub fn plan(
    graph: &JoinGraph,
    tree: &Tree,
    schema: &SchemaRef,
    config: &ConfigOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    let built = subtree(graph, tree, config)?;
    let names = schema.fields().iter().map(|field| field.name().clone());
    let columns = graph.output.iter().zip(names).map(|(leaf, name)| Ok((built.column(*leaf)?, name)));
    Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Result<Vec<_>>>()?, built.plan)?))
}

fn subtree(graph: &JoinGraph, tree: &Tree, config: &ConfigOptions) -> Result<Built> {
    let (build, probe, build_rows) = match tree {
        Tree::Relation(relation) => return Ok(Built::relation(graph, *relation)),
        Tree::Join { build, probe, build_rows } => (build, probe, *build_rows),
    };
    let (build, probe) = (subtree(graph, build, config)?, subtree(graph, probe, config)?);
    let mut on = Vec::new();
    for class in &graph.classes {
        let in_side = |side: &Built| class.iter().find(|leaf| side.columns.contains(leaf)).copied();
        if let (Some(a), Some(b)) = (in_side(&build), in_side(&probe)) {
            on.push((build.column(a)?, probe.column(b)?));
        }
    }
    let relations: BTreeSet<usize> = build.relations.union(&probe.relations).copied().collect();
    let conditions: Vec<&Condition> = graph
        .conditions
        .iter()
        .filter(|condition| {
            let reads =
                |set: &BTreeSet<usize>| condition.columns.iter().all(|leaf| set.contains(&leaf.relation));
            reads(&relations) && !reads(&build.relations) && !reads(&probe.relations)
        })
        .collect();
    let all: Vec<Leaf> = build.columns.iter().chain(&probe.columns).copied().collect();
    let kept = kept(graph, &all, &relations, &conditions);
    let projection = kept.iter().filter_map(|leaf| all.iter().position(|column| column == leaf)).collect();
    let mode = mode(build_rows, build.columns.len(), config);
    let join = HashJoinExec::try_new(
        build.plan,
        probe.plan,
        on,
        None,
        &JoinType::Inner,
        Some(projection),
        mode,
        NullEquality::NullEqualsNothing,
        false,
    )?;
    let mut built = Built { plan: Arc::new(join), columns: kept, relations };
    for condition in conditions {
        let predicate = built.rebased(condition)?;
        built.plan = Arc::new(FilterExec::try_new(predicate, Arc::clone(&built.plan))?);
    }
    Ok(built)
}

/// The columns that something above still reads: the result, a condition, or (one of each class) another join.
fn kept(
    graph: &JoinGraph,
    all: &[Leaf],
    relations: &BTreeSet<usize>,
    conditions_here: &[&Condition],
) -> Vec<Leaf> {
    let mut wanted: BTreeSet<Leaf> = graph.output.iter().copied().collect();
    let later = graph
        .conditions
        .iter()
        .filter(|condition| condition.columns.iter().any(|leaf| !relations.contains(&leaf.relation)));
    wanted.extend(later.chain(conditions_here.iter().copied()).flat_map(|condition| &condition.columns));
    for class in &graph.classes {
        let joins_more = class.iter().any(|leaf| !relations.contains(&leaf.relation));
        let available = || class.iter().filter(|leaf| all.contains(leaf));
        if joins_more && !available().any(|leaf| wanted.contains(leaf)) {
            wanted.extend(available().next());
        }
    }
    all.iter().filter(|leaf| wanted.contains(leaf)).copied().collect()
}

fn mode(build_rows: f64, columns: usize, config: &ConfigOptions) -> PartitionMode {
    let bytes = build_rows * columns as f64 * COLUMN_BYTES;
    let small = bytes < config.optimizer.hash_join_single_partition_threshold as f64;
    if small || config.execution.target_partitions == 1 {
        PartitionMode::CollectLeft
    } else {
        PartitionMode::Partitioned
    }
}

impl Built {
    fn relation(graph: &JoinGraph, relation: usize) -> Self {
        let plan = Arc::clone(&graph.relations[relation]);
        let columns = (0..plan.schema().fields().len()).map(|column| Leaf { relation, column }).collect();
        Self { plan, columns, relations: BTreeSet::from([relation]) }
    }

    fn column(&self, leaf: Leaf) -> Result<Arc<dyn PhysicalExpr>> {
        let position = self.columns.iter().position(|column| *column == leaf);
        let position =
            position.ok_or_else(|| internal_datafusion_err!("a join lost a column that is needed"))?;
        Ok(Arc::new(Column::new(self.plan.schema().field(position).name(), position)))
    }

    /// A condition over the columns of this subtree.
    fn rebased(&self, condition: &Condition) -> Result<Arc<dyn PhysicalExpr>> {
        Arc::clone(&condition.expression)
            .transform_up(|expr| match expr.downcast_ref::<Column>() {
                None => Ok(Transformed::no(expr)),
                Some(column) => Ok(Transformed::yes(self.column(condition.columns[column.index()])?)),
            })
            .data()
    }
}
