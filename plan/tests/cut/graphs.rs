//! Job graphs as text, read in review.

use thalweg_graph::{exchange::ExchangeKind, explain};
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

/// The edges out of each vertex that several read, by whether they are blocking.
async fn shared(sql: &str) -> Vec<Vec<bool>> {
    let graph = Tables::generate().plan(sql, CLUSTER).await;
    graph.validate().unwrap();
    let outputs = graph.vertices.iter().map(|vertex| {
        graph.outputs(vertex.id).map(|edge| edge.kind == ExchangeKind::Blocking).collect::<Vec<_>>()
    });
    outputs.filter(|edges| edges.len() > 1).collect()
}

#[tokio::test]
async fn a_view_that_is_named_twice_is_computed_once() {
    let sql = "WITH revenue AS (SELECT l_suppkey, sum(l_quantity) AS total FROM lineitem GROUP BY l_suppkey)
        SELECT s_name, total FROM supplier JOIN revenue ON s_suppkey = l_suppkey
        WHERE total = (SELECT max(total) FROM revenue)";
    assert_eq!(shared(sql).await, [[true, true]]);
    Tables::generate().check(sql).await;
}

#[tokio::test]
async fn what_only_looks_alike_is_computed_for_each() {
    for (first, second) in [
        ("l_tax < 0.05", "l_tax < 0.06"),
        ("random() < 0.5", "random() < 0.5"),
        ("l_tax < 0.05", "l_discount < 0.05"),
    ] {
        let counts = |condition| {
            format!("SELECT l_suppkey, count(*) AS n FROM lineitem WHERE {condition} GROUP BY l_suppkey")
        };
        let (first, second) = (counts(first), counts(second));
        let sql = format!("SELECT a.n, b.n FROM ({first}) a JOIN ({second}) b ON a.l_suppkey = b.l_suppkey");
        assert_eq!(shared(&sql).await, Vec::<Vec<bool>>::new(), "{sql}");
    }
}

#[tokio::test]
async fn vertices_know_whether_they_give_the_same_rows_again() {
    let tables = Tables::generate();
    let whole = async |sql: &str| {
        let graph = tables.plan(sql, CLUSTER).await;
        // The last vertex hands its rows to the client; nobody reads an older attempt of it.
        graph.vertices.iter().rev().skip(1).all(|vertex| vertex.deterministic)
    };
    for sql in [
        "SELECT l_returnflag, sum(l_quantity), avg(l_tax) FROM lineitem GROUP BY l_returnflag",
        "SELECT o_orderkey, count(*) FROM orders JOIN lineitem ON o_orderkey = l_orderkey GROUP BY o_orderkey ORDER BY 1",
        "SELECT count(*) FROM (SELECT * FROM lineitem LIMIT 1000)",
    ] {
        assert!(whole(sql).await, "{sql}");
    }
    for sql in [
        "SELECT r, count(*) FROM (SELECT random() AS r FROM lineitem) GROUP BY r",
        "SELECT l_tax, count(*) FROM lineitem WHERE uuid() > 'a' GROUP BY l_tax ORDER BY 1",
        "SELECT k, count(*) FROM (SELECT l_partkey AS k FROM lineitem LIMIT 1000) GROUP BY k",
        "SELECT k, count(*) FROM (SELECT l_partkey AS k, row_number() OVER (PARTITION BY l_tax ORDER BY l_discount) AS n FROM lineitem) WHERE n < 3 GROUP BY k",
        "SELECT k, count(*) FROM (SELECT string_agg(l_comment, ',') AS k FROM lineitem GROUP BY l_tax) GROUP BY k",
    ] {
        assert!(!whole(sql).await, "{sql}");
    }
}
