//! Parquet files that are no Parquet, in whole or in part, and such that do not fit their table.

use std::{fs, sync::Arc};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use super::{PLACES, create, fails, good_batch, session, write_parquet};
use crate::expect::text;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_and_truncated_files_are_named() {
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
async fn a_damaged_page_is_named_with_file_row_group_and_column() {
    for place in PLACES {
        let (mut client, folder) = session(place).await;
        let (good, bad) =
            (folder.path().join("damaged/good.parquet"), folder.path().join("damaged/bad.parquet"));
        write_parquet(&good, &good_batch());
        write_parquet(&bad, &good_batch());
        client.sql(&create("damaged", "id BIGINT, name STRING", folder.path(), "parquet")).await.unwrap();
        let whole = fs::read(&bad).unwrap();
        let reader = SerializedFileReader::new(fs::File::open(&bad).unwrap()).unwrap();
        let (start, length) = reader.metadata().row_group(0).column(1).byte_range();
        // The header of a page, its values, its end.
        for (from, to) in [(0, 4), (length / 2, length / 2 + 8), (length - 6, length)] {
            let mut bytes = whole.clone();
            bytes[(start + from) as usize..(start + to) as usize].fill(0xff);
            fs::write(&bad, bytes).unwrap();
            for sql in ["SELECT * FROM damaged", "SELECT name, count(*) FROM damaged GROUP BY name"] {
                fails(&mut client, place, sql, &["bad.parquet", "row group 0, column `name`"]).await;
            }
            client.sql("SET 'execution.runtime-mode' = 'STREAMING'").await.unwrap();
            fails(
                &mut client,
                place,
                "SELECT * FROM damaged",
                &["bad.parquet", "row group 0, column `name`"],
            )
            .await;
            client.sql("RESET 'execution.runtime-mode'").await.unwrap();
            // What the damage does not touch is read.
            assert_eq!(text(&client.sql("SELECT sum(id) FROM damaged").await.unwrap()), "12", "{place}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_different_schemas() {
    for place in PLACES {
        let (mut client, folder) = session(place).await;
        write_parquet(&folder.path().join("mixed/1.parquet"), &good_batch());
        write_parquet(&folder.path().join("mixed/2.parquet"), &other_type());
        client.sql(&create("mixed", "id BIGINT, name STRING", folder.path(), "parquet")).await.unwrap();
        fails(&mut client, place, "SELECT sum(id) FROM mixed", &["`id`", "mixed/2.parquet"]).await;
        // A column that one file lacks is NULL there, as in Flink; one that the table lacks is not read.
        let lacking = good_batch().project(&[0]).unwrap();
        write_parquet(&folder.path().join("mixed/2.parquet"), &lacking);
        let extra: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 9]));
        let columns =
            ["id", "name"].map(|name| (name, Arc::clone(good_batch().column_by_name(name).unwrap())));
        let wider = RecordBatch::try_from_iter([("more", extra)].into_iter().chain(columns)).unwrap();
        write_parquet(&folder.path().join("mixed/3.parquet"), &wider);
        let sql = "SELECT count(*), count(name), sum(id) FROM mixed";
        assert_eq!(text(&client.sql(sql).await.unwrap()), "9,6,18", "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_footer_was_not_looked_at_is_named_when_it_is_read() {
    for place in PLACES {
        let (mut client, folder) = session(place).await;
        let folder_of_table = folder.path().join("many");
        write_parquet(&folder_of_table.join("0000.parquet"), &good_batch());
        for number in 1..1_100 {
            fs::copy(
                folder_of_table.join("0000.parquet"),
                folder_of_table.join(format!("{number:04}.parquet")),
            )
            .unwrap();
        }
        write_parquet(&folder_of_table.join("0501.parquet"), &other_type());
        client.sql(&create("many", "id BIGINT, name STRING", folder.path(), "parquet")).await.unwrap();
        fails(&mut client, place, "SELECT sum(id) FROM many", &["`id`", "many/0501.parquet"]).await;
    }
}

/// A file whose `id` is no number.
fn other_type() -> RecordBatch {
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}
