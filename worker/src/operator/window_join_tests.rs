//! Joins of windows by a plan, and that a barrier changes nothing.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::Schema};
use datafusion::{
    common::{JoinType, NullEquality},
    execution::TaskContext,
    physical_expr::{PhysicalExpr, expressions::col},
    physical_plan::{
        ExecutionPlan,
        empty::EmptyExec,
        joins::{HashJoinExec, PartitionMode},
    },
};
use proptest::prelude::*;

use super::{
    held_rows::HeldRows,
    link::Side,
    sub_plan::SubPlan,
    testing::{Any, Input, KEY_GROUPS, batch, memory, run, run_restored, schema},
    two_sides::{BatchJoin, LEFT, RIGHT, TwoSides},
    window_join::WindowJoin,
};
use crate::state::key_group::key_groups;

/// Key, value, end of the window.
type Row = [i64; 3];

fn join() -> Any {
    let rows = schema(&["k", "v"], "e");
    let side = || Arc::new(EmptyExec::new(rows.clone())) as Arc<dyn ExecutionPlan>;
    let column = |name| col(name, &rows).unwrap();
    let on = ["k", "e"].map(|name| (column(name), column(name))).to_vec();
    let plan = HashJoinExec::try_new(
        side(),
        side(),
        on,
        None,
        &JoinType::Full,
        None,
        PartitionMode::CollectLeft,
        NullEquality::NullEqualsNothing,
        false,
    );
    let plan: Arc<dyn ExecutionPlan> = Arc::new(plan.unwrap());
    let columns = plan.schema();
    let columns = Arc::new(Schema::new(columns.fields().clone()));
    let plan = SubPlan::new(plan, &TaskContext::default(), columns).unwrap();
    let keys = || -> Vec<Arc<dyn PhysicalExpr>> { vec![column("k"), column("e")] };
    let held = |table| HeldRows::new(2, keys(), table, KEY_GROUPS);
    let sides = TwoSides { left: held(LEFT), right: held(RIGHT), inputs: [rows.clone(), rows.clone()] };
    Any::Two(Box::new(WindowJoin::new(BatchJoin::new(plan).unwrap(), sides, memory())))
}

fn group_of(_: Side, rows: &RecordBatch, row: usize) -> u16 {
    let key = |at: usize| rows.column(at).slice(row, 1);
    key_groups(&[key(0), key(2)], 1, KEY_GROUPS).unwrap()[0]
}

fn by_definition(left: &[Row], right: &[Row]) -> Vec<Vec<Option<i64>>> {
    let same = |a: &Row, b: &Row| a[0] == b[0] && a[2] == b[2];
    let mut joined = Vec::new();
    for a in left {
        let matches: Vec<&Row> = right.iter().filter(|b| same(a, b)).collect();
        let values = |b: Option<&Row>| {
            let b = (0..3).map(|at| b.map(|b| b[at]));
            a.iter().copied().map(Some).chain(b).collect::<Vec<_>>()
        };
        joined.extend(matches.iter().map(|b| values(Some(b))));
        if matches.is_empty() {
            joined.push(values(None));
        }
    }
    let alone = right.iter().filter(|b| !left.iter().any(|a| same(a, b)));
    joined.extend(alone.map(|b| [None; 3].into_iter().chain(b.iter().copied().map(Some)).collect()));
    joined.sort();
    joined
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn batches_watermarks_and_barriers_change_nothing(
        rows in prop::collection::vec((any::<bool>(), 0i64..3, 0i64..9, 1i64..6), 1..30), size in 1usize..8
    ) {
        let windows = schema(&["k", "v"], "e");
        let (mut left, mut right, mut inputs) = (Vec::new(), Vec::new(), Vec::new());
        for (at, part) in rows.chunks(size).enumerate() {
            for side in [Side::Left, Side::Right] {
                let of_side = part.iter().filter(|row| row.0 == (side == Side::Left));
                let of_side: Vec<Row> = of_side.map(|(_, key, value, end)| [*key, *value, end * 10]).collect();
                match side {
                    Side::Left => left.extend_from_slice(&of_side),
                    Side::Right => right.extend_from_slice(&of_side),
                }
                if !of_side.is_empty() {
                    inputs.push(Input::Rows(side, batch(&windows, &of_side)));
                }
            }
            // The last millisecond before the first window that is still to come.
            if let Some(first) = rows.chunks(size).skip(at + 1).flatten().map(|row| row.3 * 10).min() {
                inputs.push(Input::Watermark(first - 2));
            }
        }
        let expected = by_definition(&left, &right);
        prop_assert_eq!(&run(join, &inputs), &expected);
        for restored in run_restored(join, &inputs, group_of) {
            prop_assert_eq!(&restored, &expected);
        }
    }
}
