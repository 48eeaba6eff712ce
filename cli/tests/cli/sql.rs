//! `thalweg sql` in one process.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use crate::thalweg::{command, said, thalweg};

const ROWS: &str = "SELECT id, CAST(id AS DECIMAL(5, 2)) AS price, s FROM (VALUES (1, 'a,b'), (2, 'c')) AS t (id, s) ORDER BY id";

#[test]
fn rows_are_printed_in_each_format() {
    let table = thalweg(&["sql", "-e", ROWS]);
    let expected = "\
+----+-------+-----+
| id | price |   s |
+----+-------+-----+
|  1 |  1.00 | a,b |
|  2 |  2.00 |   c |
+----+-------+-----+
2 rows in set
";
    assert_eq!((table.code, table.stdout.as_str()), (0, expected), "{}", table.stderr);
    let csv = thalweg(&["sql", "-e", ROWS, "--output", "csv"]);
    assert_eq!(csv.stdout, "id,price,s\n1,1.00,\"a,b\"\n2,2.00,c\n");
    let json = thalweg(&["sql", "-e", ROWS, "--output", "json"]);
    assert_eq!(
        json.stdout,
        "{\"id\":1,\"price\":1.00,\"s\":\"a,b\"}\n{\"id\":2,\"price\":2.00,\"s\":\"c\"}\n"
    );
    let none = thalweg(&["sql", "-e", "SELECT 1 AS a WHERE FALSE", "--output", "csv"]);
    assert_eq!(none.stdout, "a\n");
}

#[test]
fn a_mistake_has_a_caret_and_stops_the_script() {
    let said =
        thalweg(&["sql", "-e", "SELECT 1;\nSELECT nope FROM (VALUES (1)) AS t (a);\nSELECT 3;", "-o", "csv"]);
    assert_eq!(said.code, 1);
    assert_eq!(said.stdout, "EXPR$0\n1\n");
    let expected = "2 | SELECT nope FROM (VALUES (1)) AS t (a);\n  |        ^\n";
    assert!(said.stderr.contains(expected), "{}", said.stderr);
    // A script that cannot be read does nothing at all.
    let said = thalweg(&["sql", "-e", "SELECT 1; SELECT FROM t"]);
    assert_eq!((said.code, said.stdout.as_str()), (1, ""));
}

#[test]
fn scripts_come_from_files_and_pipes_after_their_init_file() {
    let folder = tempfile::tempdir().unwrap();
    let (init, script) = (folder.path().join("init.sql"), folder.path().join("script.sql"));
    fs::write(&init, "CREATE TEMPORARY VIEW v AS SELECT 7 AS seven;").unwrap();
    fs::write(&script, "SELECT seven FROM v;").unwrap();
    let (init, script) = (init.to_str().unwrap(), script.to_str().unwrap());
    assert_eq!(thalweg(&["sql", "-i", init, "-f", script, "-o", "csv"]).stdout, "seven\n7\n");
    let piped =
        command(&["sql", "-i", init, "-o", "csv"]).stdin(fs::File::open(script).unwrap()).output().unwrap();
    assert_eq!(said(piped).stdout, "seven\n7\n");
    assert_eq!(thalweg(&["sql", "-f", "/no/such/script.sql"]).code, 1);
}

#[test]
fn an_insert_is_visible_to_the_next_statement() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let script = format!(
        "CREATE TABLE t (id BIGINT, name STRING) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'parquet');
         INSERT INTO t SELECT id, CAST(id AS STRING) AS name FROM (VALUES (1), (2), (3)) AS v (id);
         SELECT COUNT(*) AS n, MAX(name) AS m FROM t;",
        path.display()
    );
    let said = thalweg(&["sql", "-e", &script, "-o", "csv"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "n,m\n3,3\n"), "{}", said.stderr);
    assert!(said.stderr.contains("Job ID: "));
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let sql = "CREATE TABLE d (id BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '300000'); SELECT id FROM d;";
    let mut child = command(&["sql", "-e", sql, "-o", "csv"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "id\n");
    let said = said(child.wait_with_output().unwrap());
    assert_eq!(said.code, 141);
    assert!(!said.stderr.contains("ERROR"), "{}", said.stderr);
}

#[test]
fn options_are_checked() {
    let said = thalweg(&["sql", "-D", "parallelism.default=many", "-e", "SELECT 1"]);
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("option `parallelism.default` cannot be `many`"), "{}", said.stderr);
    let said = thalweg(&["sql", "-Dparallelism.defualt=1", "-e", "SELECT 1"]);
    assert_eq!(said.code, 0);
    assert!(said.stderr.contains("did you mean `parallelism.default`?"), "{}", said.stderr);
    assert_eq!(thalweg(&["sql", "-D", "novalue", "-e", "SELECT 1"]).code, 2);
}

#[test]
fn the_sessions_zone_and_parallelism_hold_for_what_follows() {
    let script = "SET 'table.local-time-zone' = 'GMT+2';
         SELECT TO_TIMESTAMP_LTZ(0, 3) AS t;
         SET 'table.local-time-zone' = 'America/New_York';
         SELECT TO_TIMESTAMP_LTZ(0, 3) AS t;";
    let said = thalweg(&["sql", "-e", script, "-o", "csv"]);
    assert_eq!(said.stdout, "t\n1970-01-01 02:00:00.000\nt\n1969-12-31 19:00:00.000\n", "{}", said.stderr);
    let said = thalweg(&["sql", "-e", "SET 'table.local-time-zone' = 'Nowhere';"]);
    assert!(said.stderr.contains("`America/Los_Angeles`"), "{}", said.stderr);
    let said = thalweg(&["sql", "-D", "table.local-time-zone=Nowhere", "-e", "SELECT 1"]);
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("`table.local-time-zone` cannot be `Nowhere`"), "{}", said.stderr);

    let script = "CREATE TABLE d (id BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '1000000');
         SET 'parallelism.default' = '3';
         EXPLAIN SELECT id, COUNT(*) FROM d GROUP BY id;
         RESET 'parallelism.default';
         EXPLAIN SELECT id, COUNT(*) FROM d GROUP BY id;";
    let said = thalweg(&["sql", "-D", "parallelism.default=2", "-e", script]);
    let counts = |n: u32| said.stdout.matches(&format!("Hash([id@0], {n})")).count();
    assert_eq!((counts(3), counts(2)), (1, 1), "{}", said.stdout);
}

#[test]
fn a_table_that_is_there_already_is_not_filled_again() {
    let script = "CREATE TABLE t WITH ('connector' = 'blackhole') AS SELECT 1 AS a;
         CREATE TABLE IF NOT EXISTS t WITH ('connector' = 'blackhole') AS SELECT 1 AS a;";
    let said = thalweg(&["sql", "-e", script]);
    assert_eq!((said.code, said.stderr.matches("Job ID: ").count()), (0, 1), "{}", said.stderr);
}

#[test]
fn plans_name_tables_and_not_their_paths() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "CREATE TABLE source_table (id BIGINT) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'parquet');
         CREATE TABLE target_table (id BIGINT) WITH ('connector' = 'blackhole');
         INSERT INTO source_table VALUES (1), (2);
         EXPLAIN INSERT INTO target_table SELECT id FROM source_table WHERE id > 1;",
        folder.path().join("out").display()
    );
    let said = thalweg(&["sql", "-e", &script]);
    assert!(said.stdout.contains("): Source: source_table -> "), "{}", said.stdout);
    assert!(said.stdout.contains(" -> Sink: target_table\n"), "{}", said.stdout);
}
