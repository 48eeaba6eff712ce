//! Results are those of the rows that are there, whatever came in between, and whatever was stopped in between.

use std::{cell::Cell, collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use arrow::{
    array::AsArray as _,
    datatypes::{DataType, Field, Int64Type, Schema},
};
use datafusion::{
    execution::memory_pool::{MemoryPool, MemoryReservation},
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
use thalweg_plan::stream::MiniBatch;

use super::{Arriving, GroupAggregate, LocalGroupAggregate};
use crate::{
    operator::{
        expiry::Expiry,
        link::{Element, Next, Operator, Side},
        window_aggregate::Kernel,
        zset::{
            Any, Both, Event, KEY_GROUPS, Row, Run, Table, ZSet, assert_shares_of_two, batch, memory,
            memory_of, pool, random, schema,
        },
    },
    state::Snapshot,
    watermark::Watermark,
};

/// What the tests compute: `COUNT(*), SUM(v), MIN(v), MAX(v), COUNT(DISTINCT v)`, by these names.
const FUNCTIONS: [&str; 5] = ["count", "sum", "min", "max", "different"];

/// The first so many of them, by `k` or of everything.
fn kernel(keyed: bool, functions: usize) -> Kernel {
    let rows = schema(&["k", "v"], false);
    let value = || vec![col("v", &rows).unwrap()];
    let function = |name: &&str| -> Arc<AggregateFunctionExpr> {
        let builder = match *name {
            "count" => AggregateExprBuilder::new(count_udaf(), vec![lit(1i64)]),
            "sum" => AggregateExprBuilder::new(sum_udaf(), value()),
            "min" => AggregateExprBuilder::new(min_udaf(), value()),
            "max" => AggregateExprBuilder::new(max_udaf(), value()),
            _ => AggregateExprBuilder::new(count_udaf(), value()).distinct(),
        };
        Arc::new(builder.schema(rows.clone()).alias(*name).build().unwrap())
    };
    let keys = if keyed { vec![(col("k", &rows).unwrap(), "k".to_owned())] } else { Vec::new() };
    let plan = AggregateExec::try_new(
        AggregateMode::Single,
        PhysicalGroupBy::new_single(keys),
        FUNCTIONS[..functions].iter().map(function).collect(),
        vec![None; functions],
        Arc::new(EmptyExec::new(rows.clone())),
        rows.clone(),
    );
    let plan: Arc<dyn ExecutionPlan> = Arc::new(plan.unwrap());
    Kernel::of(&plan).unwrap()
}

/// The same, as an aggregation of what arrives.
fn aggregate_of(arriving: Arriving, keyed: bool, functions: usize) -> GroupAggregate {
    aggregate_with(arriving, keyed, functions, memory())
}

fn aggregate_with(
    arriving: Arriving,
    keyed: bool,
    functions: usize,
    memory: MemoryReservation,
) -> GroupAggregate {
    let names = [if keyed { &["k"][..] } else { &[] }, &FUNCTIONS[..functions]].concat();
    let output = schema(&names, true);
    GroupAggregate::new(kernel(keyed, functions), arriving, output, KEY_GROUPS, memory).unwrap()
}

/// All of them.
fn aggregate(keyed: bool, updating: bool) -> Any {
    Any::One(Box::new(aggregate_of(Arriving::Rows { updating }, keyed, FUNCTIONS.len())))
}

/// The same, most of whose groups are on the disk.
fn on_disk(folder: &Path, updating: bool, memory_bytes: usize) -> GroupAggregate {
    let mut aggregate = aggregate_of(Arriving::Rows { updating }, true, 2);
    assert!(aggregate.keep_on_disk(folder, &pool(memory_bytes)).unwrap());
    aggregate
}

fn all_functions(updating: bool, memory: MemoryReservation) -> GroupAggregate {
    aggregate_with(Arriving::Rows { updating }, true, FUNCTIONS.len(), memory)
}

/// The same with all functions: values that are known one by one are on the disk too.
fn all_on_disk(folder: &Path, updating: bool, pool: &Arc<dyn MemoryPool>) -> Any {
    let mut aggregate = all_functions(updating, memory_of(pool));
    assert!(aggregate.keep_on_disk(folder, pool).unwrap());
    Any::One(Box::new(aggregate))
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn groups_on_the_disk_are_as_good_as_in_memory(batches in batches(), updating in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let input = schema(&["k", "v"], updating);
        let mut run = Run::new([Some(0), None], || Any::One(Box::new(on_disk(folder.path(), updating, 8 << 10))));
        let mut table = Table::default();
        for (wishes, event) in batches {
            let changes: Vec<(Row, i64)> =
                wishes.into_iter().map(|(key, value, remove)| table.change(vec![key, value], remove && updating)).collect();
            run.rows(Side::Left, &batch(&input, &changes));
            let expected: ZSet = expected(&table.rows, true).into_iter().map(|(row, n)| (row[..3].to_vec(), n)).collect();
            prop_assert_eq!(&run.total, &expected);
            run.happen(event);
        }
    }
}

/// A first phase of so many functions that gathers everything, and the columns between the phases.
fn local(keyed: bool, functions: usize) -> LocalGroupAggregate {
    let mut fields = if keyed { vec![Field::new("key0", DataType::Int64, true)] } else { Vec::new() };
    // The weight, a count, a sum with its count, a least and a greatest value.
    let states = [0, 2, 4, 5, 6][functions];
    fields.extend((0..states).map(|at| Field::new(format!("state{at}"), DataType::Int64, true)));
    let gathering = MiniBatch { wait_ms: 500, rows: u64::MAX };
    LocalGroupAggregate::new(kernel(keyed, functions), gathering, Arc::new(Schema::new(fields)), memory())
        .unwrap()
}

proptest! {
    #[test]
    fn two_phases_are_as_good_as_one(batches in batches(), updating in any::<bool>(), keyed in any::<bool>()) {
        // The least and the greatest of rows that are taken back must know all values.
        let functions = if updating { 2 } else { 4 };
        let input = schema(&["k", "v"], updating);
        let mut locals = [local(keyed, functions), local(keyed, functions)];
        let arriving = Arriving::Partials { updating };
        let mut run = Run::new([keyed.then_some(0), None], || Any::One(Box::new(aggregate_of(arriving, keyed, functions))));
        let mut table = Table::default();
        for (wishes, event) in batches {
            for (key, value, remove) in wishes {
                let change = table.change(vec![key, value], remove && updating);
                // A row goes the way that it came.
                let local = &mut locals[usize::from(value > Some(2))];
                local.rows(batch(&input, &[change]), &mut Next::new(&mut [], &mut Vec::new())).unwrap();
            }
            for local in &mut locals {
                let mut partials = Vec::new();
                local.before_barrier(&mut Next::new(&mut [], &mut partials)).unwrap();
                for partial in partials {
                    let Element::Rows(rows) = partial else { panic!("{partial:?}") };
                    run.rows(Side::Left, &rows);
                }
            }
            let expected = expected(&table.rows, keyed).into_iter();
            let width = usize::from(keyed) + functions;
            let expected: ZSet = expected.map(|(row, n)| (row[..width].to_vec(), n)).collect();
            prop_assert_eq!(&run.total, &expected);
            run.happen(event);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn values_on_the_disk_are_as_good_as_in_memory(batches in batches(), updating in any::<bool>(), memory_bytes in 16usize..80) {
        let (folder, input) = (tempfile::tempdir().unwrap(), schema(&["k", "v"], updating));
        let mut run = Run::new([Some(0), None], || all_on_disk(folder.path(), updating, &pool(memory_bytes << 10)));
        let mut table = Table::default();
        for (wishes, event) in batches {
            let changes: Vec<(Row, i64)> =
                wishes.into_iter().map(|(key, value, remove)| table.change(vec![key, value], remove && updating)).collect();
            run.rows(Side::Left, &batch(&input, &changes));
            prop_assert_eq!(&run.total, &expected(&table.rows, true));
            run.happen(event);
        }
    }
}

#[test]
fn rows_are_gathered_until_there_are_enough_or_it_is_time() {
    let input = schema(&["k", "v"], false);
    let mut local = local(true, 2);
    let mut out = Vec::new();
    let mut next = Next::new(&mut [], &mut out);
    assert_eq!(local.wake_at_ms(), None);
    local.rows(batch(&input, &[(vec![Some(1), Some(2)], 1)]), &mut next).unwrap();
    local.rows(batch(&input, &[(vec![Some(1), Some(3)], 1)]), &mut next).unwrap();
    let at = local.wake_at_ms().unwrap();
    local.wake(at - 1, &mut next).unwrap();
    local.watermark(Watermark(7), &mut next).unwrap();
    local.wake(at, &mut next).unwrap();
    local.wake(at + 1, &mut next).unwrap();
    assert_eq!(local.wake_at_ms(), None);
    let [Element::Watermark(_), Element::Rows(rows)] = &out[..] else { panic!("{out:?}") };
    // The key, two rows, of which two count, a sum of five of two numbers.
    let row: Vec<i64> =
        rows.columns().iter().map(|column| column.as_primitive::<Int64Type>().value(0)).collect();
    assert_eq!((rows.num_rows(), row), (1, vec![1, 2, 2, 5, 2]));
}

#[test]
fn many_more_values_than_fit_give_what_they_give_in_memory() {
    const MEMORY_BYTES: usize = 1 << 20;
    const KEYS: i64 = 20_000;
    let (mut random, input) = (random(), schema(&["k", "v"], true));
    let mut below = |end: i64| i64::from(random.next_u32()) % end;
    let (folder, small, large) = (tempfile::tempdir().unwrap(), pool(MEMORY_BYTES), pool(usize::MAX));
    let in_memory = || Any::One(Box::new(all_functions(true, memory_of(&large))));
    let mut both = Both::new([Some(0), None], in_memory, || all_on_disk(folder.path(), true, &small));
    let mut table = Table::default();
    for part in 0..14 {
        let mut changes = Vec::new();
        for _ in 0..4000 {
            let key = if below(8) == 0 { below(200) } else { below(KEYS) };
            changes.push(table.change(vec![Some(key), Some(below(10))], below(3) == 0));
        }
        let rows = batch(&input, &changes);
        let event = match part {
            1 | 4 | 12 => Event::Checkpoint,
            7 | 13 => Event::Restart,
            _ => Event::Nothing,
        };
        both.rows(Side::Left, &rows, event, &format!("after batch {part}"));
    }
    assert_shares_of_two(&small, MEMORY_BYTES, &large);
}

#[test]
fn a_snapshot_of_groups_on_the_disk_has_what_changed() {
    let folder = tempfile::tempdir().unwrap();
    let input = schema(&["k", "v"], false);
    let mut aggregate = on_disk(folder.path(), false, 1 << 20);
    let take = |aggregate: &mut GroupAggregate, keys: std::ops::Range<i64>| {
        let rows: Vec<(Row, i64)> = keys.map(|key| (vec![Some(key), Some(1)], 1)).collect();
        aggregate.rows(batch(&input, &rows), &mut Next::new(&mut [], &mut Vec::new())).unwrap();
    };
    (0..10).for_each(|part| take(&mut aggregate, part * 1000..(part + 1) * 1000));
    let first = aggregate.snapshot().unwrap();
    take(&mut aggregate, 5000..5010);
    let second = aggregate.snapshot().unwrap();
    let rows = |snapshot: &Snapshot| snapshot.chunks.iter().map(|chunk| chunk.rows.num_rows()).sum::<usize>();
    assert_eq!((rows(&second), second.kept.is_empty(), second.on_disk.is_empty()), (10, false, true));
    let of_disk =
        first.on_disk.iter().flat_map(|rows| rows.chunks()).map(|chunk| chunk.unwrap().rows.num_rows());
    assert_eq!(of_disk.sum::<usize>() + rows(&first), 10_000);
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

thread_local! {
    static NOW_MS: Cell<i64> = const { Cell::new(0) };
}

#[test]
fn groups_that_do_not_change_are_forgotten() {
    const KEYS: i64 = 40;
    let folder = tempfile::tempdir().unwrap();
    for (is_on_disk, changes_ms) in [(false, 10), (true, 10), (false, 99), (true, 99)] {
        NOW_MS.set(0);
        let input = schema(&["k", "v"], false);
        let make = || {
            let mut aggregate = aggregate_of(Arriving::Rows { updating: false }, true, 2);
            aggregate.forget_after(Expiry::by_clock(Duration::from_millis(100), || NOW_MS.get()));
            if is_on_disk {
                assert!(aggregate.keep_on_disk(folder.path(), &pool(8 << 10)).unwrap());
            }
            Any::One(Box::new(aggregate))
        };
        let mut run = Run::new([Some(0), None], make);
        let add = |run: &mut Run<_>, at_ms: i64, keys: std::ops::Range<i64>| {
            NOW_MS.set(at_ms);
            let rows: Vec<(Row, i64)> = keys.map(|key| (vec![Some(key), Some(1)], 1)).collect();
            run.rows(Side::Left, &batch(&input, &rows));
        };
        add(&mut run, 0, 0..KEYS);
        add(&mut run, changes_ms, 1..2);
        run.checkpoint();
        add(&mut run, 140, KEYS..KEYS + 1);
        add(&mut run, 141, 0..2);
        // What was out of the one that was forgotten stays out, and it begins anew.
        let result = |key: i64, count: i64| (vec![Some(key), Some(count), Some(count)], 1);
        let mut expected: ZSet = (0..KEYS + 1).map(|key| result(key, 1)).collect();
        expected.insert(result(0, 1).0, 2);
        let second = if changes_ms == 10 { vec![result(1, 2), result(1, 1)] } else { vec![result(1, 3)] };
        expected.remove(&result(1, 1).0);
        expected.extend(second);
        assert_eq!(run.total, expected, "on disk: {is_on_disk}, changed at {changes_ms}");
    }
}
