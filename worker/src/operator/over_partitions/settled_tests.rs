//! What the rows before a row give, once event time has passed it, whatever comes in which batches and whatever barriers do.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    compute::SortOptions,
    datatypes::{DataType, Field, Schema},
};
use datafusion::{
    execution::TaskContext,
    functions_aggregate::sum::sum_udaf,
    logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition},
    physical_expr::{LexOrdering, PhysicalSortExpr, expressions::col},
    physical_plan::{
        ExecutionPlan,
        empty::EmptyExec,
        sorts::sort::SortExec,
        windows::{WindowAggExec, create_window_expr},
    },
    scalar::ScalarValue,
};
use proptest::prelude::*;

use super::{SettledOver, SettledShape};
use crate::{
    operator::{
        link::Side,
        sub_plan::SubPlan,
        testing::{Any, Input, KEY_GROUPS, batch, memory, run, run_restored, schema},
    },
    state::key_group::key_groups,
};

/// Key, value, time.
type Row = [i64; 3];

/// `SUM(v) OVER (PARTITION BY k ORDER BY t ROWS BETWEEN before PRECEDING AND CURRENT ROW)`
fn sums(before: Option<u64>) -> Any {
    let rows = schema(&["k", "v"], "t");
    let by = |name| PhysicalSortExpr::new(col(name, &rows).unwrap(), SortOptions::default());
    let frame = WindowFrame::new_bounds(
        WindowFrameUnits::Rows,
        WindowFrameBound::Preceding(ScalarValue::UInt64(before)),
        WindowFrameBound::CurrentRow,
    );
    let sum = create_window_expr(
        &WindowFunctionDefinition::AggregateUDF(sum_udaf()),
        "s".to_owned(),
        &[col("v", &rows).unwrap()],
        &[col("k", &rows).unwrap()],
        &[by("t")],
        Arc::new(frame),
        Arc::clone(&rows),
        false,
        false,
        None,
    );
    let order = LexOrdering::new([by("k"), by("t")]).unwrap();
    let sorted = SortExec::new(order, Arc::new(EmptyExec::new(Arc::clone(&rows))));
    let plan = WindowAggExec::try_new(vec![sum.unwrap()], Arc::new(sorted), false).unwrap();
    let mut out: Vec<_> = rows.fields().iter().cloned().collect();
    out.push(Arc::new(Field::new("s", DataType::Int64, true)));
    let plan: Arc<dyn ExecutionPlan> = Arc::new(plan);
    let functions = SubPlan::new(plan, &TaskContext::default(), Arc::new(Schema::new(out))).unwrap();
    let keys = vec![col("k", &rows).unwrap()];
    let history = before.map(|rows| rows as usize);
    let shape = SettledShape { functions, keys, time: 2, history, input: rows };
    Any::One(Box::new(SettledOver::new(shape, KEY_GROUPS, memory()).unwrap()))
}

fn group_of(_: Side, rows: &RecordBatch, row: usize) -> u16 {
    key_groups(&[rows.column(0).slice(row, 1)], 1, KEY_GROUPS).unwrap()[0]
}

fn by_definition(rows: &[Row], before: Option<u64>) -> Vec<Vec<Option<i64>>> {
    let sum = |row: &Row| {
        let mut own: Vec<&Row> =
            rows.iter().filter(|other| other[0] == row[0] && other[2] <= row[2]).collect();
        own.sort_by_key(|other| std::cmp::Reverse(other[2]));
        own.iter().take(before.map_or(usize::MAX, |before| before as usize + 1)).map(|other| other[1]).sum()
    };
    let mut expected: Vec<Vec<Option<i64>>> =
        rows.iter().map(|row| row.iter().copied().chain([sum(row)]).map(Some).collect()).collect();
    expected.sort();
    expected
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn each_row_comes_out_once_with_what_the_rows_before_it_give(
        // Different times: the order of equal ones is open.
        rows in Just((0i64..25).collect::<Vec<_>>()).prop_shuffle(),
        values in prop::collection::vec((0i64..3, 0i64..9), 25), size in 1usize..8, before in prop::option::of(0u64..4)
    ) {
        let columns = schema(&["k", "v"], "t");
        let rows: Vec<Row> =
            rows.iter().zip(&values).map(|(time, (key, value))| [*key, *value, *time]).collect();
        let mut inputs = Vec::new();
        for (at, part) in rows.chunks(size).enumerate() {
            inputs.push(Input::Rows(Side::Left, batch(&columns, part)));
            if let Some(first) = rows.chunks(size).skip(at + 1).flatten().map(|row| row[2]).min() {
                inputs.push(Input::Watermark(first - 1));
            }
        }
        let expected = by_definition(&rows, before);
        prop_assert_eq!(&run(|| sums(before), &inputs), &expected);
        for restored in run_restored(|| sums(before), &inputs, group_of) {
            prop_assert_eq!(&restored, &expected);
        }
    }
}
