//! Frames by their definition, and that a barrier changes nothing.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema},
};
use datafusion::{
    functions_aggregate::{count::count_udaf, min_max::max_udaf, sum::sum_udaf},
    logical_expr::AggregateUDF,
    physical_expr::{aggregate::AggregateExprBuilder, expressions::col},
};
use proptest::prelude::*;

use super::{Frame, Function, Over, Shape};
use crate::{
    operator::{
        link::Side,
        testing::{Any, Input, KEY_GROUPS, batch, memory, run, run_restored, schema},
    },
    state::key_group::key_groups,
};

/// Key, value, time. Values are all different, so that the order of rows of one time can be found out.
type Row = [i64; 3];

/// The largest value, their sum and their number, each over another frame.
fn over(frames: [Frame; 3]) -> Any {
    let rows = schema(&["k", "v"], "t");
    let function = |udaf: Arc<AggregateUDF>, frame| {
        let made = AggregateExprBuilder::new(udaf, vec![col("v", &rows).unwrap()]).schema(rows.clone());
        Function { aggregate: Arc::new(made.alias("a").build().unwrap()), frame }
    };
    let [a, b, c] = frames;
    let functions = vec![function(max_udaf(), a), function(sum_udaf(), b), function(count_udaf(), c)];
    let mut fields: Vec<_> = rows.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.extend(["a", "b", "c"].map(|name| Field::new(name, DataType::Int64, true)));
    let shape = Shape {
        time: 2,
        keys: vec![col("k", &rows).unwrap()],
        functions,
        input: rows,
        output: Arc::new(Schema::new(fields)),
    };
    Any::One(Box::new(Over::new(shape, KEY_GROUPS, memory()).unwrap()))
}

fn group_of(_: Side, rows: &RecordBatch, row: usize) -> u16 {
    key_groups(&[rows.column(0).slice(row, 1)], 1, KEY_GROUPS).unwrap()[0]
}

/// By definition, of rows with different times.
fn by_definition(rows: &[Row], frames: [Frame; 3]) -> Vec<Vec<Option<i64>>> {
    let mut results = Vec::new();
    for row in rows {
        let mut before: Vec<&Row> =
            rows.iter().filter(|other| other[0] == row[0] && other[2] <= row[2]).collect();
        before.sort_by_key(|other| other[2]);
        let in_frame = |frame: Frame| -> Vec<i64> {
            let rows = before.iter().rev().enumerate().filter(|(back, other)| match frame {
                Frame::Rows(rows) => rows.is_none_or(|rows| *back <= rows),
                Frame::Range(ms) => ms.is_none_or(|ms| other[2] >= row[2] - ms),
            });
            rows.map(|(_, other)| other[1]).collect()
        };
        let [a, b, c] = frames;
        results.push(vec![
            Some(row[0]),
            Some(row[1]),
            Some(row[2]),
            in_frame(a).into_iter().max(),
            Some(in_frame(b).iter().sum()),
            Some(in_frame(c).len() as i64),
        ]);
    }
    results.sort();
    results
}

fn frames() -> impl Strategy<Value = Frame> {
    prop_oneof![
        prop::option::of(0usize..4).prop_map(Frame::Rows),
        prop::option::of(0i64..40).prop_map(Frame::Range),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn batches_watermarks_and_barriers_change_nothing(
        rows in prop::collection::btree_map(0i64..200, (0i64..3, -9i64..9), 1..30).prop_map(|rows| {
            rows.into_iter().map(|(time, (key, value))| [key, value, time]).collect::<Vec<Row>>()
        }).prop_shuffle(),
        size in 1usize..12, a in frames(), b in frames(), c in frames()
    ) {
        let columns = schema(&["k", "v"], "t");
        let mut inputs = Vec::new();
        for at in (0..rows.len()).step_by(size) {
            let end = rows.len().min(at + size);
            inputs.push(Input::Rows(Side::Left, batch(&columns, &rows[at..end])));
            if let Some(next) = rows[end..].iter().map(|row| row[2]).min() {
                inputs.push(Input::Watermark(next - 1));
            }
        }
        let expected = by_definition(&rows, [a, b, c]);
        prop_assert_eq!(&run(|| over([a, b, c]), &inputs), &expected);
        for restored in run_restored(|| over([a, b, c]), &inputs, group_of) {
            prop_assert_eq!(&restored, &expected);
        }
    }
}

#[test]
fn rows_of_the_same_time_are_in_each_others_range() {
    let columns = schema(&["k", "v"], "t");
    let rows = batch(&columns, &[[1, 1, 5], [1, 2, 5], [1, 4, 6]]);
    let frames = [Frame::Range(None), Frame::Range(Some(0)), Frame::Range(Some(1))];
    let made = run(|| over(frames), &[Input::Rows(Side::Left, rows)]);
    let expected = [[1, 1, 5, 2, 3, 2], [1, 2, 5, 2, 3, 2], [1, 4, 6, 4, 4, 3]];
    assert_eq!(made, expected.map(|row| row.map(Some).to_vec()));
}
