//! Results are those of the rows that are there, whatever came in between, and whatever was stopped in between.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{
    functions_aggregate::{
        count::count_udaf,
        min_max::{max_udaf, min_udaf},
        sum::sum_udaf,
    },
    physical_expr::{
        aggregate::{AggregateExprBuilder, AggregateFunctionExpr},
        expressions::{col, lit},
    },
    physical_plan::{
        ExecutionPlan,
        aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy},
        empty::EmptyExec,
    },
};
use proptest::prelude::*;

use super::GroupAggregate;
use crate::operator::{
    link::Side,
    window_aggregate::Kernel,
    zset::{Any, Event, KEY_GROUPS, Row, Run, Table, ZSet, batch, memory, schema},
};

/// `k, COUNT(*), SUM(v), MIN(v), MAX(v), COUNT(DISTINCT v)`, or without the key.
fn aggregate(keyed: bool, updating: bool) -> Any {
    let rows = schema(&["k", "v"], false);
    let value = || vec![col("v", &rows).unwrap()];
    let build = |builder: AggregateExprBuilder, name: &str| -> Arc<AggregateFunctionExpr> {
        Arc::new(builder.schema(rows.clone()).alias(name).build().unwrap())
    };
    let functions = vec![
        build(AggregateExprBuilder::new(count_udaf(), vec![lit(1i64)]), "count"),
        build(AggregateExprBuilder::new(sum_udaf(), value()), "sum"),
        build(AggregateExprBuilder::new(min_udaf(), value()), "min"),
        build(AggregateExprBuilder::new(max_udaf(), value()), "max"),
        build(AggregateExprBuilder::new(count_udaf(), value()).distinct(), "different"),
    ];
    let filters = vec![None; functions.len()];
    let keys = if keyed { vec![(col("k", &rows).unwrap(), "k".to_owned())] } else { Vec::new() };
    let plan = AggregateExec::try_new(
        AggregateMode::Single,
        PhysicalGroupBy::new_single(keys),
        functions,
        filters,
        Arc::new(EmptyExec::new(rows.clone())),
        rows.clone(),
    );
    let plan: Arc<dyn ExecutionPlan> = Arc::new(plan.unwrap());
    let names = ["k", "count", "sum", "min", "max", "different"];
    let output = schema(if keyed { &names } else { &names[1..] }, true);
    let input = schema(&["k", "v"], updating);
    let kernel = Kernel::of(&plan).unwrap();
    Any::One(Box::new(GroupAggregate::new(kernel, &input, output, KEY_GROUPS, memory()).unwrap()))
}

/// The results by their definition.
fn expected(rows: &ZSet, keyed: bool) -> ZSet {
    let mut groups: BTreeMap<Option<i64>, Vec<(Option<i64>, i64)>> = BTreeMap::new();
    if !keyed {
        groups.insert(None, Vec::new());
    }
    for (row, count) in rows {
        groups.entry(row[0].filter(|_| keyed)).or_default().push((row[1], *count));
    }
    let result = |(key, values): (Option<i64>, Vec<(Option<i64>, i64)>)| {
        let there: Vec<(i64, i64)> =
            values.iter().filter_map(|(value, count)| value.map(|value| (value, *count))).collect();
        let sum = (!there.is_empty()).then(|| there.iter().map(|(value, count)| value * count).sum());
        let different: std::collections::BTreeSet<i64> = there.iter().map(|(value, _)| *value).collect();
        let results = [
            Some(values.iter().map(|(_, count)| count).sum()),
            sum,
            there.iter().map(|(value, _)| *value).min(),
            there.iter().map(|(value, _)| *value).max(),
            Some(different.len() as i64),
        ];
        let row: Row = [key].into_iter().filter(|_| keyed).chain(results).collect();
        (row, 1)
    };
    groups.into_iter().map(result).collect()
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![4 => Just(Event::Nothing), 2 => Just(Event::Checkpoint), 1 => Just(Event::Restart)]
}

/// A key, a value, and whether such a row is to go.
type Wish = (Option<i64>, Option<i64>, bool);

fn batches() -> impl Strategy<Value = Vec<(Vec<Wish>, Event)>> {
    let value = |upto| prop_oneof![1 => Just(None), 5 => (0..upto).prop_map(Some)];
    let wish = (value(4i64), value(6i64), any::<bool>());
    prop::collection::vec((prop::collection::vec(wish, 1..12), event()), 1..12)
}

proptest! {
    #[test]
    fn results_are_those_of_the_rows_that_are_there(batches in batches(), updating in any::<bool>(), keyed in any::<bool>()) {
        let input = schema(&["k", "v"], updating);
        let mut run = Run::new([keyed.then_some(0), None], || aggregate(keyed, updating));
        let mut table = Table::default();
        for (wishes, event) in batches {
            let changes: Vec<(Row, i64)> =
                wishes.into_iter().map(|(key, value, remove)| table.change(vec![key, value], remove && updating)).collect();
            run.rows(Side::Left, &batch(&input, &changes));
            prop_assert_eq!(&run.total, &expected(&table.rows, keyed));
            run.happen(event);
        }
        run.end();
        prop_assert_eq!(&run.total, &expected(&table.rows, keyed));
    }
}

#[test]
fn without_keys_there_is_a_result_of_no_rows() {
    let mut run = Run::new([None, None], || aggregate(false, false));
    run.end();
    assert_eq!(run.total, ZSet::from([(vec![Some(0), None, None, None, Some(0)], 1)]));
}

#[test]
fn groups_that_are_gone_leave_nothing_behind() {
    let input = schema(&["k", "v"], true);
    let mut run = Run::new([Some(0), None], || aggregate(true, true));
    let rows =
        |weight| -> Vec<(Row, i64)> { (0..40_000).map(|key| (vec![Some(key), Some(key)], weight)).collect() };
    for _ in 0..3 {
        run.rows(Side::Left, &batch(&input, &rows(1)));
        run.checkpoint();
        run.rows(Side::Left, &batch(&input, &rows(-1)));
        run.checkpoint();
    }
    run.rows(Side::Left, &batch(&input, &[(vec![Some(7), Some(8)], 1)]));
    run.restart();
    run.rows(Side::Left, &batch(&input, &[(vec![Some(7), Some(9)], 1)]));
    assert_eq!(run.total, ZSet::from([(vec![Some(7), Some(2), Some(17), Some(8), Some(9), Some(2)], 1)]));
}
