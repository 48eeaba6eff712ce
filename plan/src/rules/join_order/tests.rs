//! Shapes of ordered plans: small relations are joined first, columns stay what they were.

use datafusion::{
    arrow::{
        array::{ArrayRef, Int64Array, RecordBatch},
        util::pretty::pretty_format_batches,
    },
    common::tree_node::{TreeNode, TreeNodeRecursion},
    datasource::MemTable,
    execution::SessionStateBuilder,
    physical_plan::{joins::HashJoinExec, projection::ProjectionExec},
    prelude::SessionContext,
};
use thalweg_graph::Options;

use super::*;
use crate::{session_config::planning_state, target::Target};

/// A table whose column `key` counts up and whose column `reference` takes so many values.
fn table(prefix: &str, rows: i64, references: i64) -> Arc<MemTable> {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let others: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|row| row % references)));
    let columns = [(format!("{prefix}_key"), keys), (format!("{prefix}_ref"), others)];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap())
}

/// A fact table, a dimension, and a dimension of the dimension.
fn context(with_rule: bool) -> SessionContext {
    let state = planning_state(&Options::default(), Default::default(), Target::Embedded { threads: 2 });
    let rules = state.physical_optimizers().iter().filter(|rule| with_rule || rule.name() != "join_order");
    let rules = rules.cloned().collect();
    let state = SessionStateBuilder::new_from_existing(state).with_physical_optimizer_rules(rules).build();
    let context = SessionContext::new_with_state(state);
    context.register_table("fact", table("f", 10_000, 100)).unwrap();
    context.register_table("dim", table("d", 100, 5)).unwrap();
    context.register_table("sub", table("s", 5, 5)).unwrap();
    context
}

async fn plan(sql: &str) -> Arc<dyn ExecutionPlan> {
    context(true).sql(sql).await.unwrap().create_physical_plan().await.unwrap()
}

/// The columns of the build side of each join, from the root down.
fn build_sides(plan: &Arc<dyn ExecutionPlan>) -> Vec<Vec<String>> {
    let mut sides = Vec::new();
    plan.apply(|node| {
        if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            sides.push(join.left().schema().fields().iter().map(|field| field.name().clone()).collect());
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    sides
}

const IN_ORDER_OF_SIZE: &str =
    "SELECT f_key, s_ref FROM fact, dim, sub WHERE f_ref = d_key AND d_ref = s_key";

#[tokio::test]
async fn dimensions_are_joined_before_the_fact_table() {
    let plan = plan(IN_ORDER_OF_SIZE).await;
    let sides = build_sides(&plan);
    assert_eq!(sides.len(), 2, "{sides:?}");
    assert!(sides.iter().flatten().all(|column| !column.starts_with("f_")), "{sides:?}");
    assert!(sides[1].iter().all(|column| column.starts_with("s_")), "{sides:?}");
}

#[tokio::test]
async fn joins_carry_only_what_is_still_needed() {
    let plan = plan(IN_ORDER_OF_SIZE).await;
    assert_eq!(build_sides(&plan)[0], ["s_ref", "d_key"]);
}

#[tokio::test]
async fn columns_and_rows_stay_what_they_were() {
    let sql = "SELECT * FROM fact, dim, sub WHERE f_ref = d_key AND d_ref = s_key AND f_key + s_key > 9000 ORDER BY f_key";
    let mut answers = Vec::new();
    for with_rule in [true, false] {
        let batches = context(with_rule).sql(sql).await.unwrap().collect().await.unwrap();
        answers.push(pretty_format_batches(&batches).unwrap().to_string());
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].lines().count() > 900);
}

#[tokio::test]
async fn outer_joins_and_pairs_are_left_alone() {
    for sql in [
        "SELECT * FROM fact LEFT JOIN dim ON f_ref = d_key LEFT JOIN sub ON d_ref = s_key",
        "SELECT * FROM fact, dim WHERE f_ref = d_key",
    ] {
        let state = context(false).state();
        let logical = context(false).sql(sql).await.unwrap().into_optimized_plan().unwrap();
        let before = state.query_planner().create_physical_plan(&logical, &state).await.unwrap();
        let after = JoinOrder.optimize(Arc::clone(&before), state.config_options()).unwrap();
        assert_eq!(build_sides(&before), build_sides(&after));
        assert_eq!(projections(&before), projections(&after));
    }
}

fn projections(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let mut count = 0;
    plan.apply(|node| {
        count += usize::from(node.downcast_ref::<ProjectionExec>().is_some());
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    count
}
