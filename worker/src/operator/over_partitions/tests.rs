//! What is there is what the functions give over the rows that are there, whatever comes and goes.

use std::{collections::BTreeMap, sync::Arc};

use arrow::compute::SortOptions;
use datafusion::{
    execution::TaskContext,
    functions_aggregate::sum::sum_udaf,
    logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition},
    physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr, expressions::col},
    physical_plan::{
        ExecutionPlan,
        empty::EmptyExec,
        sorts::sort::SortExec,
        windows::{WindowAggExec, create_window_expr},
    },
    scalar::ScalarValue,
};
use proptest::prelude::*;

use super::{OverPartitions, Shape};
use crate::operator::{
    link::Side,
    sub_plan::SubPlan,
    zset::{Any, Event, KEY_GROUPS, Row, Run, Table, ZSet, batch, memory, schema},
};

/// `SUM(v) OVER (PARTITION BY k ORDER BY v ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)`
fn sums(updating: bool) -> Any {
    let rows = schema(&["k", "v"], false);
    let key = || col("k", &rows).unwrap();
    let by_value = PhysicalSortExpr::new(col("v", &rows).unwrap(), SortOptions::default());
    let frame = WindowFrame::new_bounds(
        WindowFrameUnits::Rows,
        WindowFrameBound::Preceding(ScalarValue::UInt64(Some(1))),
        WindowFrameBound::CurrentRow,
    );
    let sum = create_window_expr(
        &WindowFunctionDefinition::AggregateUDF(sum_udaf()),
        "s".to_owned(),
        &[col("v", &rows).unwrap()],
        &[key()],
        std::slice::from_ref(&by_value),
        Arc::new(frame),
        Arc::clone(&rows),
        false,
        false,
        None,
    );
    let by_key = PhysicalSortExpr::new(key(), SortOptions::default());
    let order = LexOrdering::new([by_key, by_value]).unwrap();
    let sorted = SortExec::new(order, Arc::new(EmptyExec::new(Arc::clone(&rows))));
    let plan = WindowAggExec::try_new(vec![sum.unwrap()], Arc::new(sorted), false).unwrap();
    let plan: Arc<dyn ExecutionPlan> = Arc::new(plan);
    let functions = SubPlan::new(plan, &TaskContext::default(), schema(&["k", "v", "s"], false)).unwrap();
    let keys: Vec<Arc<dyn PhysicalExpr>> = vec![key()];
    let shape = Shape {
        functions,
        keys,
        input: schema(&["k", "v"], updating),
        output: schema(&["k", "v", "s"], true),
    };
    Any::One(Box::new(OverPartitions::new(shape, KEY_GROUPS, memory()).unwrap()))
}

fn by_definition(rows: &ZSet) -> ZSet {
    let mut values: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (row, count) in rows {
        let (Some(key), Some(value)) = (row[0], row[1]) else { continue };
        values.entry(key).or_default().extend((0..*count).map(|_| value));
    }
    let mut expected = ZSet::new();
    for (key, mut values) in values {
        values.sort_unstable();
        for (at, value) in values.iter().enumerate() {
            let before = at.checked_sub(1).map_or(0, |at| values[at]);
            *expected.entry(vec![Some(key), Some(*value), Some(value + before)]).or_default() += 1;
        }
    }
    expected
}

proptest! {
    #[test]
    fn it_is_computed_over_the_rows_that_are_there(
        updating in any::<bool>(),
        batches in prop::collection::vec((prop::collection::vec((0i64..3, 0i64..6, any::<bool>()), 1..8), 0..3usize), 1..12)
    ) {
        let columns = schema(&["k", "v"], updating);
        let mut run = Run::new([Some(0), None], || sums(updating));
        let mut table = Table::default();
        for (wishes, event) in batches {
            let change = |(key, value, remove): (i64, i64, bool)| {
                table.change(vec![Some(key), Some(value)], remove && updating)
            };
            let changes: Vec<(Row, i64)> = wishes.into_iter().map(change).collect();
            run.rows(Side::Left, &batch(&columns, &changes));
            prop_assert_eq!(&run.total, &by_definition(&table.rows));
            run.happen([Event::Nothing, Event::Checkpoint, Event::Restart][event]);
        }
    }
}

#[test]
fn partitions_that_are_gone_leave_nothing_behind() {
    let columns = schema(&["k", "v"], true);
    let mut run = Run::new([Some(0), None], || sums(true));
    for round in 0..3 {
        let keys = round * 20_000..(round + 1) * 20_000;
        for weight in [1, -1] {
            let rows: Vec<(Row, i64)> = keys.clone().map(|key| (vec![Some(key), Some(1)], weight)).collect();
            run.rows(Side::Left, &batch(&columns, &rows));
        }
    }
    assert_eq!(run.total, ZSet::new());
    run.rows(Side::Left, &batch(&columns, &[(vec![Some(7), Some(2)], 1), (vec![Some(7), Some(3)], 1)]));
    run.restart();
    run.rows(Side::Left, &batch(&columns, &[(vec![Some(7), Some(2)], -1)]));
    assert_eq!(run.total, ZSet::from([(vec![Some(7), Some(3), Some(3)], 1)]));
}
