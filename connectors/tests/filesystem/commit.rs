//! Committing: again after a crash at every step, twice, without rows.

use thalweg_connectors::commit;

use crate::{
    harness::{attempt, fixture, job},
    write::batch,
};

/// The name of a file of job 1.
fn part(n: u32) -> String {
    format!("part-{}-0-0-0-{n}.json", &job(1).to_string()[..16])
}

#[tokio::test]
async fn a_second_commit_changes_nothing() {
    let options = [("format", "json"), ("sink.partition-commit.policy.kind", "success-file")];
    let t = fixture(&["a INT", "b STRING"], &["b"], &options);
    let sink = t.sink();
    let staged =
        [t.stage(&sink, attempt(job(1), 0, 0), &[batch(&[(1, Some("x")), (2, Some("y"))])]).await.unwrap()];
    let first = commit::commit(&t.connectors, job(1), &sink, &staged).await.unwrap();
    let files = t.files();
    assert_eq!(files.iter().filter(|file| file.ends_with("/_SUCCESS")).count(), 2);
    assert_eq!(commit::commit(&t.connectors, job(1), &sink, &staged).await.unwrap(), first);
    assert_eq!(t.files(), files);
}

/// A commit whose process dies midway has its manifest and has moved some files.
#[tokio::test]
async fn a_commit_that_died_midway_is_finished_by_the_next() {
    let t =
        fixture(&["a INT", "b STRING"], &[], &[("format", "json"), ("sink.rolling-policy.file-size", "1b")]);
    let sink = t.sink();
    let rows: Vec<_> = (0..5).map(|n| batch(&[(n, None)])).collect();
    let staged = [t.stage(&sink, attempt(job(1), 0, 0), &rows).await.unwrap()];
    // A file in the way of the third makes the first commit fail after its decision.
    let third = &part(2);
    t.file(third, "{\"a\":100}\n");
    let error = commit::commit(&t.connectors, job(1), &sink, &staged).await.unwrap_err();
    assert!(error.to_string().contains(third.as_str()), "{error}");
    std::fs::remove_file(t.path().join(third)).unwrap();
    commit::commit(&t.connectors, job(1), &sink, &staged).await.unwrap();
    assert_eq!(t.query("SELECT count(*) AS n, sum(a) AS s FROM t").await.unwrap(), ["5|10"]);
    assert_eq!(t.files().len(), 5);
}

#[tokio::test]
async fn a_decided_commit_is_not_aborted_halfway() {
    let t =
        fixture(&["a INT", "b STRING"], &[], &[("format", "json"), ("sink.rolling-policy.file-size", "1b")]);
    let sink = t.sink();
    let staged =
        [t.stage(&sink, attempt(job(1), 0, 0), &[batch(&[(1, None)]), batch(&[(2, None)])]).await.unwrap()];
    let second = &part(1);
    t.file(second, "{\"a\":100}\n");
    commit::commit(&t.connectors, job(1), &sink, &staged).await.unwrap_err();
    std::fs::remove_file(t.path().join(second)).unwrap();
    commit::abort(&t.connectors, job(1), &sink).await.unwrap();
    assert_eq!(t.query("SELECT count(*) AS n FROM t").await.unwrap(), ["2"]);
    assert_eq!(t.files().len(), 2);
}

#[tokio::test]
async fn an_insert_without_rows_makes_an_empty_table() {
    let t = fixture(&["a INT", "b STRING"], &[], &[("format", "parquet")]);
    t.insert(&t.sink(), job(1), &[]).await;
    assert!(t.path().is_dir());
    assert_eq!(t.files(), [""; 0]);
    assert_eq!(t.query("SELECT count(*) AS n FROM t").await.unwrap(), ["0"]);
}

#[tokio::test]
async fn staged_files_that_vanished_are_an_error() {
    let t = fixture(&["a INT", "b STRING"], &[], &[("format", "json")]);
    let sink = t.sink();
    let staged = [t.stage(&sink, attempt(job(1), 0, 0), &[batch(&[(1, None)])]).await.unwrap()];
    commit::abort(&t.connectors, job(1), &sink).await.unwrap();
    let error = commit::commit(&t.connectors, job(1), &sink, &staged).await.unwrap_err().to_string();
    assert!(error.contains("is gone"), "{error}");
}
