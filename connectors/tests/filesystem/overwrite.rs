//! INSERT OVERWRITE: what is replaced, what stays, and crashes in between.

use thalweg_connectors::commit;

use crate::{
    harness::{attempt, fixture, job},
    write::batch,
};

#[tokio::test]
async fn a_table_is_replaced_whole() {
    let t = fixture(&["a INT", "b STRING"], &[], &[("format", "json")]);
    t.insert(&t.sink(), job(1), &[batch(&[(1, None)])]).await;
    t.insert(&t.overwrite(), job(2), &[batch(&[(2, None)])]).await;
    assert_eq!(t.query("SELECT a FROM t").await.unwrap(), ["2"]);
    t.insert(&t.overwrite(), job(3), &[]).await;
    assert_eq!(t.query("SELECT a FROM t").await.unwrap(), [""; 0]);
    assert_eq!(t.files(), [""; 0]);
}

#[tokio::test]
async fn only_partitions_that_rows_come_into_are_replaced() {
    let t = fixture(&["a INT", "b STRING"], &["b"], &[("format", "json")]);
    t.insert(&t.sink(), job(1), &[batch(&[(1, Some("x")), (2, Some("y"))])]).await;
    t.insert(&t.overwrite(), job(2), &[batch(&[(3, Some("y")), (4, Some("z"))])]).await;
    assert_eq!(t.query("SELECT a, b FROM t ORDER BY a").await.unwrap(), ["1|x", "3|y", "4|z"]);
    assert_eq!(t.files().len(), 3);
}

#[tokio::test]
async fn a_named_partition_is_replaced_even_by_nothing() {
    let t = fixture(&["a INT", "b STRING"], &["b"], &[("format", "json")]);
    t.insert(&t.sink(), job(1), &[batch(&[(1, Some("x")), (2, Some("y"))])]).await;
    let mut sink = t.overwrite();
    sink.static_partition.insert("b".to_owned(), Some("y".to_owned()));
    t.insert(&sink, job(2), &[]).await;
    assert_eq!(t.query("SELECT a, b FROM t").await.unwrap(), ["1|x"]);
}

#[tokio::test]
async fn an_overwrite_that_died_midway_is_finished_by_the_next() {
    let t = fixture(&["a INT", "b STRING"], &["b"], &[("format", "json")]);
    t.insert(&t.sink(), job(1), &[batch(&[(1, Some("x")), (2, Some("y"))])]).await;
    let sink = t.overwrite();
    let rows = [batch(&[(3, Some("x")), (4, Some("y"))])];
    let staged = [t.stage(&sink, attempt(job(2), 0, 0), &rows).await.unwrap()];
    // A file where a folder is wanted makes the commit fail when the first partition is done.
    let staging = t.path().join(format!(".staging-{}/v0/new/1", job(2)));
    std::fs::create_dir_all(staging.parent().unwrap()).unwrap();
    std::fs::write(&staging, "").unwrap();
    commit::commit(&t.connectors, job(2), &sink, &staged).await.unwrap_err();
    assert_eq!(t.query("SELECT a, b FROM t ORDER BY a").await.unwrap(), ["2|y", "3|x"]);
    std::fs::remove_file(&staging).unwrap();
    commit::commit(&t.connectors, job(2), &sink, &staged).await.unwrap();
    assert_eq!(t.query("SELECT a, b FROM t ORDER BY a").await.unwrap(), ["3|x", "4|y"]);
    assert_eq!(t.files().len(), 2);
}
