//! Joins of rows by their times, and that a barrier changes nothing.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema},
};
use datafusion::{
    common::{JoinSide, JoinType, NullEquality},
    execution::TaskContext,
    logical_expr::Operator as SqlOperator,
    physical_expr::{
        PhysicalExpr,
        expressions::{binary, cast, col, lit},
    },
    physical_plan::{
        ExecutionPlan,
        empty::EmptyExec,
        joins::{
            HashJoinExec, PartitionMode,
            utils::{ColumnIndex, JoinFilter},
        },
    },
};
use proptest::prelude::*;

use super::{
    held_rows::HeldRows,
    interval_join::{Bounds, IntervalJoin},
    link::Side,
    sub_plan::SubPlan,
    testing::{Any, Input, KEY_GROUPS, TIME, batch, memory, run, run_restored, schema},
    two_sides::{BatchJoin, LEFT, RIGHT, TwoSides},
};
use crate::state::key_group::key_groups;

/// Key, value, time.
type Row = [i64; 3];

/// `left.t - right.t BETWEEN lower_ms AND upper_ms`
fn filter(bounds: Bounds) -> JoinFilter {
    let times = Arc::new(Schema::new(vec![Field::new("l", TIME, true), Field::new("r", TIME, true)]));
    let time = |name| cast(col(name, &times).unwrap(), &times, DataType::Int64).unwrap();
    let apart = binary(time("l"), SqlOperator::Minus, time("r"), &times).unwrap();
    let lower = binary(Arc::clone(&apart), SqlOperator::GtEq, lit(bounds.lower_ms), &times).unwrap();
    let upper = binary(apart, SqlOperator::LtEq, lit(bounds.upper_ms), &times).unwrap();
    let both = binary(lower, SqlOperator::And, upper, &times).unwrap();
    let columns = [JoinSide::Left, JoinSide::Right].map(|side| ColumnIndex { index: 2, side });
    JoinFilter::new(both, columns.to_vec(), times)
}

fn join(bounds: Bounds) -> Any {
    let rows = schema(&["k", "v"], "t");
    let side = || Arc::new(EmptyExec::new(rows.clone())) as Arc<dyn ExecutionPlan>;
    let key = || col("k", &rows).unwrap();
    let plan = HashJoinExec::try_new(
        side(),
        side(),
        vec![(key(), key())],
        Some(filter(bounds)),
        &JoinType::Inner,
        None,
        PartitionMode::CollectLeft,
        NullEquality::NullEqualsNothing,
        false,
    );
    let plan: Arc<dyn ExecutionPlan> = Arc::new(plan.unwrap());
    let columns = plan.schema();
    let plan = SubPlan::new(plan, &TaskContext::default(), columns).unwrap();
    let keys = || -> Vec<Arc<dyn PhysicalExpr>> { vec![key()] };
    let held = |table| HeldRows::new(2, keys(), table, KEY_GROUPS);
    let sides = TwoSides { left: held(LEFT), right: held(RIGHT), inputs: [rows.clone(), rows.clone()] };
    Any::Two(Box::new(IntervalJoin::new(BatchJoin::new(plan).unwrap(), sides, bounds, memory())))
}

fn group_of(_: Side, rows: &RecordBatch, row: usize) -> u16 {
    key_groups(&[rows.column(0).slice(row, 1)], 1, KEY_GROUPS).unwrap()[0]
}

fn by_definition(left: &[Row], right: &[Row], bounds: Bounds) -> Vec<Vec<Option<i64>>> {
    let meets =
        |a: &Row, b: &Row| a[0] == b[0] && (bounds.lower_ms..=bounds.upper_ms).contains(&(a[2] - b[2]));
    let pairs = left.iter().flat_map(|a| right.iter().filter(|b| meets(a, b)).map(move |b| (a, b)));
    let mut joined: Vec<Vec<Option<i64>>> =
        pairs.map(|(a, b)| a.iter().chain(b).copied().map(Some).collect()).collect();
    joined.sort();
    joined
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn batches_watermarks_and_barriers_change_nothing(
        rows in prop::collection::vec((any::<bool>(), 0i64..3, 0i64..9, 0i64..60), 1..30),
        size in 1usize..8, lower_ms in -15i64..10, length in 0i64..20
    ) {
        let bounds = Bounds { lower_ms, upper_ms: lower_ms + length };
        let columns = schema(&["k", "v"], "t");
        let (mut left, mut right, mut inputs) = (Vec::new(), Vec::new(), Vec::new());
        for (at, part) in rows.chunks(size).enumerate() {
            for side in [Side::Left, Side::Right] {
                let of_side = part.iter().filter(|row| row.0 == (side == Side::Left));
                let of_side: Vec<Row> = of_side.map(|(_, key, value, time)| [*key, *value, *time]).collect();
                match side {
                    Side::Left => left.extend_from_slice(&of_side),
                    Side::Right => right.extend_from_slice(&of_side),
                }
                if !of_side.is_empty() {
                    inputs.push(Input::Rows(side, batch(&columns, &of_side)));
                }
            }
            if let Some(first) = rows.chunks(size).skip(at + 1).flatten().map(|row| row.3).min() {
                inputs.push(Input::Watermark(first - 1));
            }
        }
        let expected = by_definition(&left, &right, bounds);
        prop_assert_eq!(&run(|| join(bounds), &inputs), &expected);
        for restored in run_restored(|| join(bounds), &inputs, group_of) {
            prop_assert_eq!(&restored, &expected);
        }
    }
}
