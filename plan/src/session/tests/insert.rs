//! `INSERT`: matching, casting, filling up, and what is refused.

use thalweg_graph::VertexOutput;

use super::*;

const TABLES: &str = "
    CREATE TABLE s (i INT, b BIGINT, d DOUBLE, p DECIMAL(10, 4), n STRING, ts TIMESTAMP(6)) WITH ('connector' = 'print');
    CREATE TABLE t (i INT NOT NULL, b BIGINT, twice AS b * 2, n STRING, dt STRING, hr INT) PARTITIONED BY (dt, hr)
        WITH ('connector' = 'print');
    CREATE TABLE narrow (x INT, y FLOAT, z DECIMAL(8, 2), w TIMESTAMP(3)) WITH ('connector' = 'print')";

fn sinks(graph: &JobGraph) -> Vec<SinkDescriptor> {
    let sink = |vertex: &thalweg_graph::JobVertex| match &vertex.output {
        VertexOutput::Sink(sink) => Some((**sink).clone()),
        _ => None,
    };
    graph.vertices.iter().filter_map(sink).collect()
}

#[tokio::test]
async fn inserts_that_lose_nothing_are_planned() {
    let mut session = after(TABLES).await;
    for script in [
        "INSERT INTO t SELECT i, i, n, n, i FROM s",
        "INSERT INTO t (n, i) SELECT n, i FROM s",
        "INSERT INTO t VALUES (1, 2, 'a', 'b', 3), (2, NULL, NULL, NULL, NULL)",
        "INSERT INTO t PARTITION (dt = '2024-01-01') SELECT 1, COUNT(*), 'x', 5 FROM s",
        "INSERT INTO t PARTITION (dt = '2024-01-01', hr) (i, hr) SELECT 1, 5",
        "INSERT OVERWRITE t PARTITION (dt = 'a', hr = 3) SELECT i, b, n FROM s",
    ] {
        run(&mut session, script).await.unwrap_or_else(|error| panic!("{script}\n  {error}"));
    }
    let graph = job(
        &mut session,
        "INSERT OVERWRITE t /*+ OPTIONS('path'='/y') */ PARTITION (dt = 'a', hr = 3) SELECT i, b, n FROM s",
    )
    .await;
    let sink = &sinks(&graph)[0];
    assert!(sink.overwrite);
    assert_eq!(sink.table.options["path"], "/y");
    assert_eq!(sink.static_partition["hr"].as_deref(), Some("3"));
    let names: Vec<&str> = sink.table.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["i", "b", "n", "dt", "hr"]);
}

#[tokio::test]
async fn a_statement_set_is_one_job() {
    let mut session = after(TABLES).await;
    let script = "EXECUTE STATEMENT SET BEGIN
        INSERT INTO narrow (x) SELECT i FROM s;
        INSERT INTO t (i) SELECT i FROM s;
    END";
    let graph = job(&mut session, script).await;
    assert_eq!(sinks(&graph).len(), 2);
    assert_eq!(graph.result_columns, None);
}

#[tokio::test]
async fn inserts_that_do_not_fit_say_why() {
    let mut session = after(TABLES).await;
    for (script, code, expected) in [
        (
            "INSERT INTO t SELECT 1",
            SqlErrorCode::TypeMismatch,
            "the query gives 1 columns, `default_catalog.default_database.t` takes 5",
        ),
        (
            "INSERT INTO narrow (x) SELECT b FROM s",
            SqlErrorCode::TypeMismatch,
            "column `x` is INT, the query gives BIGINT: say CAST(... AS INT)",
        ),
        (
            "INSERT INTO narrow (y) SELECT d FROM s",
            SqlErrorCode::TypeMismatch,
            "column `y` is FLOAT, the query gives DOUBLE",
        ),
        (
            "INSERT INTO narrow (z) SELECT p FROM s",
            SqlErrorCode::TypeMismatch,
            "column `z` is DECIMAL(8, 2), the query gives DECIMAL(10, 4)",
        ),
        (
            "INSERT INTO narrow (w) SELECT ts FROM s",
            SqlErrorCode::TypeMismatch,
            "column `w` is TIMESTAMP(3), the query gives TIMESTAMP(6)",
        ),
        (
            "INSERT INTO narrow (x) SELECT n FROM s",
            SqlErrorCode::TypeMismatch,
            "column `x` is INT, the query gives STRING",
        ),
        (
            "INSERT INTO t (b) SELECT 1",
            SqlErrorCode::Invalid,
            "column `i` of `default_catalog.default_database.t` is NOT NULL and gets no value",
        ),
        ("INSERT INTO t (i, twice) SELECT 1, 2", SqlErrorCode::Invalid, "column `twice` cannot be written"),
        (
            "INSERT INTO t (i, bb) SELECT 1, 2",
            SqlErrorCode::UnknownColumn,
            "column `bb` does not exist: did you mean `b`?",
        ),
        ("INSERT INTO t (i, i) SELECT 1, 2", SqlErrorCode::Invalid, "column `i` is given twice"),
        (
            "INSERT INTO t PARTITION (d = 'x') SELECT 1",
            SqlErrorCode::UnknownColumn,
            "`default_catalog.default_database.t` is not partitioned by `d`",
        ),
        (
            "INSERT INTO t PARTITION (hr = 'x') (i) SELECT 1",
            SqlErrorCode::TypeMismatch,
            "the partition value `x` of `hr` is no INT",
        ),
        (
            "INSERT INTO u SELECT 1",
            SqlErrorCode::UnknownTable,
            "table or view `default_catalog.default_database.u` does not exist",
        ),
    ] {
        let error = refused(&mut session, script).await;
        assert!(error.message.starts_with(expected), "{script}\n  {error}");
        assert_eq!(error.code, code, "{script}");
        assert!(error.position.is_some(), "{script}");
    }
}
