//! Bad input of every kind: one clear error each, no panic, no hang, nothing half-written. Embedded and on a cluster.

mod damaged_parquet;
mod full_disk;
mod large;
mod no_permission;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::SchemaRef,
};
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;
use thalweg::Client;
use thalweg_graph::SqlError;

use crate::{
    expect::{failure, text},
    place::{Exchange, Place},
};

const PLACES: [Place; 2] = [Place::Embedded(2), Place::Cluster(2, Exchange::Pipelined)];

/// A session with a good table `good (id BIGINT, name STRING)` of three rows, and a folder for more.
async fn session(place: Place) -> (Client, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut client = place.client().await;
    write_parquet(&folder.path().join("good/a.parquet"), &good_batch());
    client.sql(&create("good", "id BIGINT, name STRING", folder.path(), "parquet")).await.unwrap();
    (client, folder)
}

fn good_batch() -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let names: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
    RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap()
}

fn create(table: &str, columns: &str, folder: &Path, format: &str) -> String {
    let columns = if columns.is_empty() { String::new() } else { format!("({columns}) ") };
    let path = folder.join(table);
    let path = path.display();
    format!(
        "CREATE TABLE {table} {columns}WITH ('connector' = 'filesystem', 'path' = '{path}', 'format' = '{format}')"
    )
}

fn write_parquet(path: &Path, batch: &RecordBatch) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let schema: SchemaRef = batch.schema();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), schema, None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

/// That a script fails with an error that contains each of some words.
async fn fails(client: &mut Client, place: Place, sql: &str, words: &[&str]) {
    let error = failure(client, sql).await;
    for word in words {
        assert!(error.contains(word), "{place}: `{word}` is not in the error of `{sql:.200}`: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_sql_names_line_and_column() {
    for place in PLACES {
        let (mut client, _folder) = session(place).await;
        let mut wrong = Vec::new();
        for (sql, line, column) in [
            ("SELECT 1;\nSELECT * FRM good", 2, 10),
            ("SELECT id\nFROM good\nWHERE id = ;", 3, 11),
            ("SELECT 'open", 1, 8),
            ("CREATE TABLE t (a INTT)", 1, 19),
            ("SELECT FROM good", 1, 8),
            ("SELECT 1; SELECT FROM good", 1, 18),
            ("SELECT 1;\n  SELECT FROM good", 2, 10),
            ("SELECT 1;\n-- one ;\n/* two\n ; */ SELECT 'a;b' AS x, FROM good", 4, 26),
            ("SELECT id, FROM good", 1, 12),
            ("SELECT id FROM good WHERE", 1, 26),
            ("SELECT (id FROM good", 1, 12),
            ("SELECT id FROM good GROUP name", 1, 21),
            ("SELECT 'ä' AS ä FROM good WERE 1", 1, 32),
            ("INSERT good SELECT 1", 1, 8),
            ("SET 'a' = ;", 1, 10),
            ("SELECT 1;\n\nSELCT 2", 3, 1),
            (
                "EXECUTE STATEMENT SET BEGIN\nINSERT INTO good SELECT 1, 'a';\nINSERT INTO good SELECT FROM good;\nEND",
                3,
                25,
            ),
            ("SELECT 1;\nSELECT nam FROM good", 2, 8),
            ("SELECT 1;\nSELECT id,\n  nam\nFROM good", 3, 3),
        ] {
            let error = client.sql(sql).await.unwrap_err();
            let Some(error) = error.downcast_ref::<SqlError>() else { panic!("{place}: `{sql}`: {error:#}") };
            let position = error.position.unwrap_or_else(|| panic!("{place}: `{sql}`: {error}: no position"));
            let found = (position.line, position.column);
            if found != (line, column) {
                wrong.push(format!("{place}: `{sql}`: {error}, not {line}:{column}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_names_are_answered_with_the_nearest() {
    for place in PLACES {
        let (mut client, folder) = session(place).await;
        fails(&mut client, place, "SELECT * FROM goood", &["goood", "`good`"]).await;
        fails(&mut client, place, "SELECT nam FROM good", &["`nam`", "`name`"]).await;
        fails(&mut client, place, "SELECT uper(name) FROM good", &["uper", "UPPER"]).await;
        let path = folder.path().display();
        let create = format!(
            "CREATE TABLE t (a INT) WITH ('connector' = 'filesystem', 'path' = '{path}', 'format' = 'csv', 'csv.field-delimter' = ',')"
        );
        fails(&mut client, place, &create, &["csv.field-delimter", "csv.field-delimiter"]).await;
        let create = "CREATE TABLE t (a INT) WITH ('connector' = 'filesytem')";
        fails(&mut client, place, create, &["filesytem", "filesystem"]).await;
        fails(&mut client, place, "SET 'parallelism.default' = 'many'", &["parallelism.default", "many"])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_types_are_refused() {
    for place in PLACES {
        let (mut client, folder) = session(place).await;
        client.sql(&create("target", "a INT, b INT", folder.path(), "csv")).await.unwrap();
        for sql in [
            "SELECT name + 1 FROM good WHERE name = TRUE",
            "SELECT sum(name) FROM good",
            "SELECT id FROM good WHERE name",
            "INSERT INTO target SELECT name, name FROM good",
            "INSERT INTO target SELECT 1",
            "SELECT id FROM good UNION ALL SELECT id, name FROM good",
            "SELECT CAST('x' AS INT) FROM good",
        ] {
            failure(&mut client, sql).await;
        }
        assert_eq!(files(&folder.path().join("target")), Vec::<PathBuf>::new(), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_and_empty_folders() {
    for place in PLACES {
        let (mut client, folder) = session(place).await;
        client.sql(&create("missing", "a INT", folder.path(), "csv")).await.unwrap();
        fails(&mut client, place, "SELECT * FROM missing", &["missing"]).await;
        fs::create_dir(folder.path().join("empty")).unwrap();
        // Its columns are known: no rows. Unknown: nothing to take them from.
        client.sql(&create("empty", "a INT", folder.path(), "parquet")).await.unwrap();
        assert_eq!(text(&client.sql("SELECT count(*) FROM empty").await.unwrap()), "0", "{place}");
        client.sql("DROP TABLE empty").await.unwrap();
        let columns_unknown =
            format!("{}; SELECT * FROM empty", create("empty", "", folder.path(), "parquet"));
        fails(&mut client, place, &columns_unknown, &["empty"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arithmetic_follows_flink() {
    for place in PLACES {
        let (mut client, folder) = session(place).await;
        client.sql(&create("target", "a BIGINT", folder.path(), "csv")).await.unwrap();
        fails(&mut client, place, "SELECT 1 / (id - id) FROM good", &["zero"]).await;
        fails(&mut client, place, "INSERT INTO target SELECT 1 / (id - 2) FROM good", &["zero"]).await;
        assert_eq!(files(&folder.path().join("target")), Vec::<PathBuf>::new(), "{place}");
        // Whole numbers wrap around as Java's do.
        let sql = "SELECT CAST(9223372036854775807 AS BIGINT) + id FROM good WHERE id = 1";
        assert_eq!(text(&client.sql(sql).await.unwrap()), i64::MIN.to_string(), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_null_for_a_not_null_column_is_refused_or_left_out() {
    for place in PLACES {
        let (mut client, folder) = session(place).await;
        for (table, format) in [("strict_csv", "csv"), ("strict_parquet", "parquet")] {
            client
                .sql(&create(table, "id BIGINT NOT NULL, name STRING", folder.path(), format))
                .await
                .unwrap();
            let insert = format!("INSERT INTO {table} SELECT NULLIF(id, 2), NULLIF(name, 'c') FROM good");
            fails(&mut client, place, &insert, &["`id`", "NOT NULL", "table.exec.sink.not-null-enforcer"])
                .await;
            assert_eq!(files(&folder.path().join(table)), Vec::<PathBuf>::new(), "{place}");
            client.sql("SET 'table.exec.sink.not-null-enforcer' = 'DROP'").await.unwrap();
            client.sql(&insert).await.unwrap();
            client.sql("RESET 'table.exec.sink.not-null-enforcer'").await.unwrap();
            let rows = client.sql(&format!("SELECT id FROM {table} ORDER BY id")).await.unwrap();
            assert_eq!(text(&rows), "1\n3", "{place}");
        }
    }
}
