//! A temporal join finds the last version that began at or before a row's time, whatever comes when and whatever barriers do.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::{
    logical_expr::Operator as SqlOperator,
    physical_expr::{
        PhysicalExpr,
        expressions::{BinaryExpr, Column},
    },
};
use proptest::prelude::*;
use thalweg_plan::stream::changelog::with_weight;

use super::{TemporalJoin, TemporalPlan, Versions};
use crate::{
    operator::{
        changelog,
        held_rows::HeldRows,
        link::Side,
        testing::{Any, Input, KEY_GROUPS, batch, memory, run, run_restored, schema},
        two_sides::{LEFT, RIGHT},
    },
    state::key_group::key_groups,
};

/// Key, value, time.
type Row = [i64; 3];

fn columns() -> arrow::datatypes::SchemaRef {
    schema(&["k", "v"], "t")
}

fn join(keeps_all: bool, filtered: bool, updating: bool) -> Any {
    let rows = columns();
    let versions = if updating { with_weight(&rows) } else { Arc::clone(&rows) };
    let key = || vec![Arc::new(Column::new("k", 0)) as Arc<dyn PhysicalExpr>];
    let mut out = rows.fields().to_vec();
    out.extend([1, 2].map(|at| rows.fields()[at].clone()));
    let less = || {
        let (left, right) = (Arc::new(Column::new("v", 1)), Arc::new(Column::new("v", 3)));
        Arc::new(BinaryExpr::new(left, SqlOperator::Lt, right)) as Arc<dyn PhysicalExpr>
    };
    let plan = TemporalPlan {
        keeps_all,
        keys: key(),
        time: 2,
        predicate: None,
        picks: vec![1, 2],
        filter: filtered.then(less),
        input: Arc::clone(&rows),
        schema: Arc::new(arrow::datatypes::Schema::new(out)),
    };
    let held = HeldRows::new(2, key(), LEFT, KEY_GROUPS);
    let versions = Versions::new(key(), 2, &versions, RIGHT, KEY_GROUPS).unwrap();
    Any::Two(Box::new(TemporalJoin::new(plan, held, versions, memory())))
}

fn group_of(_: Side, rows: &RecordBatch, row: usize) -> u16 {
    key_groups(&[rows.column(0).slice(row, 1)], 1, KEY_GROUPS).unwrap()[0]
}

fn by_definition(left: &[Row], right: &[Row], keeps_all: bool, filtered: bool) -> Vec<Vec<Option<i64>>> {
    let mut joined = Vec::new();
    for row in left {
        // Of versions that begin at the same time the last one counts.
        let known = right.iter().filter(|version| version[0] == row[0] && version[2] <= row[2]);
        let version = known.max_by_key(|version| version[2]);
        let version = version.filter(|version| !filtered || row[1] < version[1]);
        let found = match version {
            Some(version) => vec![Some(version[1]), Some(version[2])],
            None if keeps_all => vec![None, None],
            None => continue,
        };
        joined.push(row.iter().copied().map(Some).chain(found).collect());
    }
    joined.sort();
    joined
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn batches_watermarks_and_barriers_change_nothing(
        rows in prop::collection::vec((any::<bool>(), 0i64..3, 0i64..9, 0i64..40), 1..40),
        size in 1usize..8, keeps_all in any::<bool>(), filtered in any::<bool>()
    ) {
        let columns = columns();
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
        let expected = by_definition(&left, &right, keeps_all, filtered);
        let make = || join(keeps_all, filtered, false);
        prop_assert_eq!(&run(make, &inputs), &expected);
        for restored in run_restored(make, &inputs, group_of) {
            prop_assert_eq!(&restored, &expected);
        }
    }
}

/// Versions with weights.
fn changes(rows: &[(Row, i64)]) -> RecordBatch {
    let (rows, weights): (Vec<Row>, Vec<i64>) = rows.iter().copied().unzip();
    let plain = batch(&columns(), &rows);
    changelog::batch(&with_weight(&columns()), plain.columns().to_vec(), weights).unwrap()
}

#[test]
fn a_version_is_valid_until_the_next_one_and_not_after_it_was_deleted() {
    let row = |key, time| [key, 0, time];
    let inputs = [
        Input::Rows(Side::Right, changes(&[([1, 10, 0], 1), ([2, 20, 0], 1), ([3, 30, 0], 1)])),
        // Replaced, with the old row before or behind the new one; replaced in place; deleted.
        Input::Rows(
            Side::Right,
            changes(&[([1, 10, 0], -1), ([1, 11, 5], 1), ([2, 21, 5], 1), ([2, 20, 0], -1)]),
        ),
        Input::Rows(Side::Right, changes(&[([3, 31, 0], 1), ([3, 30, 0], -1)])),
        Input::Rows(Side::Left, batch(&columns(), &[row(1, 4), row(1, 5), row(2, 4), row(2, 6), row(3, 9)])),
        Input::Watermark(7),
        Input::Rows(Side::Right, changes(&[([1, 11, 5], -1)])),
        Input::Rows(Side::Left, batch(&columns(), &[row(1, 12), row(2, 12)])),
    ];
    let out = |key, time, found: Option<(i64, i64)>| {
        let (value, begin) = found.unzip();
        vec![Some(key), Some(0), Some(time), value, begin]
    };
    let expected = vec![
        out(1, 4, Some((10, 0))),
        out(1, 5, Some((11, 5))),
        out(1, 12, None),
        out(2, 4, Some((20, 0))),
        out(2, 6, Some((21, 5))),
        out(2, 12, Some((21, 5))),
        out(3, 9, Some((31, 0))),
    ];
    assert_eq!(run(|| join(true, false, true), &inputs), expected);
    for restored in run_restored(|| join(true, false, true), &inputs, group_of) {
        assert_eq!(restored, expected);
    }
}
