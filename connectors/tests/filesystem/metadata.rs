//! Metadata columns: what is known of a row's file.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch};
use datafusion::parquet::arrow::ArrowWriter;
use thalweg_graph::table::{Column, MetadataColumn};
use thalweg_plan::Connectors;

use crate::harness::{Fixture, fixture};

/// A table of these columns and `path`, `name`, `size` and `time` of the file.
fn with_metadata(columns: &[&str], partition_keys: &[&str], format: &str) -> Fixture {
    let mut t = fixture(columns, partition_keys, &[("format", format)]);
    let metadata = |(name, data_type, key): (&str, &str, &str)| MetadataColumn {
        column: Column { name: name.to_owned(), data_type: data_type.to_owned(), nullable: true },
        key: key.to_owned(),
    };
    let all = [
        ("path", "STRING", "file.path"),
        ("name", "STRING", "file.name"),
        ("size", "BIGINT", "file.size"),
        ("time", "TIMESTAMP_LTZ(3)", "file.modification-time"),
    ];
    t.table.metadata = all.map(metadata).into();
    t
}

fn parquet(values: Vec<i32>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter([("a", Arc::new(Int32Array::from(values)) as ArrayRef)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[tokio::test]
async fn rows_know_their_file_in_every_reader() {
    let contents: [(&str, [Vec<u8>; 2]); 3] = [
        ("csv", [b"1\n2\n".to_vec(), b"30\n".to_vec()]),
        ("json", [b"{\"a\":1}\n{\"a\":2}\n".to_vec(), b"{\"a\":30}\n".to_vec()]),
        ("parquet", [parquet(vec![1, 2]), parquet(vec![30])]),
    ];
    for (format, [first, second]) in contents {
        let t = with_metadata(&["a INT", "p STRING"], &["p"], format);
        t.file("p=x/1", &first);
        t.file("p=y/2", &second);
        let rows = t.query("SELECT p, name, size, a FROM t ORDER BY a").await.unwrap();
        let (first, second) = (first.len(), second.len());
        let expected = [format!("x|1|{first}|1"), format!("x|1|{first}|2"), format!("y|2|{second}|30")];
        assert_eq!(rows, expected, "{format}");
        let path = t.path().join("p=y/2");
        let paths = t.query("SELECT path FROM t WHERE name = '2'").await.unwrap();
        assert_eq!(paths, [path.to_str().unwrap()], "{format}");
        let modified = path.metadata().unwrap().modified().unwrap();
        let modified = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let query = "SELECT CAST(time AS BIGINT) AS ms FROM t WHERE a = 30";
        assert_eq!(t.query(query).await.unwrap(), [modified.to_string()], "{format}");
    }
}

#[tokio::test]
async fn files_that_a_filter_on_metadata_rules_out_are_not_read() {
    let t = with_metadata(&["a INT"], &[], "csv");
    t.file("good.csv", "1\n2\n");
    t.file("damaged.csv", "not a number\n");
    assert_eq!(t.query("SELECT a FROM t WHERE name = 'good.csv' ORDER BY a").await.unwrap(), ["1", "2"]);
    assert_eq!(t.query("SELECT count(*) AS n FROM t WHERE size < 5").await.unwrap(), ["2"]);
    let error = t.query("SELECT a FROM t").await.unwrap_err();
    assert!(error.contains("damaged.csv"), "{error}");
}

#[tokio::test]
async fn unknown_keys_and_other_types_are_refused() {
    let refused = |key: &str, data_type: &str| {
        let mut t = with_metadata(&["a INT"], &[], "csv");
        t.table.metadata.truncate(1);
        t.table.metadata[0].key = key.to_owned();
        t.table.metadata[0].column.data_type = data_type.to_owned();
        t.connectors.validate(&t.table).unwrap_err().message
    };
    let near = refused("file.nam", "STRING");
    assert!(near.contains("`file.nam`") && near.contains("did you mean `file.name`?"), "{near}");
    let far = refused("offset", "BIGINT");
    assert!(far.contains("`path`") && far.contains("`file.modification-time`"), "{far}");
    let wrong = refused("file.size", "INT");
    assert!(wrong.contains("`path` is INT") && wrong.contains("is BIGINT"), "{wrong}");

    let mut t = with_metadata(&["a INT"], &[], "csv");
    t.table.options = [("connector".to_owned(), "datagen".to_owned())].into();
    let other = t.connectors.validate(&t.table).unwrap_err().message;
    assert!(other.contains("connector `datagen` knows no metadata"), "{other}");
}
