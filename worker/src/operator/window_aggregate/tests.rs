//! Which rows count for which window, when windows come out, and what becomes of late rows.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{AsArray as _, Int64Array, RecordBatch, TimestampMillisecondArray},
    compute::concat_batches,
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType},
};
use datafusion::{
    execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation, UnboundedMemoryPool},
    functions_aggregate::sum::sum_udaf,
    physical_expr::{aggregate::AggregateExprBuilder, expressions::col},
    physical_plan::{
        ExecutionPlan,
        aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy},
        empty::EmptyExec,
    },
};
use proptest::prelude::*;
use thalweg_plan::{
    panes::{Panes, WindowBound, WindowShape},
    stream::OutputColumn,
};

use super::{Kernel, LocalWindowAggregate, WindowAggregate};
use crate::{
    operator::link::{Element, Next, Operator},
    watermark::Watermark,
};

const TIME: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

fn rows_schema() -> SchemaRef {
    let long = |name| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![long("k"), long("v"), Field::new("t", TIME, true)]))
}

/// `SUM(v)` for each `k`.
fn kernel() -> Kernel {
    let rows = rows_schema();
    let sum = AggregateExprBuilder::new(sum_udaf(), vec![col("v", &rows).unwrap()]).schema(rows.clone());
    let keys = PhysicalGroupBy::new_single(vec![(col("k", &rows).unwrap(), "k".to_owned())]);
    let sums = vec![Arc::new(sum.alias("s").build().unwrap())];
    let input = Arc::new(EmptyExec::new(rows.clone()));
    let plan = AggregateExec::try_new(AggregateMode::Single, keys, sums, vec![None], input, rows).unwrap();
    let plan: Arc<dyn ExecutionPlan> = Arc::new(plan);
    Kernel::of(&plan).unwrap()
}

fn memory() -> MemoryReservation {
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    MemoryConsumer::new("test").register(&pool)
}

fn windows(panes: Panes, time: Option<usize>) -> Box<dyn Operator> {
    let columns = vec![
        Field::new("e", TIME, false),
        Field::new("k", DataType::Int64, true),
        Field::new("s", DataType::Int64, true),
    ];
    let output =
        vec![OutputColumn::Bound(WindowBound::End), OutputColumn::Key(0), OutputColumn::Aggregate(0)];
    let schema = Arc::new(Schema::new(columns));
    Box::new(WindowAggregate::new(kernel(), panes, time, output, schema, 128, memory()))
}

fn local(panes: Panes) -> Box<dyn Operator> {
    let columns = vec![
        Field::new("key0", DataType::Int64, true),
        Field::new("pane", DataType::Int64, false),
        Field::new("state2", DataType::Int64, true),
    ];
    Box::new(LocalWindowAggregate::new(kernel(), panes, 2, Arc::new(Schema::new(columns)), memory()))
}

/// Key, value, time.
type Row = (i64, i64, i64);

fn batch(rows: &[Row]) -> RecordBatch {
    let keys = Int64Array::from_iter_values(rows.iter().map(|row| row.0));
    let values = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
    let times = TimestampMillisecondArray::from_iter_values(rows.iter().map(|row| row.2));
    RecordBatch::try_new(rows_schema(), vec![Arc::new(keys), Arc::new(values), Arc::new(times)]).unwrap()
}

struct Run(Vec<Box<dyn Operator>>);

impl Run {
    /// The sums that come out, by window end and key.
    fn rows(&mut self, rows: &[Row]) -> BTreeMap<(i64, i64), i64> {
        let mut out = Vec::new();
        Next::new(&mut self.0, &mut out).rows(batch(rows)).unwrap();
        sums(&out)
    }

    fn watermark(&mut self, watermark: Watermark) -> BTreeMap<(i64, i64), i64> {
        let mut out = Vec::new();
        Next::new(&mut self.0, &mut out).watermark(watermark).unwrap();
        assert!(matches!(out.last(), Some(Element::Watermark(last)) if *last == watermark), "it goes last");
        sums(&out)
    }
}

fn sums(elements: &[Element]) -> BTreeMap<(i64, i64), i64> {
    let batches: Vec<&RecordBatch> = elements
        .iter()
        .filter_map(|element| match element {
            Element::Rows(batch) => Some(batch),
            Element::Watermark(_) | Element::Idle => None,
        })
        .collect();
    let Some(first) = batches.first() else { return BTreeMap::new() };
    let all = concat_batches(&first.schema(), batches.iter().copied()).unwrap();
    let ends = all.column(0).as_primitive::<TimestampMillisecondType>();
    let keys = all.column(1).as_primitive::<Int64Type>();
    let values = all.column(2).as_primitive::<Int64Type>();
    let found: BTreeMap<_, _> =
        (0..all.num_rows()).map(|row| ((ends.value(row), keys.value(row)), values.value(row))).collect();
    assert_eq!(found.len(), all.num_rows(), "a window came out twice");
    found
}

fn hop(slide_ms: i64, size_ms: i64) -> Panes {
    Panes { shape: WindowShape::Hop { slide_ms, size_ms }, offset_ms: 0 }
}

#[test]
fn a_window_comes_out_when_its_last_millisecond_is_over() {
    let mut run =
        Run(vec![windows(Panes { shape: WindowShape::Tumble { size_ms: 10 }, offset_ms: 0 }, Some(2))]);
    assert!(run.rows(&[(1, 5, 3), (1, 6, 9), (1, 7, 10)]).is_empty());
    assert!(run.watermark(Watermark(8)).is_empty());
    assert_eq!(run.watermark(Watermark(9)), BTreeMap::from([((10, 1), 11)]));
    assert_eq!(run.watermark(Watermark::END), BTreeMap::from([((20, 1), 7)]));
}

#[test]
fn a_late_row_counts_for_the_windows_that_are_not_out() {
    let mut run = Run(vec![windows(hop(5, 10), Some(2))]);
    run.rows(&[(1, 1, 7)]);
    assert_eq!(run.watermark(Watermark(9)), BTreeMap::from([((10, 1), 1)]));
    run.rows(&[(1, 2, 6), (1, 4, 3)]);
    assert_eq!(run.watermark(Watermark::END), BTreeMap::from([((15, 1), 3)]), "3 ms is in no open window");
}

/// The sums by the definition of windows, of rows that are never late.
fn by_definition(panes: &Panes, rows: &[Row]) -> BTreeMap<(i64, i64), i64> {
    let mut expected = BTreeMap::new();
    for (key, value, time) in rows {
        for end in panes.window_ends(panes.pane_start(*time)) {
            *expected.entry((end, *key)).or_insert(0) += value;
        }
    }
    expected
}

proptest! {
    #[test]
    fn batches_watermarks_and_phases_change_nothing(
        rows in prop::collection::vec((0i64..4, -9i64..9, 0i64..100), 1..60),
        size in 1usize..20, slide_ms in 1i64..8, slides in 1i64..5, two_phases in any::<bool>()
    ) {
        let panes = hop(slide_ms, slide_ms * slides);
        let mut run = match two_phases {
            true => Run(vec![local(panes), windows(panes, None)]),
            false => Run(vec![windows(panes, Some(2))]),
        };
        let mut found = BTreeMap::new();
        for at in (0..rows.len()).step_by(size) {
            found.extend(run.rows(&rows[at..rows.len().min(at + size)]));
            // As far as event time may be without making a row that follows late.
            let next = rows[rows.len().min(at + size)..].iter().map(|row| row.2).min();
            let watermark = next.map_or(Watermark::END, |next| Watermark(next - 1));
            for (window, sum) in run.watermark(watermark) {
                prop_assert!(found.insert(window, sum).is_none(), "window {window:?} came out twice");
            }
        }
        prop_assert_eq!(found, by_definition(&panes, &rows));
    }
}
