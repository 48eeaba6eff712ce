//! Where rows are gathered before they are aggregated.

use super::*;

const TABLES: &str = "CREATE TABLE t (id BIGINT, name STRING) WITH ('connector' = 'x', 'path' = '/endless');
    CREATE TABLE counts (name STRING, n BIGINT) WITH ('connector' = 'x', 'path' = '/b');
    SET 'table.exec.mini-batch.enabled' = 'true';
    SET 'parallelism.default' = '2';";

/// The names of the vertices of a query's job, of those that aggregate.
async fn aggregating(options: &str, query: &str) -> Vec<String> {
    let mut session = after(&format!("{TABLES} {options}")).await;
    let graph = job(&mut session, query).await;
    let names = graph.vertices.into_iter().map(|vertex| vertex.name);
    names.filter(|name| name.contains("GroupAggregate")).collect()
}

const COUNTS: &str = "SELECT name, COUNT(*) FROM t GROUP BY name";

#[tokio::test]
async fn rows_are_gathered_before_they_are_exchanged_or_behind() {
    let two = aggregating("", COUNTS).await;
    assert!(
        matches!(&two[..], [local, global]
        if local.ends_with("-> LocalGroupAggregate") && global.starts_with("GlobalGroupAggregate")),
        "{two:?}"
    );
    let one = aggregating("SET 'table.optimizer.agg-phase-strategy' = 'one_phase';", COUNTS).await;
    assert!(one.len() == 1 && one[0].starts_with("LocalGroupAggregate -> GlobalGroupAggregate"), "{one:?}");
    let alone = aggregating("SET 'parallelism.default' = '1';", COUNTS).await;
    assert!(
        alone.len() == 1 && alone[0].contains("LocalGroupAggregate -> GlobalGroupAggregate"),
        "{alone:?}"
    );
    let none = aggregating("SET 'table.exec.mini-batch.enabled' = 'false';", COUNTS).await;
    assert!(none.len() == 1 && none[0].starts_with("GroupAggregate"), "{none:?}");
}

#[tokio::test]
async fn what_must_know_single_rows_gathers_none() {
    for query in [
        "SELECT name, COUNT(DISTINCT id) FROM t GROUP BY name",
        "SELECT n, MAX(name) FROM (SELECT name, MAX(id) AS n FROM t GROUP BY name) AS c GROUP BY n",
    ] {
        let vertices = aggregating("", query).await;
        let last = vertices.last().map(String::as_str).unwrap_or_default();
        assert!(
            last.starts_with("GroupAggregate") || last.contains("> GroupAggregate"),
            "{query}: {vertices:?}"
        );
    }
}

#[tokio::test]
async fn a_wrong_value_is_refused_by_its_option() {
    let mut session = after(TABLES).await;
    let error =
        refused(&mut session, &format!("SET 'table.optimizer.agg-phase-strategy' = 'THREE'; {COUNTS}")).await;
    assert!(error.message.contains("`table.optimizer.agg-phase-strategy`"), "{error}");
    assert!(error.message.contains("`AUTO`, `ONE_PHASE` or `TWO_PHASE`"), "{error}");
}
