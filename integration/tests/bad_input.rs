//! Bad input of every kind: one clear error each, no panic, no hang, nothing half-written. Embedded and on a cluster.

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
use thalweg_graph::{Options, SqlError};
use thalweg_integration::processes::{Binary, Cluster, ClusterConfig};

use crate::{
    expect::{failure, text},
    place::{Exchange, Place, binary},
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
        for (sql, line, column) in [
            ("SELECT 1;\nSELECT * FRM good", 2, 10),
            ("SELECT id\nFROM good\nWHERE id = ;", 3, 11),
            ("SELECT 'open", 1, 8),
            ("CREATE TABLE t (a INTT)", 1, 19),
        ] {
            let error = client.sql(sql).await.unwrap_err();
            let Some(error) = error.downcast_ref::<SqlError>() else { panic!("{place}: `{sql}`: {error:#}") };
            let position = error.position.unwrap_or_else(|| panic!("{place}: `{sql}`: {error}: no position"));
            assert_eq!((position.line, position.column), (line, column), "{place}: `{sql}`: {error}");
        }
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
async fn unreadable_and_truncated_parquet_names_the_file() {
    for place in PLACES {
        let (mut client, folder) = session(place).await;
        for (table, damage) in [
            ("garbage", (|bytes: &mut Vec<u8>| bytes.fill(b'x')) as fn(&mut Vec<u8>)),
            ("truncated", |bytes| bytes.truncate(bytes.len() - 20)),
            ("short", |bytes| bytes.truncate(3)),
        ] {
            let file = folder.path().join(table).join("bad.parquet");
            write_parquet(&file, &good_batch());
            let mut bytes = fs::read(&file).unwrap();
            damage(&mut bytes);
            fs::write(&file, bytes).unwrap();
            client.sql(&create(table, "id BIGINT, name STRING", folder.path(), "parquet")).await.unwrap();
            fails(&mut client, place, &format!("SELECT * FROM {table}"), &["bad.parquet"]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_different_schemas() {
    for place in PLACES {
        let (mut client, folder) = session(place).await;
        write_parquet(&folder.path().join("mixed/1.parquet"), &good_batch());
        let ids: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        let other = RecordBatch::try_from_iter([("id", ids)]).unwrap();
        write_parquet(&folder.path().join("mixed/2.parquet"), &other);
        client.sql(&create("mixed", "id BIGINT, name STRING", folder.path(), "parquet")).await.unwrap();
        fails(&mut client, place, "SELECT sum(id) FROM mixed", &["id"]).await;
        // A column that one file lacks is NULL there, as in Flink.
        write_parquet(&folder.path().join("mixed/2.parquet"), &good_batch().project(&[0]).unwrap());
        let sql = "SELECT count(*), count(name), sum(id) FROM mixed";
        assert_eq!(text(&client.sql(sql).await.unwrap()), "6,3,12", "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_no_more_fails_the_job_and_leaves_nothing() {
    // A limit on the size of files stands in for a full disk: both fail a write in the middle.
    let Binary { path, prefix } = binary();
    let limit = "trap '' XFSZ; ulimit -f 256; exec \"$@\"".to_owned();
    let mut limited = vec!["-c".to_owned(), limit, "bash".to_owned(), path.display().to_string()];
    limited.extend(prefix);
    let config = ClusterConfig::new(Binary { path: "bash".into(), prefix: limited }, 1, 1);
    let cluster = Cluster::start(config).await.unwrap();
    let mut client = Client::remote(&cluster.address, Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let datagen = "CREATE TABLE numbers (n BIGINT, s STRING) WITH ('connector' = 'datagen', 'number-of-rows' = '500000')";
    client.sql(datagen).await.unwrap();
    client.sql(&create("output", "n BIGINT, s STRING", folder.path(), "csv")).await.unwrap();
    failure(&mut client, "INSERT INTO output SELECT * FROM numbers").await;
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
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
