//! Bad input: each kind gives one error that names the file, the column or the option, and nothing is left half-written.

use std::{process::Command, sync::Arc};

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use datafusion::{parquet::arrow::ArrowWriter, physical_plan::collect};
use thalweg_connectors::{Error, commit};
use thalweg_graph::FailureKind;
use thalweg_plan::Connectors;

use crate::{
    harness::{attempt, fixture, job, rows},
    write::batch,
};

fn parquet(name: &str, column: ArrayRef) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter([(name, column)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn numbers(count: i32) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values((0..count).map(|n| n.wrapping_mul(48_271))))
}

async fn option_error(options: &[(&str, &str)]) -> String {
    let t = fixture(&["a INT"], &[], options);
    t.connectors.validate(&t.table).unwrap_err().to_string()
}

#[tokio::test]
async fn options_are_checked_by_name_and_value() {
    assert!(option_error(&[("format", "parqet")]).await.contains("did you mean `parquet`"));
    assert!(
        option_error(&[("format", "csv"), ("csv.field-delimeter", ";")])
            .await
            .contains("`csv.field-delimiter`")
    );
    assert!(
        option_error(&[("format", "csv"), ("csv.field-delimiter", ";;")]).await.contains("one character")
    );
    assert!(option_error(&[("format", "json"), ("csv.header", "true")]).await.contains("`csv.header`"));
    let metastore = [("format", "csv"), ("sink.partition-commit.policy.kind", "metastore,success-file")];
    assert!(option_error(&metastore).await.contains("`metastore` is not supported"));
    assert!(option_error(&[("connector", "filesytem")]).await.contains("did you mean `filesystem`"));
    assert!(option_error(&[("format", "csv"), ("path", "")]).await.contains("needs the option `path`"));
}

#[tokio::test]
async fn a_missing_path_is_named() {
    let t = fixture(&["a INT"], &[], &[("format", "parquet")]);
    let error = t.query("SELECT a FROM t").await.unwrap_err();
    assert_eq!(error, format!("`file://{}` does not exist", t.path().display()));
}

#[tokio::test]
async fn an_empty_folder_has_no_rows_and_no_columns() {
    let mut t = fixture(&["a INT"], &[], &[("format", "parquet")]);
    std::fs::create_dir_all(t.path()).unwrap();
    assert_eq!(t.query("SELECT count(*) AS n FROM t").await.unwrap(), ["0"]);
    t.table.columns.clear();
    let error = t.connectors.infer_columns(&t.table).await.unwrap_err().to_string();
    assert!(error.contains("has no files to take the columns from; declare the table's columns"), "{error}");
}

#[tokio::test]
async fn corrupt_and_truncated_parquet_is_named() {
    let whole = parquet("a", numbers(10_000));
    for (what, bytes) in
        [("text", b"PAR1 this is no parquet".to_vec()), ("cut", whole[..whole.len() - 9].to_vec())]
    {
        let t = fixture(&["a INT"], &[], &[("format", "parquet")]);
        t.file("good.parquet", &whole);
        t.file("bad.parquet", bytes);
        let error = t.query("SELECT a FROM t").await.unwrap_err();
        assert!(error.contains("/bad.parquet`: not a valid Parquet file"), "{what}: {error}");
    }
}

#[tokio::test]
async fn corrupt_pages_fail_the_task_and_do_not_panic() {
    let mut bytes = parquet("a", numbers(10_000));
    for byte in &mut bytes[10..3000] {
        *byte = 0xff;
    }
    let t = fixture(&["a INT"], &[], &[("format", "parquet")]);
    t.file("bad.parquet", bytes);
    assert!(!t.query("SELECT sum(a) AS s FROM t").await.unwrap_err().is_empty());
}

#[tokio::test]
async fn other_formats_are_told_apart() {
    for format in ["orc", "avro"] {
        let t = fixture(&["a INT"], &[], &[("format", format)]);
        t.file(&format!("bad.{format}"), "this is none");
        assert!(!t.query("SELECT a FROM t").await.unwrap_err().is_empty());
    }
    let t = fixture(&["a INT"], &[], &[("format", "orc")]);
    t.file("bad.orc", "this is none");
    let error = t.query("SELECT a FROM t").await.unwrap_err();
    assert!(error.contains("/bad.orc`: not a valid ORC file"), "{error}");
    let t = fixture(&["a INT"], &[], &[("format", "csv")]);
    t.file("bad.csv.gz", "this is no gzip");
    let error = t.query("SELECT a FROM t").await.unwrap_err();
    assert!(error.contains("/bad.csv.gz`: not a valid compressed file"), "{error}");
}

#[tokio::test]
async fn a_file_that_vanishes_after_planning_is_named() {
    for format in ["csv", "parquet"] {
        let t = fixture(&["a INT"], &[], &[("format", format)]);
        t.file("f", if format == "csv" { b"1\n".to_vec() } else { parquet("a", numbers(3)) });
        let context = t.context().await.unwrap();
        let plan = t.plan("SELECT a FROM t WHERE a < 100").await.unwrap();
        std::fs::remove_file(t.path().join("f")).unwrap();
        let error = rows(collect(plan, context.task_ctx()).await).unwrap_err();
        assert!(error.contains("/f"), "{format}: {error}");
    }
}

#[tokio::test]
async fn types_that_do_not_fit_name_file_column_and_both_types() {
    let mut t = fixture(&["a INT"], &[], &[("format", "parquet")]);
    t.file("1.parquet", parquet("a", numbers(3)));
    t.file("2.parquet", parquet("a", Arc::new(StringArray::from(vec!["x"]))));
    let error = t.query("SELECT a FROM t").await.unwrap_err();
    assert!(error.contains("column `a` of `file://") && error.contains("/2.parquet`"), "{error}");
    assert!(error.contains("has type STRING") && error.contains("read as INT"), "{error}");
    t.table.columns.clear();
    let error = t.connectors.infer_columns(&t.table).await.unwrap_err().to_string();
    assert!(error.contains("/2.parquet`") && error.contains("INT as in `file://"), "{error}");

    let t = fixture(&["a INT", "b INT NOT NULL"], &[], &[("format", "parquet")]);
    t.file("1.parquet", parquet("a", numbers(3)));
    let error = t.query("SELECT a FROM t").await.unwrap_err();
    assert!(error.contains("column `b`") && error.contains("missing"), "{error}");
}

#[tokio::test]
async fn malformed_rows_name_file_and_line_or_are_skipped() {
    let csv = "1,x\n2,\"y\nz\"\nthree,w\n4\n5,v\n";
    let t = fixture(&["a INT", "b STRING"], &[], &[("format", "csv")]);
    t.file("f.csv", csv);
    let error = t.query("SELECT a, b FROM t").await.unwrap_err();
    assert!(error.contains("/f.csv`, line 4: column `a`: 'three' is not a value of INT"), "{error}");
    assert!(error.contains("`csv.ignore-parse-errors`"), "{error}");
    let t = fixture(&["a INT", "b STRING"], &[], &[("format", "csv"), ("csv.ignore-parse-errors", "true")]);
    t.file("f.csv", csv);
    assert_eq!(t.query("SELECT a FROM t ORDER BY a").await.unwrap(), ["1", "2", "5"]);

    let json = "{\"a\":1}\n\n{\"a\":\n{\"a\":\"x\"}\n{\"a\":2}\n";
    let t = fixture(&["a INT"], &[], &[("format", "json")]);
    t.file("f.json", json);
    let error = t.query("SELECT a FROM t").await.unwrap_err();
    assert!(error.contains("/f.json`, line 3: "), "{error}");
    let t = fixture(&["a INT"], &[], &[("format", "json"), ("json.ignore-parse-errors", "true")]);
    t.file("f.json", json);
    assert_eq!(t.query("SELECT a FROM t ORDER BY a").await.unwrap(), ["1", "2"]);
}

#[tokio::test]
async fn what_cannot_be_written_is_refused_when_planned() {
    let check = |t: &crate::harness::Fixture| {
        let schema = thalweg_plan::sql_type::schema(&t.table.columns).unwrap();
        t.connectors.validate_sink(&t.sink(), &schema).unwrap_err().to_string()
    };
    assert!(
        check(&fixture(&["a INT"], &[], &[("format", "orc")])).contains("can be read and not be written")
    );
    assert!(
        check(&fixture(&["a ARRAY<INT>"], &[], &[("format", "csv")]))
            .contains("column `a` of type ARRAY<INT>")
    );
    assert!(
        check(&fixture(&["a INT"], &["a"], &[("format", "csv")])).contains("partitioned by all its columns")
    );
    let pattern = fixture(&["a INT"], &[], &[("format", "csv"), ("path", "/tmp/*")]);
    assert!(check(&pattern).contains("is a pattern"));
}

/// A file system of 64 KiB, mounted for the test: needs root, which CI is.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(mounted.success(), "a tmpfs cannot be mounted: run the tests as root or in a user namespace");
        Self(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_is_left() {
    let disk = SmallDisk::mount();
    let mut t = fixture(&["a INT", "b STRING"], &[], &[("format", "csv")]);
    t.table.options.insert("path".to_owned(), disk.0.path().join("t").to_str().unwrap().to_owned());
    let sink = t.sink();
    let text = "x".repeat(10_000);
    let batches: Vec<_> = (0..50).map(|n| batch(&[(n, Some(&text))])).collect();
    let error = t.stage(&sink, attempt(job(1), 0, 0), &batches).await.unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
    assert_eq!(error.kind(), FailureKind::ResourceExhausted);
    commit::abort(&t.connectors, job(1), &sink).await.unwrap();
    assert_eq!(t.files(), [""; 0]);
}

/// Root may write where nobody may; a read-only mount stops root too.
#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named_before_rows_are_made() {
    let mut t = fixture(&["a INT", "b STRING"], &[], &[("format", "csv")]);
    t.table.options.insert("path".to_owned(), "/proc/thalweg/t".to_owned());
    let error = t.stage(&t.sink(), attempt(job(1), 0, 0), &[batch(&[(1, None)])]).await.unwrap_err();
    assert!(error.to_string().contains("/proc/thalweg/t"), "{error}");
}
