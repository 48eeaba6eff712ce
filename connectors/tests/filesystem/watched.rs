//! Folders that are watched: each file once, in order, wherever the job was restored.

use std::{
    fs::{self, File},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use thalweg_connectors::source::{OpenReader, Share, SourceEvent, SourceReader, SplitPosition};
use thalweg_plan::{Connectors as _, exec::ConnectorScan, sql_type};
use tokio::time::timeout;

use crate::harness::{Fixture, fixture, job, rows};

const PATIENCE: Duration = Duration::from_secs(60);

fn watched(columns: &[&str], partition_keys: &[&str], format: &str) -> Fixture {
    fixture(columns, partition_keys, &[("format", format), ("source.monitor-interval", "20 ms")])
}

async fn open(
    fixture: &Fixture,
    (subtask, parallelism): (u32, u32),
    batch_rows: usize,
    restored: Option<&[SplitPosition]>,
) -> Box<dyn SourceReader> {
    let scan = ConnectorScan::new(fixture.table.clone(), None, None);
    let schema = Arc::new(sql_type::schema(&fixture.table.columns).unwrap());
    let share = Share { subtask, parallelism };
    let request = OpenReader { scan: &scan, schema, batch_rows, share, splits: &[], restored };
    fixture.connectors.open_reader(request).await.unwrap().unwrap()
}

/// The rows up to so many, or up to where the reader says that there is nothing for the time being.
async fn take(reader: &mut dyn SourceReader, count: usize) -> Vec<String> {
    let mut taken = Vec::new();
    while taken.len() < count {
        match timeout(PATIENCE, reader.next()).await.unwrap().unwrap().unwrap() {
            SourceEvent::Rows { split: 0, batch } => taken.extend(rows(Ok(vec![batch])).unwrap()),
            SourceEvent::Begin { split: 0, .. } => {}
            SourceEvent::Idle { split: 0 } if count == usize::MAX || !taken.is_empty() => break,
            SourceEvent::Idle { split: 0 } => {}
            other => panic!("{other:?}"),
        }
    }
    taken
}

/// Says when a file was written, in seconds after some moment.
fn modified(fixture: &Fixture, name: &str, seconds: u64) {
    let file = File::options().append(true).open(fixture.path().join(name)).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)).unwrap();
}

#[tokio::test]
async fn each_file_is_read_once_in_the_order_of_modification() {
    let folder = watched(&["a INT"], &[], "csv");
    assert!(!folder.connectors.is_bounded(&folder.table));
    let mut reader = open(&folder, (0, 1), 100, None).await;
    assert!(
        timeout(Duration::from_millis(100), reader.next()).await.is_err(),
        "a folder that is not there yet is waited for"
    );
    folder.file(".first", "0\n");
    fs::rename(folder.path().join(".first"), folder.path().join("first")).unwrap();
    assert_eq!(take(&mut *reader, 1).await, ["0"]);
    fs::remove_file(folder.path().join("first")).unwrap();
    for (name, rows, seconds) in [("new", "3\n4\n", 20), ("old", "1\n2\n", 10), (".part", "9\n", 5)] {
        folder.file(name, rows);
        modified(&folder, name, seconds);
    }
    folder.file("empty", "");
    let mut reader = open(&folder, (0, 1), 100, None).await;
    assert_eq!(take(&mut *reader, usize::MAX).await, ["1", "2", "3", "4"]);
    folder.file("old", "7\n8\n");
    folder.file("empty", "5\n");
    assert_eq!(
        take(&mut *reader, 1).await,
        ["5"],
        "what had no bytes has some, what is done is not read again"
    );
    fs::remove_file(folder.path().join("old")).unwrap();
    folder.file("next", "6\n");
    assert_eq!(take(&mut *reader, 1).await, ["6"]);
    let done = |position: &SplitPosition| u32::from_le_bytes(position.position[2..6].try_into().unwrap());
    let kept: u32 = reader.positions().unwrap().iter().map(done).sum();
    assert_eq!(
        kept, 2,
        "`new` and `empty` are done, `next` is under way, and those that are gone are forgotten"
    );
}

#[tokio::test]
async fn readers_of_any_number_go_on_where_others_were() {
    for format in ["parquet", "json", "csv"] {
        let folder = watched(&["a INT", "b STRING"], &["b"], format);
        let sink = folder.sink();
        let mut expected = Vec::new();
        for file in 0..60 {
            let numbers: ArrayRef = Arc::new((file * 10..file * 10 + 10).map(Some).collect::<Int32Array>());
            let texts: ArrayRef =
                Arc::new(vec![Some(format!("p{}", file % 3)); 10].into_iter().collect::<StringArray>());
            let batch = RecordBatch::try_from_iter([("a", numbers), ("b", texts)]).unwrap();
            folder.insert(&sink, job(file as u128 + 1), &[batch]).await;
            expected.extend((file * 10..file * 10 + 10).map(|a| format!("{a}|p{}", file % 3)));
        }
        let (mut found, mut positions) = (Vec::new(), Vec::new());
        for (parallelism, wanted) in [(2, 24), (3, 17), (1, usize::MAX)] {
            let restored = std::mem::take(&mut positions);
            let restored: Option<&[SplitPosition]> = (parallelism != 2).then_some(&restored);
            for subtask in 0..parallelism {
                let mut reader = open(&folder, (subtask, parallelism), 4, restored).await;
                found.extend(take(&mut *reader, wanted).await);
                positions.extend(reader.positions().unwrap());
            }
        }
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{format}");
    }
}

#[tokio::test]
async fn a_file_that_was_half_read_must_stay_as_it_is() {
    let folder = watched(&["a INT"], &[], "csv");
    folder.file("f", "1\n2\n3\n");
    let mut reader = open(&folder, (0, 1), 2, None).await;
    assert_eq!(take(&mut *reader, 2).await, ["1", "2"]);
    let positions = reader.positions().unwrap();
    folder.file("f", "1\n2\n3\n4\n");
    let mut reader = open(&folder, (0, 1), 2, Some(&positions)).await;
    reader.next().await.unwrap();
    let error = reader.next().await.unwrap_err().to_string();
    assert!(error.contains("/f` was replaced: 2 rows of 6 bytes were read of it"), "{error}");
    fs::remove_file(folder.path().join("f")).unwrap();
    folder.file("g", "5\n");
    let scan = ConnectorScan::new(folder.table.clone(), None, None);
    let schema = Arc::new(sql_type::schema(&folder.table.columns).unwrap());
    let share = Share { subtask: 0, parallelism: 1 };
    let request =
        OpenReader { scan: &scan, schema, batch_rows: 2, share, splits: &[], restored: Some(&positions) };
    let Err(error) = folder.connectors.open_reader(request).await else { panic!("the file is gone") };
    assert!(error.to_string().contains("is gone and only 2 of its rows were read"), "{error}");
}

#[tokio::test]
async fn a_file_that_vanishes_before_it_is_read_is_named() {
    for (format, content) in [("csv", "1\n"), ("parquet", "PAR1PAR1PAR1")] {
        let folder = watched(&["a INT"], &[], format);
        folder.file("f", content);
        let mut reader = open(&folder, (0, 1), 2, None).await;
        fs::remove_file(folder.path().join("f")).unwrap();
        reader.next().await.unwrap();
        let error = reader.next().await.unwrap_err().to_string();
        assert!(error.contains("/f` was found in the watched folder and is gone"), "{error}");
    }
}

#[test]
fn an_interval_of_zero_is_refused() {
    let mut folder = watched(&["a INT"], &[], "csv");
    folder.table.options.insert("source.monitor-interval".to_owned(), "0 s".to_owned());
    let error = folder.connectors.validate(&folder.table).unwrap_err().to_string();
    assert!(error.contains("`source.monitor-interval` cannot be 0"), "{error}");
}
