//! Mistakes in queries: each has a code, a place in the whole script, and the nearest name.

use thalweg_graph::sql_error::Position;

use super::*;

const TABLES: &str =
    "CREATE TABLE orders (id BIGINT, Price DECIMAL(10, 2), name STRING) WITH ('connector' = 'print')";

#[tokio::test]
async fn unknown_names_come_with_the_nearest() {
    let mut session = after(TABLES).await;
    for (script, code, expected) in [
        (
            "SELECT * FROM ordrs",
            SqlErrorCode::UnknownTable,
            "line 1, column 15: table or view `default_catalog.default_database.ordrs` does not exist: did you mean `orders`?",
        ),
        (
            "SELECT 1;\n\nSELECT *\nFROM orders JOIN itms ON TRUE",
            SqlErrorCode::UnknownTable,
            "line 4, column 18: table or view",
        ),
        (
            "SELECT * FROM d.orders",
            SqlErrorCode::UnknownTable,
            "line 1, column 15: database `default_catalog.d` does not exist",
        ),
        (
            "SELECT * FROM c.d.orders",
            SqlErrorCode::UnknownTable,
            "line 1, column 15: catalog `c` does not exist",
        ),
        (
            "SELECT id,\n  prise FROM orders",
            SqlErrorCode::UnknownColumn,
            "line 2, column 3: column `prise` does not exist: did you mean `Price`?",
        ),
        (
            "SELECT price FROM orders",
            SqlErrorCode::UnknownColumn,
            "line 1, column 8: column `price` does not exist: did you mean `Price`?",
        ),
        (
            "SELECT id FROM orders WHERE nam = 'x'",
            SqlErrorCode::UnknownColumn,
            "line 1, column 29: column `nam` does not exist: did you mean `name`?",
        ),
        (
            "SELECT id FROM orders GROUP BY idd",
            SqlErrorCode::UnknownColumn,
            "line 1, column 32: column `idd` does not exist",
        ),
        (
            "SELECT id FROM orders ORDER BY idd",
            SqlErrorCode::UnknownColumn,
            "line 1, column 32: column `idd` does not exist",
        ),
        (
            "SELECT o.idd FROM orders AS o",
            SqlErrorCode::UnknownColumn,
            "line 1, column 8: column `idd` does not exist",
        ),
        (
            "SELECT p.id FROM orders AS o",
            SqlErrorCode::UnknownTable,
            "line 1, column 8: `p` is no table or alias of this query",
        ),
        (
            "SELECT UPER(name) FROM orders",
            SqlErrorCode::UnknownFunction,
            "line 1, column 8: function `uper` does not exist: did you mean `UPPER`?",
        ),
        // DataFusion has these, Flink does not.
        (
            "SELECT array_has_any(ARRAY[1], ARRAY[1])",
            SqlErrorCode::UnknownFunction,
            "line 1, column 8: function `array_has_any` does not exist",
        ),
        (
            "SELECT median(id) FROM orders",
            SqlErrorCode::UnknownFunction,
            "line 1, column 8: function `median` does not exist",
        ),
        (
            "SELECT NTH_VALUE(id, 2) OVER (ORDER BY id) FROM orders",
            SqlErrorCode::UnknownFunction,
            "line 1, column 8: function `nth_value` does not exist",
        ),
        (
            "DESCRIBE FUNCTION UPER",
            SqlErrorCode::UnknownFunction,
            "line 1, column 19: function `UPER` does not exist: did you mean `UPPER`?",
        ),
        (
            "SELECT a.id FROM orders a, orders b WHERE id = 1",
            SqlErrorCode::Invalid,
            "line 1, column 43: column `id` is in more than one table",
        ),
        (
            "CREATE TABLE t (a INT) WITH ('conector' = 'print')",
            SqlErrorCode::InvalidOption,
            "line 1, column 30: option `conector` is not known: did you mean `connector`?",
        ),
        (
            "CREATE TABLE t (a INT, b AS aa + 1)",
            SqlErrorCode::UnknownColumn,
            "column `aa` does not exist: did you mean `a`?",
        ),
        (
            "CREATE TABLE t (a INT, WATERMARK FOR a AS a)",
            SqlErrorCode::TypeMismatch,
            "the watermark's column `a` is INT",
        ),
        (
            "CREATE TABLE t (a INT, PRIMARY KEY (b) NOT ENFORCED)",
            SqlErrorCode::UnknownColumn,
            "line 1, column 37: column `b` does not exist: did you mean `a`?",
        ),
        (
            "CREATE TABLE t (a INT) PARTITIONED BY (b)",
            SqlErrorCode::UnknownColumn,
            "line 1, column 40: column `b` does not exist",
        ),
        ("SHOW CREATE TABLE ordrs", SqlErrorCode::UnknownTable, "line 1, column 19: table or view"),
        ("DESCRIBE ordrs", SqlErrorCode::UnknownTable, "line 1, column 10: table or view"),
    ] {
        let error = refused(&mut session, script).await;
        assert!(error.to_string().contains(expected), "{script}\n  {error}");
        assert_eq!(error.code, code, "{script}\n  {error}");
        assert!(error.position.is_some(), "{script}\n  {error}");
    }
}

#[tokio::test]
async fn types_that_do_not_fit_are_said() {
    let mut session = after(TABLES).await;
    for script in [
        "SELECT id FROM orders UNION ALL SELECT name, id FROM orders",
        "SELECT SUM(name) FROM orders",
        "SELECT id + ARRAY[1] FROM orders",
    ] {
        let error = refused(&mut session, script).await;
        assert!(error.code != SqlErrorCode::Internal && error.position.is_some(), "{script}\n  {error:?}");
    }
}

#[tokio::test]
async fn places_count_in_the_whole_script() {
    let mut session = after(TABLES).await;
    let error = refused(&mut session, "SELECT 1; -- ä\n  SELECT 2; SELECT nam FROM orders").await;
    assert_eq!(error.position, Some(Position { line: 2, column: 20 }));
    let error = Session::parse("SELECT 1;\n\n  SELECT 1 +;").unwrap_err();
    assert_eq!(error.position, Some(Position { line: 3, column: 13 }));
    assert_eq!(error.code, SqlErrorCode::Syntax);
}
