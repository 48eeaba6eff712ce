//! Scripts, statements and plans of an unreasonable size: they run, or one clear error says what the limit is, and soon.

use super::{PLACES, fails, session};
use crate::{expect::text, place::Place};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_and_statements_of_50_mb_are_refused_at_once() {
    const BYTES: usize = 50 << 20;
    let statement =
        "SELECT 1 AS one; -- a comment that makes the script longer and longer, line after line\n";
    let long = "x".repeat(BYTES);
    let values = "(1, 'abc'), ".repeat(BYTES / 12);
    for place in PLACES {
        let (mut client, _folder) = session(place).await;
        for script in [
            statement.repeat(BYTES / statement.len()),
            format!("/* {long} */ SELECT 1"),
            format!("SELECT char_length('{long}')"),
            format!("SELECT count(*) FROM (VALUES {values}(2, 'x')) AS t (a, b)"),
        ] {
            fails(&mut client, place, &script, &["script is 524", "at most 16777216"]).await;
        }
        // None of the script's first statements has run. The cluster has jobs of other tests.
        if let Place::Embedded(_) = place {
            assert_eq!(client.jobs().list().await.unwrap().len(), 0, "{place}");
        }
        assert_eq!(text(&client.sql("SELECT 1").await.unwrap()), "1", "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_the_limit_a_script_is_read_and_a_statement_is_refused_by_its_own() {
    let comment = "x".repeat(10 << 20);
    let string = "x".repeat(3 << 20);
    for place in PLACES {
        let (mut client, _folder) = session(place).await;
        assert_eq!(text(&client.sql(&format!("/* {comment} */ SELECT 1")).await.unwrap()), "1", "{place}");
        fails(
            &mut client,
            place,
            &format!("SELECT 1;\n  SELECT '{string}'"),
            &["line 2, column 3", "the statement is", "2097152"],
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nests_without_end_is_refused() {
    let parentheses = format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    let sum = format!("SELECT id{} FROM good", " + 1".repeat(10_000));
    let alternatives: Vec<String> = (0..10_000).map(|number| format!("id = {number}")).collect();
    let alternatives = format!("SELECT id FROM good WHERE {}", alternatives.join(" OR "));
    let mut computed = "SELECT id FROM good".to_owned();
    for level in 0..500 {
        computed = format!("SELECT id + 1 AS id FROM ({computed}) AS t{level} WHERE id > {level}");
    }
    for place in PLACES {
        let (mut client, _folder) = session(place).await;
        fails(&mut client, place, &parentheses, &["nested too deep"]).await;
        fails(&mut client, place, &sum, &["more than 1000 levels"]).await;
        fails(&mut client, place, &alternatives, &["more than 1000 levels", "IN"]).await;
        fails(&mut client, place, &computed, &["nests too deep", "write the inner part to a table"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_500_operators_deep_run() {
    let mut nested = "SELECT id FROM good".to_owned();
    for level in 0..500 {
        nested = format!("SELECT id FROM ({nested}) AS t{level}");
    }
    let union = vec!["SELECT id FROM good"; 500].join(" UNION ALL ");
    let sum = format!("SELECT id{} FROM good WHERE id = 1", " + 1".repeat(200));
    for place in PLACES {
        let (mut client, _folder) = session(place).await;
        for (sql, answer) in [
            (format!("SELECT count(*) FROM ({union}) AS t"), "1500"),
            (format!("SELECT count(*) FROM ({nested}) AS t WHERE id > 1"), "2"),
            (sum.clone(), "201"),
        ] {
            let rows =
                client.sql(&sql).await.unwrap_or_else(|error| panic!("{place}: `{sql:.100}`: {error:#}"));
            assert_eq!(text(&rows), answer, "{place}: `{sql:.100}`");
        }
    }
}

/// Joins of a table with itself.
fn joined(times: usize) -> String {
    let joins: Vec<String> = (1..=times)
        .map(|number| format!("JOIN good g{number} ON g{}.id = g{number}.id", number - 1))
        .collect();
    format!("SELECT count(*) FROM good g0 {}", joins.join(" "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_run_or_are_refused() {
    for place in PLACES {
        let (mut client, _folder) = session(place).await;
        assert_eq!(text(&client.sql(&joined(15)).await.unwrap()), "3", "{place}");
        fails(&mut client, place, &joined(60), &["operators nest", "write the inner ones"]).await;
        fails(&mut client, place, &joined(500), &["the query has 500 joins, at most 200"]).await;
        assert_eq!(text(&client.sql("SELECT 1").await.unwrap()), "1", "{place}");
    }
}
