//! Events as a table gives them.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array as _, AsArray as _, RecordBatch},
    datatypes::{DataType, Int32Type, Int64Type, SchemaRef, TimestampMillisecondType},
};
use thalweg_graph::table::{Column as TableColumn, TableDescriptor, TablePath};

use super::*;
use crate::{
    numbered::MakeRows as _,
    source::{Share, SourceEvent, SplitPosition},
};

const PERSON: &str = "ROW<id BIGINT, name STRING, emailAddress STRING, creditCard STRING, city STRING, state STRING, \
                      dateTime TIMESTAMP(3), extra STRING>";
const AUCTION: &str = "ROW<id BIGINT, itemName STRING, description STRING, initialBid BIGINT, reserve BIGINT, dateTime TIMESTAMP(3), \
                       expires TIMESTAMP(3), seller BIGINT, category BIGINT, extra STRING>";
const BID: &str = "ROW<auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3), extra STRING>";

fn table(columns: &[(&str, &str)], options: &[(&str, &str)]) -> TableDescriptor {
    let text = |text: &str| text.to_owned();
    let column = |(name, data_type): &(&str, &str)| TableColumn {
        name: text(name),
        data_type: text(data_type),
        nullable: true,
    };
    TableDescriptor {
        path: TablePath { catalog: text("c"), database: text("d"), table: text("events") },
        columns: columns.iter().map(column).collect(),
        metadata: Vec::new(),
        partition_keys: Vec::new(),
        primary_key: Vec::new(),
        options: options.iter().map(|(name, value)| (text(name), text(value))).collect::<BTreeMap<_, _>>(),
    }
}

fn events(options: &[(&str, &str)]) -> TableDescriptor {
    table(&[("event_type", "INT"), ("person", PERSON), ("auction", AUCTION), ("bid", BID)], options)
}

fn schema_of(table: &TableDescriptor) -> SchemaRef {
    Arc::new(schema(table).unwrap())
}

fn rows_of(table: &TableDescriptor, kinds: [bool; 3], start: u64, end: u64) -> RecordBatch {
    let scan = ConnectorScan::new(table.clone(), None, None);
    let scan = ConnectorScan { taken: kinds.map(u8::from).to_vec().into(), ..scan };
    let (_, mut rows) = rows(&scan, &schema_of(table)).unwrap();
    let batch = rows.rows(&[start..end]).unwrap();
    for column in batch.columns() {
        column.to_data().validate_full().unwrap();
    }
    batch
}

fn numbers<'a>(batch: &'a RecordBatch, row: &str, field: &str) -> &'a [i64] {
    batch[row].as_struct().column_by_name(field).unwrap().as_primitive::<Int64Type>().values()
}

#[test]
fn a_row_is_the_same_however_it_is_asked_for() {
    let table = events(&[]);
    let all = rows_of(&table, [true; 3], 0, 3_000);
    assert_eq!(all.num_rows(), 3_000);
    assert_eq!(all.slice(1_234, 777), rows_of(&table, [true; 3], 1_234, 2_011));
    assert_ne!(rows_of(&events(&[("seed", "1")]), [true; 3], 0, 100), all.slice(0, 100));
}

#[test]
fn of_fifty_events_one_is_a_person_three_are_auctions_and_the_others_bids() {
    let all = rows_of(&events(&[]), [true; 3], 0, 5_000);
    let types = all["event_type"].as_primitive::<Int32Type>();
    assert_eq!(&types.values()[48..56], [2, 2, 0, 1, 1, 1, 2, 2]);
    for (kind, count) in [("person", 100), ("auction", 300), ("bid", 4_600)] {
        assert_eq!(all[kind].len() - all[kind].null_count(), count, "{kind}");
        // A field is NULL where its row is: it is read without a look at the row.
        assert!(all[kind].as_struct().columns().iter().all(|field| field.null_count() == 5_000 - count));
    }
}

#[test]
fn events_of_one_kind_are_those_among_all() {
    let table = events(&[]);
    let all = rows_of(&table, [true; 3], 0, 5_000);
    for (kind, name) in ["person", "auction", "bid"].into_iter().enumerate() {
        let mut kinds = [false; 3];
        kinds[kind] = true;
        let own = rows_of(&table, kinds, 0, 5_000);
        let present = arrow::compute::is_not_null(&all[name]).unwrap();
        let expected = arrow::compute::filter(&all[name], &present).unwrap();
        assert_eq!(own[name].as_struct().columns(), expected.as_struct().columns(), "{name}");
        let only: Vec<(&str, String)> = match schema_of(&table).field_with_name(name).unwrap().data_type() {
            DataType::Struct(fields) => {
                let types = sql_type::columns(&arrow::datatypes::Schema::new(fields.clone())).unwrap();
                kind::KINDS[kind]
                    .fields()
                    .iter()
                    .zip(types)
                    .map(|((name, _), column)| (*name, column.data_type))
                    .collect()
            }
            other => panic!("{other}"),
        };
        let only: Vec<(&str, &str)> =
            only.iter().map(|(name, data_type)| (*name, data_type.as_str())).collect();
        let narrow = rows_of(&self::table(&only, &[("table", name)]), kinds, 0, 5_000);
        assert_eq!(narrow.columns(), expected.as_struct().columns(), "{name}");
    }
}

#[test]
fn ids_follow_each_other_and_references_lead_to_what_is_or_will_soon_be_there() {
    let table = events(&[]);
    let persons = rows_of(&table, [true, false, false], 0, 100_000);
    assert_eq!(numbers(&persons, "person", "id"), (1_000..3_000).collect::<Vec<i64>>());
    let auctions = rows_of(&table, [false, true, false], 0, 100_000);
    assert_eq!(numbers(&auctions, "auction", "id"), (1_000..7_000).collect::<Vec<i64>>());
    let bids = rows_of(&table, [false, false, true], 0, 100_000);
    let (auction, bidder) = (numbers(&bids, "bid", "auction"), numbers(&bids, "bid", "bidder"));
    for (row, (auction, bidder)) in auction.iter().zip(bidder).enumerate() {
        let round = row as i64 / 46;
        assert!((1_000..1_000 + (round + 1) * 3 + 10).contains(auction), "{row}: {auction}");
        assert!((1_000..1_000 + round + 1 + 10).contains(bidder), "{row}: {bidder}");
    }
    let hot = |values: &[i64], rest: i64| {
        values.iter().filter(|id| **id % 100 == rest).count() as f64 / values.len() as f64
    };
    assert!((0.49..0.53).contains(&hot(auction, 0)), "{}", hot(auction, 0));
    assert!((0.74..0.78).contains(&hot(bidder, 1)), "{}", hot(bidder, 1));
    let seller = numbers(&auctions, "auction", "seller");
    assert!((0.72..0.80).contains(&hot(seller, 0)), "{}", hot(seller, 0));
}

#[test]
fn prices_are_spread_over_six_powers_of_ten() {
    let bids = rows_of(&events(&[]), [false, false, true], 0, 50_000);
    let prices = numbers(&bids, "bid", "price");
    assert!(prices.iter().all(|price| (100..=100_000_000).contains(price)));
    for power in 2..8 {
        let range = 10i64.pow(power)..10i64.pow(power + 1);
        let share = prices.iter().filter(|price| range.contains(price)).count() as f64 / prices.len() as f64;
        assert!((0.155..0.178).contains(&share), "10^{power}: {share}");
    }
}

#[test]
fn time_rises_with_the_rate() {
    for (rate, event, expected_ms) in
        [("10000", 25_000u64, 2_500), ("3", 7, 2_333), ("7000000", 49_999_999, 7_142), ("1000", 1_001, 1_001)]
    {
        let table = events(&[("first-event.rate", rate), ("base-time", "1970-01-01 00:00:00")]);
        let all = rows_of(&table, [true; 3], event - 7, event + 1);
        let row = all.columns()[1..].iter().find(|column| column.is_valid(7)).unwrap();
        let time = row.as_struct().column_by_name("dateTime").unwrap();
        assert_eq!(time.as_primitive::<TimestampMillisecondType>().value(7), expected_ms, "rate {rate}");
    }
}

#[test]
fn texts_look_like_those_of_the_public_generator() {
    let bids = rows_of(&events(&[]), [false, false, true], 0, 50_000);
    let bid = bids["bid"].as_struct();
    let text =
        |field: &str, row: usize| bid.column_by_name(field).unwrap().as_string_view().value(row).to_owned();
    let mut with_channel_id = 0;
    for row in 0..bids.num_rows() {
        let url = text("url", row);
        assert!(url.starts_with("https://www.nexmark.com/") && url.contains("/item.htm?query=1"), "{url}");
        assert_eq!(url.split('/').count(), 7, "{url}");
        with_channel_id += usize::from(url.contains("&channel_id="));
        assert!((54..82).contains(&text("extra", row).len()));
    }
    // Half of the bids come through channels with a number, nine of ten of which have it in their address.
    assert!((0.43..0.47).contains(&(with_channel_id as f64 / bids.num_rows() as f64)));
    let persons = rows_of(&events(&[]), [true, false, false], 0, 50_000);
    let person = persons["person"].as_struct();
    let text = |field: &str, row: usize| {
        person.column_by_name(field).unwrap().as_string_view().value(row).to_owned()
    };
    for row in 0..persons.num_rows() {
        let card = text("creditCard", row);
        assert!(card.len() == 19 && card.split(' ').all(|part| part.len() == 4), "{card}");
        assert!(text("emailAddress", row).ends_with(".com"));
        assert_eq!(text("name", row).split(' ').count(), 2);
    }
}

#[test]
fn fields_that_nobody_reads_are_not_made() {
    let table = events(&[]);
    let mut scan = ConnectorScan::new(table.clone(), Some(vec![3]), None);
    scan.read_fields = vec![Some(vec!["price".to_owned()])];
    let schema = Arc::new(schema_of(&table).project(&[3]).unwrap());
    let (_, mut rows) = rows(&scan, &schema).unwrap();
    let batch = rows.rows(&[0..1_000]).unwrap();
    let bid = batch["bid"].as_struct();
    assert_eq!(bid.column_by_name("price").unwrap().null_count(), 80);
    assert_eq!(bid.column_by_name("extra").unwrap().null_count(), 1_000);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let refused = |table: &TableDescriptor| check(table).unwrap_err().to_string();
    let one = |name: &str, data_type: &str| refused(&table(&[(name, data_type)], &[]));
    assert_eq!(one("event_type", "BIGINT"), "connector `nexmark` makes `event_type` as INT: declare it so");
    assert_eq!(one("bids", "INT"), "connector `nexmark` makes no `bids`; did you mean `bid`?");
    assert_eq!(
        one("bid", "ROW<pric BIGINT>"),
        "connector `nexmark` makes no `bid.pric`; did you mean `price`?"
    );
    assert_eq!(
        one("bid", "ROW<price INT>"),
        "connector `nexmark` makes `bid.price` as BIGINT: declare it so"
    );
    assert!(refused(&events(&[("next-event.rate", "5")])).contains("a rate that changes"));
    assert!(refused(&events(&[("bid.hot-ratio.bidders", "0")])).contains("cannot be 0"));
    assert!(refused(&events(&[("auction.proportion", "0")])).contains("auction.proportion"));
    assert!(refused(&events(&[("event.num", "5")])).contains("did you mean `events.num`"));
    assert!(refused(&table(&[("price", "BIGINT")], &[])).contains("the option `table`"));
}

#[test]
fn a_table_ends_where_its_options_say() {
    let is_bounded = |options: &[(&str, &str)]| NexmarkOptions::of(&events(options)).unwrap().is_bounded();
    assert!(!is_bounded(&[]) && !is_bounded(&[("events.num", "0"), ("stop-at", "-1")]));
    assert!(is_bounded(&[("events.num", "10")]) && is_bounded(&[("stop-at", "10")]));
    assert!(!is_bounded(&[("events.num", "10"), ("keep-alive", "true")]));
}

/// Ids of bids' events that a subtask reads, up to so many batches, and where it is then.
async fn read(
    table: &TableDescriptor,
    share: Share,
    restored: Option<&[SplitPosition]>,
    batches: usize,
) -> (Vec<RecordBatch>, Vec<SplitPosition>) {
    let scan = ConnectorScan::new(table.clone(), None, None);
    let options = NexmarkOptions::of(table).unwrap();
    let dealt = options.numbering.deal(share.parallelism as usize);
    let request = OpenReader {
        scan: &scan,
        schema: schema_of(table),
        batch_rows: 700,
        share,
        splits: &dealt[share.subtask as usize],
        restored,
    };
    let mut reader = open_reader(request).unwrap();
    let mut rows = Vec::new();
    while rows.len() < batches {
        match reader.next().await.unwrap() {
            Some(SourceEvent::Rows { batch, .. }) => rows.push(batch),
            Some(_) => {}
            None => break,
        }
    }
    (rows, reader.positions().unwrap())
}

fn without_padding(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Rows as text: each event once, in some order.
fn sorted(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for batch in batches {
        let text =
            arrow::util::pretty::pretty_format_batches(std::slice::from_ref(batch)).unwrap().to_string();
        rows.extend(text.lines().skip(3).filter(|line| line.starts_with('|')).map(without_padding));
    }
    rows.sort();
    rows
}

#[tokio::test]
async fn a_stream_goes_on_exactly_where_it_was_at_another_parallelism() {
    let table = events(&[("events.num", "20123")]);
    let (whole, _) = read(&table, Share { subtask: 0, parallelism: 1 }, None, usize::MAX).await;
    let expected = sorted(&whole);
    assert_eq!(expected.len(), 20_123);
    for (before, after) in [(1, 3), (3, 2), (2, 7), (7, 1)] {
        let (mut rows, mut positions) = (Vec::new(), Vec::new());
        for subtask in 0..before {
            let share = Share { subtask, parallelism: before };
            let (some, at) = read(&table, share, None, 2 + subtask as usize).await;
            rows.extend(some);
            positions.extend(at);
        }
        for subtask in 0..after {
            let share = Share { subtask, parallelism: after };
            rows.extend(read(&table, share, Some(&positions), usize::MAX).await.0);
        }
        assert_eq!(sorted(&rows), expected, "{before} to {after}");
    }
}

#[tokio::test]
async fn the_subtasks_of_a_stream_advance_side_by_side() {
    let table = events(&[]);
    let mut last = Vec::new();
    for subtask in 0..4 {
        let (rows, _) = read(&table, Share { subtask, parallelism: 4 }, None, 30).await;
        let bids = rows[29]["bid"].as_struct().column_by_name("dateTime").unwrap().clone();
        last.push(arrow::compute::max(bids.as_primitive::<TimestampMillisecondType>()).unwrap());
    }
    // Thirty batches of each, 84,000 events in all, come to 8.4 s of event time; a block takes 0.1 s.
    let (min, max) = (last.iter().min().unwrap(), last.iter().max().unwrap());
    assert!(max - min <= 400, "{last:?}");
}

#[tokio::test]
async fn a_paced_stream_gives_no_event_before_its_time() {
    let table = events(&[("first-event.rate", "1000"), ("max-emit-speed", "false"), ("events.num", "300")]);
    let begun = tokio::time::Instant::now();
    let (rows, _) = read(&table, Share { subtask: 0, parallelism: 1 }, None, usize::MAX).await;
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 300);
    let took = begun.elapsed().as_millis();
    assert!(took >= 299, "{took} ms");
}
