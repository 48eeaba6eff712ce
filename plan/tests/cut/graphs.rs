//! Job graphs as text, read in review.

use thalweg_graph::explain;
use thalweg_plan::Target;

use crate::fixture::Tables;

const CLUSTER: Target = Target::Cluster { parallelism: 2, max_slots: 2 };

async fn explained(sql: &str, target: Target) -> String {
    let tables = Tables::generate();
    let graph = tables.plan(sql, target).await;
    graph.validate().unwrap();
    let text = explain::text(&graph);
    // Scans name their files, whose folder changes with each run.
    text.lines()
        .map(|line| line.split("file_groups=").next().unwrap_or_default().trim_end())
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn an_aggregate_is_cut_at_its_keys() {
    let sql = "SELECT l_returnflag, sum(l_quantity) FROM lineitem WHERE l_tax < 0.05 GROUP BY l_returnflag";
    insta::assert_snapshot!(explained(sql, CLUSTER).await);
}

#[tokio::test]
async fn a_small_build_side_is_broadcast() {
    let sql = "SELECT s_name, count(*) FROM lineitem JOIN supplier ON l_suppkey = s_suppkey GROUP BY s_name";
    insta::assert_snapshot!(explained(sql, CLUSTER).await);
}

#[tokio::test]
async fn a_sort_merges_its_producers() {
    let sql = "SELECT o_orderkey, o_totalprice FROM orders ORDER BY o_totalprice DESC LIMIT 10";
    insta::assert_snapshot!(explained(sql, CLUSTER).await);
}

#[tokio::test]
async fn an_embedded_plan_stays_whole() {
    let sql = "SELECT l_returnflag, sum(l_quantity) FROM lineitem GROUP BY l_returnflag";
    insta::assert_snapshot!(explained(sql, Target::Embedded { threads: 2 }).await);
}
