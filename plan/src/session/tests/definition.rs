//! Tables, views, databases and catalogs: made, shown, changed, dropped.

use super::*;

const ORDERS: &str = "CREATE TABLE orders (
    id BIGINT NOT NULL COMMENT 'the number',
    item ROW<`sku` STRING, amount INT>,
    price DECIMAL(10, 2),
    cost AS price * 2 COMMENT 'twice',
    ts TIMESTAMP(3),
    dt STRING,
    WATERMARK FOR ts AS ts - INTERVAL '5' SECOND,
    PRIMARY KEY (id) NOT ENFORCED
) COMMENT 'all orders' PARTITIONED BY (dt) WITH ('connector' = 'filesystem', 'path' = '/it''s')";

#[tokio::test]
async fn a_table_is_shown_as_it_was_declared() {
    let mut session = after(ORDERS).await;
    insta::assert_snapshot!("show_create_table", text(&mut session, "SHOW CREATE TABLE orders").await);
    insta::assert_snapshot!("describe_table", shown(&mut session, "DESCRIBE orders").await);
    let again = text(&mut session, "SHOW CREATE TABLE orders").await;
    run(&mut session, &format!("DROP TABLE orders; {again}")).await.unwrap();
    assert_eq!(text(&mut session, "SHOW CREATE TABLE orders").await, again);
}

#[tokio::test]
async fn a_table_without_columns_takes_those_of_its_files() {
    let mut session = after("CREATE TABLE t WITH ('connector' = 'filesystem', 'path' = '/x')").await;
    let columns = shown(&mut session, "SHOW COLUMNS FROM t LIKE 'n%'").await;
    assert!(columns.contains("| name | STRING | TRUE |") && !columns.contains("| id "), "{columns}");
    let error = refused(&mut session, "CREATE TABLE u WITH ('connector' = 'print')").await;
    assert_eq!(error.to_string(), "line 1, column 14: the table needs columns or the option `path`");
}

#[tokio::test]
async fn like_takes_over_and_lets_own_options_win() {
    let mut session =
        after(&format!("{ORDERS}; CREATE TABLE t (x INT) WITH ('path' = '/t') LIKE orders")).await;
    let made = text(&mut session, "SHOW CREATE TABLE t").await;
    assert!(
        made.contains("'path' = '/t'") && made.contains("`x` INT") && made.contains("`cost` AS"),
        "{made}"
    );
    let script = "CREATE TABLE u WITH ('connector' = 'print') LIKE orders (EXCLUDING ALL)";
    run(&mut session, script).await.unwrap();
    let made = text(&mut session, "SHOW CREATE TABLE u").await;
    assert!(!made.contains("WATERMARK") && !made.contains("PARTITIONED") && made.contains("print"), "{made}");
}

#[tokio::test]
async fn a_query_makes_and_fills_a_table() {
    let mut session = session();
    let script = "CREATE TABLE t (b, a) WITH ('connector' = 'print') AS SELECT 1 AS a, 'x' AS b";
    let graph = job(&mut session, script).await;
    assert_eq!(graph.result_columns, None);
    let made = text(&mut session, "SHOW CREATE TABLE t").await;
    assert!(made.find("`b` STRING").unwrap() < made.find("`a` INT").unwrap(), "{made}");
    let error = refused(&mut session, "CREATE TABLE t AS SELECT 1 AS a").await;
    assert_eq!(error.code, SqlErrorCode::AlreadyExists);
    let graph =
        job(&mut session, "CREATE OR REPLACE TABLE t WITH ('connector' = 'print') AS SELECT 2 AS c").await;
    let sinks: Vec<bool> = graph
        .vertices
        .iter()
        .filter_map(|vertex| match &vertex.output {
            thalweg_graph::VertexOutput::Sink(sink) => Some(sink.overwrite),
            _ => None,
        })
        .collect();
    assert_eq!(sinks, [true]);
    let error = refused(&mut session, "CREATE TABLE u (x, y) AS SELECT 1 AS x, 2 AS z").await;
    assert_eq!(error.to_string(), "line 1, column 20: the query has no column `y`: did you mean `x`?");
}

#[tokio::test]
async fn columns_options_and_keys_change() {
    let mut session = after(ORDERS).await;
    let script = "ALTER TABLE orders ADD (note STRING AFTER id);
        ALTER TABLE orders MODIFY note STRING COMMENT 'n' FIRST;
        ALTER TABLE orders RENAME note TO remark;
        ALTER TABLE orders DROP item;
        ALTER TABLE orders DROP WATERMARK;
        ALTER TABLE orders SET ('format' = 'csv');
        ALTER TABLE orders RESET ('path');
        ALTER TABLE orders DROP PRIMARY KEY;
        ALTER TABLE orders ADD CONSTRAINT k PRIMARY KEY (remark) NOT ENFORCED;
        ALTER TABLE orders RENAME TO renamed";
    run(&mut session, script).await.unwrap();
    insta::assert_snapshot!("altered_table", text(&mut session, "SHOW CREATE TABLE renamed").await);
    for (script, expected) in [
        (
            "ALTER TABLE renamed DROP price",
            "column `price` cannot be dropped: the computed column `cost` needs it",
        ),
        ("ALTER TABLE renamed DROP dt", "column `dt` cannot be dropped: the partitioning needs it"),
        ("ALTER TABLE renamed ADD id INT", "column `id` exists already"),
        ("ALTER TABLE renamed RENAME prise TO x", "column `prise` does not exist: did you mean `price`?"),
        ("ALTER TABLE renamed ADD PRIMARY KEY (id) NOT ENFORCED", "the table has a primary key already"),
        ("ALTER TABLE renamed SET ('pth' = '/')", "option `pth` is not known: did you mean `path`?"),
    ] {
        let error = refused(&mut session, script).await;
        assert!(error.message.starts_with(expected) && error.position.is_some(), "{script}\n  {error}");
    }
}

#[tokio::test]
async fn views_keep_their_meaning() {
    let script = format!(
        "{ORDERS}; CREATE VIEW v (k, p) COMMENT 'x' AS SELECT id, cost FROM orders WHERE id > 1;
         CREATE TEMPORARY VIEW w AS SELECT k FROM v;
         CREATE DATABASE other; USE other"
    );
    let mut session = after(&script).await;
    insta::assert_snapshot!(
        "show_create_view",
        text(&mut session, "SHOW CREATE VIEW default_database.v").await
    );
    let graph = job(&mut session, "SELECT k FROM default_database.w").await;
    assert_eq!(graph.result_columns.unwrap()[0].name, "k");
    let tables = shown(&mut session, "SHOW TABLES FROM default_database").await;
    assert!(["orders", "v", "w"].iter().all(|name| tables.contains(&format!("| {name} "))), "{tables}");
    run(&mut session, "USE default_database; DROP TABLE orders").await.unwrap();
    let error = refused(&mut session, "SELECT * FROM w").await;
    assert_eq!(error.code, SqlErrorCode::UnknownTable);
    assert!(error.message.contains("in view") && error.message.contains("orders"), "{error}");
    assert_eq!(error.position.map(|at| at.column), Some(15));
}

#[tokio::test]
async fn a_view_on_itself_is_refused() {
    let script =
        "CREATE VIEW a AS SELECT 1 AS x; CREATE VIEW b AS SELECT * FROM a; ALTER VIEW a AS SELECT * FROM b";
    let mut session = after(script).await;
    let error = refused(&mut session, "SELECT * FROM a").await;
    assert!(
        error.message.contains("stands on more than 64 other views, or on itself"),
        "{:.300}",
        error.message
    );
}

#[tokio::test]
async fn databases_and_catalogs_hold_tables() {
    let script =
        "CREATE CATALOG c WITH ('type' = 'generic_in_memory'); USE CATALOG c; CREATE DATABASE d; USE d;
        CREATE TABLE t (x INT) WITH ('connector' = 'print')";
    let mut session = after(script).await;
    assert_eq!(text(&mut session, "SHOW CURRENT CATALOG").await, "c");
    assert_eq!(text(&mut session, "SHOW CURRENT DATABASE").await, "d");
    assert_eq!(text(&mut session, "USE default_catalog.default_database; SHOW TABLES FROM c.d").await, "t");
    for (script, expected) in [
        ("DROP DATABASE c.d", "database `c.d` has tables"),
        ("USE CATALOG cc", "catalog `cc` does not exist: did you mean `c`?"),
        ("USE c.e", "database `c.e` does not exist"),
        ("CREATE DATABASE c.d", "database `c.d` exists already"),
        ("DROP TABLE c.d.tt", "table or view `c.d.tt` does not exist: did you mean `t`?"),
        ("DROP VIEW c.d.t", "`c.d.t` is a table: say DROP TABLE"),
        ("CREATE CATALOG h WITH ('type' = 'hive')", "the catalog type `hive` is not supported yet"),
    ] {
        let error = refused(&mut session, script).await;
        assert!(error.message.starts_with(expected) && error.position.is_some(), "{script}\n  {error}");
    }
    run(&mut session, "DROP DATABASE c.d CASCADE; DROP CATALOG c; DROP TABLE IF EXISTS c.d.t").await.unwrap();
}

#[tokio::test]
async fn temporary_tables_hide_permanent_ones() {
    let script = "CREATE TABLE t (x INT) WITH ('connector' = 'print');
        CREATE TEMPORARY TABLE t (y INT) WITH ('connector' = 'print')";
    let mut session = after(script).await;
    assert!(shown(&mut session, "DESCRIBE t").await.contains("| y "));
    let error = refused(&mut session, "DROP TABLE t").await;
    assert!(error.message.contains("DROP TEMPORARY"), "{error}");
    run(&mut session, "DROP TEMPORARY TABLE t").await.unwrap();
    assert!(shown(&mut session, "DESCRIBE t").await.contains("| x "));
}

#[tokio::test]
async fn options_are_checked_and_unknown_ones_said() {
    let mut session = session();
    let error = refused(&mut session, "SET 'rest.port' = 'http'").await;
    assert_eq!(error.code, SqlErrorCode::InvalidOption);
    assert_eq!(error.position.map(|at| at.column), Some(5));
    let Ok(Outcome::Ok { message: Some(message) }) =
        run(&mut session, "SET 'parallelism.defualt' = '2'").await
    else {
        panic!("no warning")
    };
    assert!(message.contains("did you mean `parallelism.default`?"), "{message}");
    run(&mut session, "SET table.dml-sync = false").await.unwrap();
    assert!(shown(&mut session, "SET").await.contains("| table.dml-sync "));
    run(&mut session, "RESET").await.unwrap();
    assert_eq!(session.options(), &Options::default());
}
