//! How a job runs, by what it reads and what is asked for.

use thalweg_graph::RuntimeMode;

use super::*;

const TABLES: &str = "CREATE TABLE ended (id BIGINT, name STRING) WITH ('connector' = 'x', 'path' = '/a');
    CREATE TABLE endless (id BIGINT, name STRING) WITH ('connector' = 'x', 'path' = '/endless');
    CREATE VIEW inner_view AS SELECT id FROM endless;
    CREATE VIEW outer_view AS SELECT id FROM inner_view WHERE id > 7;";

async fn mode(statement: &str) -> RuntimeMode {
    let mut session = after(TABLES).await;
    job(&mut session, statement).await.mode
}

#[tokio::test]
async fn a_job_is_a_batch_where_all_that_it_reads_ends() {
    assert_eq!(mode("SELECT id FROM ended").await, RuntimeMode::Batch);
    assert_eq!(mode("SELECT id FROM endless").await, RuntimeMode::Streaming);
    assert_eq!(mode("INSERT INTO ended SELECT * FROM endless").await, RuntimeMode::Streaming);
    assert_eq!(mode("INSERT INTO endless SELECT * FROM ended").await, RuntimeMode::Batch);
    assert_eq!(
        mode("CREATE TABLE t WITH ('connector' = 'x') AS SELECT id FROM endless").await,
        RuntimeMode::Streaming
    );
    let set = "EXECUTE STATEMENT SET BEGIN INSERT INTO ended SELECT * FROM ended; INSERT INTO ended SELECT * FROM endless; END";
    assert_eq!(mode(set).await, RuntimeMode::Streaming);
}

#[tokio::test]
async fn views_hints_and_subqueries_are_looked_through() {
    assert_eq!(mode("SELECT id FROM outer_view").await, RuntimeMode::Streaming);
    assert_eq!(mode("SELECT id FROM (SELECT id FROM endless) AS t").await, RuntimeMode::Streaming);
    assert_eq!(
        mode("SELECT id FROM ended /*+ OPTIONS('path' = '/endless') */").await,
        RuntimeMode::Streaming
    );
    assert_eq!(mode("SELECT id FROM endless /*+ OPTIONS('path' = '/b') */").await, RuntimeMode::Batch);
}

#[tokio::test]
async fn a_name_of_the_query_s_own_is_no_table() {
    assert_eq!(
        mode("WITH endless AS (SELECT id FROM ended) SELECT id FROM endless").await,
        RuntimeMode::Batch
    );
}

#[tokio::test]
async fn a_batch_over_a_table_without_an_end_is_refused_by_its_name() {
    let mut session = after(TABLES).await;
    let error =
        refused(&mut session, "SET 'execution.runtime-mode' = 'BATCH'; SELECT id FROM outer_view").await;
    assert_eq!(
        error.message,
        "table `default_catalog.default_database.endless` does not end, and `execution.runtime-mode` is `BATCH`: set it to \
         `STREAMING` or `AUTOMATIC`, or give the table an end by its options"
    );
    let error = refused(&mut session, "SET 'execution.runtime-mode' = 'FAST'; SELECT id FROM ended").await;
    assert!(error.message.contains("expected `AUTOMATIC`, `BATCH` or `STREAMING`"), "{}", error.message);
}

#[tokio::test]
async fn explain_tells_which_changes_a_stream_makes_and_what_grows() {
    let mut session = after(TABLES).await;
    let script = "SET 'execution.runtime-mode' = 'STREAMING';
        EXPLAIN CHANGELOG_MODE, PLAN_ADVICE INSERT INTO ended
        SELECT COUNT(*), a.name FROM ended AS a JOIN ended AS b ON a.id = b.id GROUP BY a.name";
    let explained = text(&mut session, script).await;
    let changes = explained.split("== Changelog Mode ==").nth(1).unwrap();
    assert!(changes.contains("Vertex 0: [I]\nVertex 1: [I]\n"), "two sources, {changes}");
    assert!(changes.contains(": [I,UB,UA,D]"), "the counts, {changes}");
    assert!(
        changes.contains("`Join` of vertex") && changes.contains("`GroupAggregate` of vertex"),
        "{changes}"
    );
    let on_disk = text(&mut session, &format!("SET 'state.backend.type' = 'lsm'; {script}")).await;
    assert!(on_disk.contains("keeps every row of both sides, in memory\n"), "{on_disk}");
    let forgets = text(&mut session, &format!("SET 'table.exec.state.ttl' = '1 h'; {script}")).await;
    assert!(forgets.contains("No available advice."), "{forgets}");
}

#[tokio::test]
async fn rows_are_shown_as_they_come_where_they_never_end_or_where_that_is_asked_for() {
    let mut session = after(TABLES).await;
    let mut is_live = async |statement: &str| job(&mut session, statement).await.has_live_result();
    for query in ["SELECT id FROM endless", "SELECT name, COUNT(*) FROM endless GROUP BY name"] {
        assert!(is_live(query).await, "{query}");
    }
    assert!(is_live("SELECT id FROM endless ORDER BY name LIMIT 3").await);
    assert!(!is_live("SELECT id FROM ended").await);
    assert!(!is_live("SET 'execution.runtime-mode' = 'STREAMING'; SELECT id FROM ended").await);
    assert!(is_live("SET 'sql-client.execution.result-mode' = 'changelog'; SELECT id FROM ended").await);
    assert!(!is_live("SET 'execution.runtime-mode' = 'BATCH'; SELECT id FROM ended").await);
}

#[tokio::test]
async fn an_order_of_rows_without_an_end_needs_a_limit() {
    let mut session = after(TABLES).await;
    let error = refused(&mut session, "SELECT id FROM endless ORDER BY id").await;
    assert!(error.message.contains("`ORDER BY` of rows that are shown as they come"), "{}", error.message);
    let error = refused(&mut session, "SET 'sql-client.execution.result-mode' = 'x'; SELECT id FROM endless");
    assert!(error.await.message.contains("expected `table`, `tableau` or `changelog`"));
}

#[tokio::test]
async fn a_query_that_takes_checkpoints_answers_when_its_input_has_ended() {
    let mut session = after(TABLES).await;
    let plain = "SET 'execution.runtime-mode' = 'STREAMING'; SELECT id FROM ended";
    let name = |graph: JobGraph| graph.vertices.last().unwrap().name.clone();
    assert!(!name(job(&mut session, plain).await).contains("FinalResult"), "its rows go out as they come");
    let interval = "SET 'execution.checkpointing.interval' = '1 s';";
    let kept = name(job(&mut session, &format!("{interval} {plain}")).await);
    assert!(kept.contains("FinalResult"), "rows that were sent before a restart are void: {kept}");
}
