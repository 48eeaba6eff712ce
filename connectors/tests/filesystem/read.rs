//! Reading: formats, partitions, patterns, statistics.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use datafusion::{
    common::{Statistics, stats::Precision},
    datasource::file_format::file_compression_type::FileCompressionType,
    parquet::arrow::ArrowWriter,
    physical_plan::{
        ExecutionPlan,
        statistics::{StatisticsArgs, StatisticsContext},
    },
};
use futures::{StreamExt, TryStreamExt};
use thalweg_plan::Connectors;

use crate::harness::fixture;

fn parquet(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn statistics(plan: &Arc<dyn ExecutionPlan>) -> Arc<Statistics> {
    StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).unwrap()
}

fn ints(name: &str, values: Vec<i32>) -> RecordBatch {
    RecordBatch::try_from_iter([(name, Arc::new(Int32Array::from(values)) as ArrayRef)]).unwrap()
}

#[tokio::test]
async fn csv_is_read_across_files_and_compressions() {
    let t = fixture(&["a INT", "b STRING"], &[], &[("format", "csv"), ("csv.header", "true")]);
    t.file("1.csv", "a,b\n1,\"x\ny\"\n2,\n");
    let plain = futures::stream::iter([Ok(bytes::Bytes::from_static(b"a,b\n3,z\n"))]).boxed();
    let gzip = FileCompressionType::GZIP.convert_to_compress_stream(plain).unwrap();
    t.file("sub/2.csv.gz", gzip.try_collect::<Vec<_>>().await.unwrap().concat());
    t.file("_SUCCESS", "not data");
    assert_eq!(t.query("SELECT a, length(b) AS l FROM t ORDER BY a").await.unwrap(), ["1|3", "2|0", "3|1"]);
    assert_eq!(t.query("SELECT count(*) AS n FROM t").await.unwrap(), ["3"]);
    assert_eq!(t.query("SELECT b FROM t WHERE a = 3").await.unwrap(), ["z"]);
}

#[tokio::test]
async fn large_files_are_split_and_every_row_is_read_once() {
    let options = [("format", "csv"), ("csv.multi-line", "false")];
    let t = fixture(&["a BIGINT", "b STRING"], &[], &options);
    let line = |n: u64| format!("{n},{}\n", "x".repeat((n % 50) as usize));
    t.file("1.csv", (0..200_000).map(line).collect::<String>());
    let sums = t.query("SELECT count(*) AS n, sum(a) AS s, count(DISTINCT a) AS d FROM t").await.unwrap();
    assert_eq!(sums, ["200000|19999900000|200000"]);
    let t = fixture(&["a BIGINT"], &[], &[("format", "json")]);
    t.file(
        "1.json",
        (0..300_000).map(|n| format!("{{\"a\":{n},\"pad\":\"0123456789\"}}\n")).collect::<String>(),
    );
    let sums = t.query("SELECT count(*) AS n, count(DISTINCT a) AS d FROM t").await.unwrap();
    assert_eq!(sums, ["300000|300000"]);
}

#[tokio::test]
async fn partitions_are_columns_and_others_are_not_read() {
    let t = fixture(&["day STRING", "a INT", "n INT"], &["day", "n"], &[("format", "csv")]);
    t.file("day=2024-01-01 10%3A00/n=1/f.csv", "1\n");
    t.file("day=2024-01-01 10%3A00/n=2/f.csv", "2\n");
    t.file("day=__DEFAULT_PARTITION__/n=3/f.csv", "not a number\n");
    let rows = t.query("SELECT * FROM t WHERE day = '2024-01-01 10:00' ORDER BY a").await.unwrap();
    assert_eq!(rows, ["2024-01-01 10:00|1|1", "2024-01-01 10:00|2|2"]);
    assert_eq!(t.query("SELECT a FROM t WHERE n = 2").await.unwrap(), ["2"]);
    assert_eq!(t.query("SELECT n FROM t WHERE day IS NULL").await.unwrap(), ["3"]);
    let error = t.query("SELECT a FROM t").await.unwrap_err();
    assert!(error.contains("__DEFAULT_PARTITION__") && error.contains("line 1"), "{error}");
}

#[tokio::test]
async fn parquet_gives_the_planner_exact_statistics() {
    let t = fixture(&["p STRING", "a INT"], &["p"], &[("format", "parquet")]);
    t.file("p=x/1.parquet", parquet(&ints("a", vec![1, 2, 3])));
    t.file("p=y/2.parquet", parquet(&ints("a", vec![7])));
    let plan = t.plan("SELECT a, p FROM t").await.unwrap();
    let found = statistics(&plan);
    assert_eq!(found.num_rows, Precision::Exact(4));
    assert_eq!(found.column_statistics[0].max_value, Precision::Exact(7i32.into()));
    let one = t.plan("SELECT a FROM t WHERE p = 'y'").await.unwrap();
    assert_eq!(statistics(&one).num_rows, Precision::Exact(1));
    assert_eq!(t.query("SELECT p, max(a) AS a FROM t GROUP BY p ORDER BY p").await.unwrap(), ["x|3", "y|7"]);
    let explained = t.explain("SELECT a FROM t WHERE a > 5").await;
    assert!(explained.contains("predicate=a@0 > 5"), "{explained}");
}

#[tokio::test]
async fn narrower_files_are_widened_and_missing_columns_are_null() {
    let t = fixture(&["a BIGINT", "b STRING"], &[], &[("format", "parquet")]);
    t.file("1.parquet", parquet(&ints("a", vec![1])));
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![1i64 << 40]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    t.file("2.parquet", parquet(&RecordBatch::try_from_iter([("b", text), ("a", wide)]).unwrap()));
    assert_eq!(t.query("SELECT a, b FROM t ORDER BY a").await.unwrap(), ["1|", "1099511627776|x"]);
    assert_eq!(t.query("SELECT a FROM t WHERE a < 100").await.unwrap(), ["1"]);
}

#[tokio::test]
async fn columns_are_inferred_from_files() {
    let mut t = fixture(&[], &["p"], &[("format", "parquet")]);
    t.file("p=x/1.parquet", parquet(&ints("a", vec![1])));
    let columns = t.connectors.infer_columns(&t.table).await.unwrap();
    let columns: Vec<_> =
        columns.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect();
    assert_eq!(columns, ["a INT", "p STRING"]);

    t.table
        .options
        .extend([("format".to_owned(), "csv".to_owned()), ("csv.header".to_owned(), "true".to_owned())]);
    std::fs::remove_file(t.path().join("p=x/1.parquet")).unwrap();
    t.file("p=x/1.csv", "n,d\n1,2024-01-01\n");
    let columns = t.connectors.infer_columns(&t.table).await.unwrap();
    let columns: Vec<_> =
        columns.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect();
    assert_eq!(columns, ["n BIGINT", "d DATE", "p STRING"]);
}

#[tokio::test]
async fn patterns_choose_files() {
    let mut t = fixture(&["a INT"], &[], &[("format", "json")]);
    for (name, n) in [("x/1.json", 1), ("x/2.json", 2), ("y/3.json", 3), ("y/3.txt", 4)] {
        t.file(name, format!("{{\"a\":{n}}}\n"));
    }
    let pattern = format!("{}/{{x,y}}/[23].json", t.path().display());
    t.table.options.insert("path".to_owned(), pattern);
    assert_eq!(t.query("SELECT a FROM t ORDER BY a").await.unwrap(), ["2", "3"]);
}

#[tokio::test]
async fn limits_end_the_scan() {
    let t = fixture(&["a INT"], &[], &[("format", "csv")]);
    t.file("1.csv", "1\n2\n3\n4\n");
    assert_eq!(t.query("SELECT a FROM t LIMIT 2").await.unwrap().len(), 2);
}

#[tokio::test]
async fn orc_is_read_by_name_with_missing_columns_as_null() {
    let t = fixture(&["b STRING", "a BIGINT", "p INT"], &["p"], &[("format", "orc")]);
    let batch = ints("a", (0..20_000).collect());
    let mut bytes = Vec::new();
    let mut writer =
        orc_rust::arrow_writer::ArrowWriterBuilder::new(&mut bytes, batch.schema()).try_build().unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    t.file("p=1/1.orc", &bytes);
    t.file("p=2/2.orc", &bytes);
    let sums = t.query("SELECT p, sum(a) AS s, count(b) AS b FROM t GROUP BY p ORDER BY p").await.unwrap();
    assert_eq!(sums, ["1|199990000|0", "2|199990000|0"]);
    let t = fixture(&["a STRING"], &[], &[("format", "orc")]);
    t.file("1.orc", &bytes);
    let error = t.query("SELECT a FROM t").await.unwrap_err();
    assert!(error.contains("/1.orc` has type INT, which cannot be read as STRING"), "{error}");
}

/// An Avro object container file of rows `{a: long, b: string}`, as its specification says.
fn avro(rows: &[(i64, &str)]) -> Vec<u8> {
    let long = |value: i64| {
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        let mut bytes = Vec::new();
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes
    };
    let text = |text: &str| [long(text.len() as i64), text.as_bytes().to_vec()].concat();
    let schema =
        r#"{"type":"record","name":"r","fields":[{"name":"a","type":"long"},{"name":"b","type":"string"}]}"#;
    let sync = [7; 16];
    let block: Vec<u8> = rows.iter().flat_map(|(a, b)| [long(*a), text(b)].concat()).collect();
    let header =
        [b"Obj\x01".to_vec(), long(1), text("avro.schema"), text(schema), long(0), sync.to_vec()].concat();
    [header, long(rows.len() as i64), long(block.len() as i64), block, sync.to_vec()].concat()
}

#[tokio::test]
async fn avro_is_read() {
    let mut t = fixture(&["a BIGINT", "b STRING", "p STRING"], &["p"], &[("format", "avro")]);
    t.file("p=x/1.avro", avro(&[(1, "one"), (-2, "two")]));
    t.file("p=y/2.avro", avro(&[(300, "three")]));
    assert_eq!(
        t.query("SELECT a, b, p FROM t ORDER BY a").await.unwrap(),
        ["-2|two|x", "1|one|x", "300|three|y"]
    );
    assert_eq!(t.query("SELECT b FROM t WHERE p = 'y'").await.unwrap(), ["three"]);
    t.table.columns.clear();
    let columns = t.connectors.infer_columns(&t.table).await.unwrap();
    assert_eq!(columns.len(), 3);
}
