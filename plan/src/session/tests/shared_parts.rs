//! What a stream computes once though its query says it twice.

use thalweg_graph::{JobGraph, exchange::Partitioning};

use super::*;

const TABLES: &str = "CREATE TABLE t (id BIGINT, name STRING) WITH ('connector' = 'x', 'path' = '/endless');
    CREATE TABLE names (name STRING) WITH ('connector' = 'x', 'path' = '/b');
    CREATE VIEW counts AS SELECT name, COUNT(*) AS n FROM t GROUP BY name;";

async fn planned(statement: &str) -> JobGraph {
    let mut session = after(TABLES).await;
    job(&mut session, statement).await
}

fn vertices(graph: &JobGraph, name: &str) -> usize {
    graph.vertices.iter().filter(|vertex| vertex.name.contains(name)).count()
}

#[tokio::test]
async fn a_view_that_two_branches_read_is_computed_once() {
    let graph =
        planned("INSERT INTO names SELECT DISTINCT a.name FROM counts AS a JOIN counts AS b ON a.n = b.n")
            .await;
    assert_eq!(vertices(&graph, "GroupAggregate"), 2, "the counts, and DISTINCT");
    assert_eq!(vertices(&graph, "Source"), 1);
    let counts = graph.vertices.iter().find(|vertex| vertex.name.contains("GroupAggregate")).unwrap();
    assert_eq!(graph.edges.iter().filter(|edge| edge.source == counts.id).count(), 2);
    for (position, edge) in graph.edges.iter().enumerate() {
        assert_eq!(edge.id.index(), position);
        assert!(edge.source < edge.target, "producers come before consumers");
    }
}

#[tokio::test]
async fn sinks_of_one_job_share_what_they_have_in_common() {
    let set = "EXECUTE STATEMENT SET BEGIN INSERT INTO names SELECT name FROM t; INSERT INTO names SELECT name FROM t; END";
    let graph = planned(set).await;
    assert_eq!((vertices(&graph, "Source"), vertices(&graph, "Sink")), (1, 2));
    assert!(graph.edges.iter().all(|edge| edge.partitioning == Partitioning::Forward));
}

#[tokio::test]
async fn what_only_looks_the_same_is_not_shared() {
    let hint = "SELECT id FROM t UNION ALL SELECT id FROM t /*+ OPTIONS('path' = '/b') */";
    assert_eq!(vertices(&planned(hint).await, "Source"), 2, "they read different files");
    let random = "SELECT a.r FROM (SELECT id, RAND() AS r FROM t) AS a JOIN (SELECT id, RAND() AS r FROM t) AS b ON a.id = b.id";
    assert_eq!(vertices(&planned(random).await, "Calc"), 2, "each has its own numbers");
}
