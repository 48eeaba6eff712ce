//! A plan over complete windows, and that a barrier changes nothing.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema},
};
use datafusion::{
    execution::TaskContext,
    functions_aggregate::sum::sum_udaf,
    physical_expr::{aggregate::AggregateExprBuilder, expressions::col},
    physical_plan::{
        ExecutionPlan,
        aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy},
        empty::EmptyExec,
    },
};
use proptest::prelude::*;

use super::{
    held_rows::HeldRows,
    link::Side,
    sub_plan::SubPlan,
    testing::{Any, Input, KEY_GROUPS, TIME, batch, memory, rows_of, run, run_restored, schema},
    within_windows::WithinWindows,
};
use crate::{state::key_group::key_groups, watermark::Watermark};

/// Key, value, end of the window.
type Row = [i64; 3];

/// `SUM(v)` for each key and window, by a plan that sees all of their rows.
fn sums() -> Any {
    let rows = schema(&["k", "v"], "e");
    let sum = AggregateExprBuilder::new(sum_udaf(), vec![col("v", &rows).unwrap()]).schema(rows.clone());
    let keys = ["k", "e"].map(|name| (col(name, &rows).unwrap(), name.to_owned()));
    let plan = AggregateExec::try_new(
        AggregateMode::Single,
        PhysicalGroupBy::new_single(keys.to_vec()),
        vec![Arc::new(sum.alias("s").build().unwrap())],
        vec![None],
        Arc::new(EmptyExec::new(rows.clone())),
        rows.clone(),
    );
    let plan: Arc<dyn ExecutionPlan> = Arc::new(plan.unwrap());
    let long = |name| Field::new(name, DataType::Int64, true);
    let columns = Arc::new(Schema::new(vec![long("k"), Field::new("e", TIME, true), long("s")]));
    let plan = SubPlan::new(plan, &TaskContext::default(), columns).unwrap();
    let held = HeldRows::new(2, vec![col("k", &rows).unwrap()], 0, KEY_GROUPS);
    Any::One(Box::new(WithinWindows::new(plan, held, rows, memory())))
}

fn group_of(_: Side, rows: &RecordBatch, row: usize) -> u16 {
    key_groups(&[rows.column(0).slice(row, 1)], 1, KEY_GROUPS).unwrap()[0]
}

#[test]
fn rows_wait_for_the_end_of_their_window_and_are_left_out_after_it() {
    let (mut within, columns) = (sums(), schema(&["k", "v"], "e"));
    within.rows(Side::Left, batch(&columns, &[[1, 1, 20], [1, 2, 10], [1, 4, 20]]));
    assert!(rows_of(&within.watermark(Watermark(8))).is_empty());
    assert_eq!(rows_of(&within.watermark(Watermark(9))), [[1, 10, 2].map(Some)]);
    within.rows(Side::Left, batch(&columns, &[[1, 8, 10], [1, 16, 20]]));
    assert_eq!(rows_of(&within.watermark(Watermark::END)), [[1, 20, 21].map(Some)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn batches_watermarks_and_barriers_change_nothing(
        rows in prop::collection::vec((0i64..3, 0i64..9, 1i64..6), 1..30), size in 1usize..8
    ) {
        let rows: Vec<Row> = rows.into_iter().map(|(key, value, end)| [key, value, end * 10]).collect();
        let (columns, mut inputs) = (schema(&["k", "v"], "e"), Vec::new());
        for at in (0..rows.len()).step_by(size) {
            let end = rows.len().min(at + size);
            inputs.push(Input::Rows(Side::Left, batch(&columns, &rows[at..end])));
            // The last millisecond before the first window that is still to come.
            if let Some(first) = rows[end..].iter().map(|row| row[2]).min() {
                inputs.push(Input::Watermark(first - 2));
            }
        }
        let mut expected: BTreeMap<(i64, i64), i64> = BTreeMap::new();
        rows.iter().for_each(|row| *expected.entry((row[0], row[2])).or_default() += row[1]);
        let expected: Vec<Vec<Option<i64>>> =
            expected.into_iter().map(|((key, end), sum)| vec![Some(key), Some(end), Some(sum)]).collect();
        prop_assert_eq!(&run(sums, &inputs), &expected);
        for restored in run_restored(sums, &inputs, group_of) {
            prop_assert_eq!(&restored, &expected);
        }
    }
}
