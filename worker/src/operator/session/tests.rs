//! Which rows are of one session, when sessions come out, and that a barrier changes nothing.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema},
};
use datafusion::{
    functions_aggregate::{count::count_udaf, sum::sum_udaf},
    physical_expr::{aggregate::AggregateExprBuilder, expressions::col},
    physical_plan::{
        ExecutionPlan,
        aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy},
        empty::EmptyExec,
    },
};
use proptest::prelude::*;
use thalweg_plan::{panes::WindowBound, stream::OutputColumn};

use super::{AssignSessions, SessionAggregate, Shape};
use crate::{
    operator::{
        link::Side,
        testing::{Any, Input, KEY_GROUPS, TIME, batch, memory, rows_of, run, run_restored, schema},
        window_aggregate::Kernel,
    },
    state::key_group::key_groups,
    watermark::Watermark,
};

const GAP_MS: i64 = 10;

/// Key, value, time.
type Row = [i64; 3];

/// Key, start, end, `SUM(v)` and `COUNT(v)`.
fn aggregate() -> Any {
    let rows = schema(&["k", "v"], "t");
    let argument = || vec![col("v", &rows).unwrap()];
    let sum = AggregateExprBuilder::new(sum_udaf(), argument()).schema(rows.clone()).alias("s");
    let count = AggregateExprBuilder::new(count_udaf(), argument()).schema(rows.clone()).alias("c");
    let functions = [sum, count].map(|function| Arc::new(function.build().unwrap())).to_vec();
    let keys = PhysicalGroupBy::new_single(vec![(col("k", &rows).unwrap(), "k".to_owned())]);
    let input = Arc::new(EmptyExec::new(rows.clone()));
    let plan = AggregateExec::try_new(AggregateMode::Single, keys, functions, vec![None, None], input, rows);
    let plan: Arc<dyn ExecutionPlan> = Arc::new(plan.unwrap());
    let long = |name| Field::new(name, DataType::Int64, true);
    let columns =
        [long("k"), Field::new("f", TIME, false), Field::new("e", TIME, false), long("s"), long("c")];
    let output = vec![
        OutputColumn::Key(0),
        OutputColumn::Bound(WindowBound::Start),
        OutputColumn::Bound(WindowBound::End),
        OutputColumn::Aggregate(0),
        OutputColumn::Aggregate(1),
    ];
    let (kernel, columns) = (Kernel::of(&plan).unwrap(), Arc::new(Schema::new(columns.to_vec())));
    let made = SessionAggregate::new(kernel, GAP_MS, 2, output, columns, KEY_GROUPS, memory());
    Any::One(Box::new(made.unwrap()))
}

/// The row, start and end.
fn assign() -> Any {
    let rows = schema(&["k", "v"], "t");
    let mut fields: Vec<_> = rows.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.extend(["f", "e"].map(|name| Field::new(name, TIME, false)));
    let shape =
        Shape { gap_ms: GAP_MS, time: 2, keys: vec![0], bounds: vec![WindowBound::Start, WindowBound::End] };
    let made = AssignSessions::new(shape, rows, Arc::new(Schema::new(fields)), KEY_GROUPS, memory());
    Any::One(Box::new(made.unwrap()))
}

fn input(rows: &[Row]) -> Input {
    Input::Rows(Side::Left, batch(&schema(&["k", "v"], "t"), rows))
}

fn group_of(_: Side, rows: &RecordBatch, row: usize) -> u16 {
    key_groups(&[rows.column(0).slice(row, 1)], 1, KEY_GROUPS).unwrap()[0]
}

fn some(rows: &[&[i64]]) -> Vec<Vec<Option<i64>>> {
    let mut rows: Vec<Vec<Option<i64>>> =
        rows.iter().map(|row| row.iter().map(|value| Some(*value)).collect()).collect();
    rows.sort();
    rows
}

#[test]
fn a_row_between_two_sessions_makes_them_one() {
    let mut sessions = aggregate();
    let rows = schema(&["k", "v"], "t");
    sessions.rows(Side::Left, batch(&rows, &[[1, 1, 0], [1, 2, 20], [2, 4, 5]]));
    // Exactly the gap away from both.
    sessions.rows(Side::Left, batch(&rows, &[[1, 8, 10]]));
    assert!(rows_of(&sessions.watermark(Watermark(14))).is_empty());
    assert_eq!(rows_of(&sessions.watermark(Watermark(15))), some(&[&[2, 5, 15, 4, 1]]));
    assert_eq!(rows_of(&sessions.watermark(Watermark::END)), some(&[&[1, 0, 30, 11, 3]]));
}

#[test]
fn a_late_row_makes_no_session_of_its_own_but_joins_one_that_is_open() {
    let mut sessions = aggregate();
    let rows = schema(&["k", "v"], "t");
    sessions.rows(Side::Left, batch(&rows, &[[1, 1, 30]]));
    sessions.watermark(Watermark(35));
    sessions.rows(Side::Left, batch(&rows, &[[1, 2, 25], [1, 4, 14], [2, 8, 25]]));
    assert_eq!(rows_of(&sessions.watermark(Watermark::END)), some(&[&[1, 25, 40, 3, 2]]));
}

#[test]
fn event_time_behind_sessions_is_a_millisecond_late() {
    for mut sessions in [aggregate(), assign()] {
        let out = sessions.watermark(Watermark(7));
        assert!(matches!(out[..], [crate::operator::Element::Watermark(Watermark(6))]));
    }
}

/// The sessions of rows by their definition: rows of a key by time, cut where the pause is longer than the gap.
fn by_definition(rows: &[Row]) -> Vec<(i64, Vec<Row>)> {
    let mut of_key: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
    rows.iter().for_each(|row| of_key.entry(row[0]).or_default().push(*row));
    let mut sessions = Vec::new();
    for (key, mut rows) in of_key {
        rows.sort_by_key(|row| row[2]);
        sessions.extend(rows.chunk_by(|a, b| b[2] - a[2] <= GAP_MS).map(|session| (key, session.to_vec())));
    }
    sessions
}

fn inputs(rows: &[Row], size: usize) -> Vec<Input> {
    let mut inputs = Vec::new();
    for at in (0..rows.len()).step_by(size) {
        inputs.push(input(&rows[at..rows.len().min(at + size)]));
        // As far as event time may be without making a row that follows late.
        if let Some(next) = rows[rows.len().min(at + size)..].iter().map(|row| row[2]).min() {
            inputs.push(Input::Watermark(next - 1));
        }
    }
    inputs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn batches_watermarks_and_barriers_change_nothing(
        rows in prop::collection::vec((0i64..3, -9i64..9, 0i64..200), 1..40), size in 1usize..20
    ) {
        let rows: Vec<Row> = rows.into_iter().map(|(key, value, time)| [key, value, time]).collect();
        let (mut sums, mut each) = (Vec::new(), Vec::new());
        for (key, session) in by_definition(&rows) {
            let (start, end) = (session[0][2], session[session.len() - 1][2] + GAP_MS);
            let sum: i64 = session.iter().map(|row| row[1]).sum();
            sums.push(vec![key, start, end, sum, session.len() as i64]);
            each.extend(session.iter().map(|[key, value, time]| vec![*key, *value, *time, start, end]));
        }
        let sums = some(&sums.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let each = some(&each.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let inputs = inputs(&rows, size);
        prop_assert_eq!(&run(aggregate, &inputs), &sums);
        prop_assert_eq!(&run(assign, &inputs), &each);
        for restored in run_restored(aggregate, &inputs, group_of) {
            prop_assert_eq!(&restored, &sums);
        }
        for restored in run_restored(assign, &inputs, group_of) {
            prop_assert_eq!(&restored, &each);
        }
    }
}
