//! Statements that are deep or long: planned or refused, but never a crash and never a hang.

use std::fmt::Write as _;

use super::*;
use crate::sql::STATEMENT_BYTES_MAX;

const DEEP: usize = 500;

#[tokio::test]
async fn five_hundred_deep_is_planned() {
    let mut session = after("CREATE TABLE t (x INT) WITH ('connector' = 'print')").await;
    let unions = vec!["SELECT x FROM t"; DEEP].join(" UNION ALL ");
    let subqueries = format!("SELECT x FROM {}t{}", "(SELECT x FROM ".repeat(DEEP), ")".repeat(DEEP));
    let brackets = format!("SELECT {}x{} FROM t", "(".repeat(DEEP), ")".repeat(DEEP));
    let conditions = format!("SELECT x FROM t WHERE {}", vec!["x <> 1"; DEEP].join(" AND "));
    for script in [unions, subqueries, brackets, conditions] {
        run(&mut session, &script).await.unwrap_or_else(|error| panic!("{script:.80}\n  {error:.300}"));
    }
}

#[tokio::test]
async fn what_is_nested_too_deep_is_refused() {
    let script = format!("SELECT {}1", "(".repeat(1_000_000));
    let error = refused(&mut session(), &script).await;
    assert_eq!(error.message, "the statement is nested too deep");
}

#[test]
fn a_huge_script_is_read_in_one_pass() {
    let mut script = String::with_capacity(4 << 20);
    while script.len() < 4 << 20 {
        let _ = writeln!(script, "SET 'pipeline.name' = '{}'; -- {}", "x".repeat(1000), "y".repeat(1000));
    }
    let statements = Session::parse(&script).unwrap();
    assert_eq!(statements.len(), script.lines().count());
    assert_eq!(statements.last().map(|last| last.position().line), Some(script.lines().count() as u64));
}

#[test]
fn a_huge_statement_is_refused_before_it_is_read() {
    let script = format!("SELECT 1;\nINSERT INTO t VALUES {}", "(1, 'x'), ".repeat(STATEMENT_BYTES_MAX / 10));
    let error = Session::parse(&script).unwrap_err();
    assert!(error.message.contains("put its data into a file"), "{error}");
    assert_eq!(error.position.map(|at| at.line), Some(2));
}
