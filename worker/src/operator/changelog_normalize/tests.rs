//! What is there is the last row of each key, in memory or on the disk.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use datafusion::execution::memory_pool::{MemoryPool, MemoryReservation};
use proptest::prelude::*;

use super::{ChangelogNormalize, operator::DEAD_MAX};
use crate::operator::{
    link::{Next, Operator as _, Side},
    zset::{
        Any, Both, Event, KEY_GROUPS, Row, Run, ZSet, assert_shares_of_two, batch, memory, memory_of, pool,
        random, schema,
    },
};

/// A key, and its new value; without one the key ends.
type Wish = (i64, Option<i64>);

fn normalize(each: bool, memory: MemoryReservation) -> ChangelogNormalize {
    ChangelogNormalize::new(vec![0], each, &schema(&["k", "v"], true), KEY_GROUPS, memory).unwrap()
}

/// The same, with no more rows in memory than there is room for in so many bytes.
fn on_disk(each: bool, folder: &Path, pool: &Arc<dyn MemoryPool>) -> Any {
    let mut operator = normalize(each, memory_of(pool));
    assert!(operator.keep_on_disk(folder, pool).unwrap());
    Any::One(Box::new(operator))
}

fn rows_of(wishes: &[Wish]) -> Vec<(Row, i64)> {
    // Of a key that ends nothing else is known.
    let row = |(key, value): &Wish| (vec![Some(*key), *value], if value.is_some() { 1 } else { -1 });
    wishes.iter().map(row).collect()
}

fn expected(last: &BTreeMap<i64, Option<i64>>) -> ZSet {
    let there = last.iter().filter(|(_, value)| value.is_some());
    there.map(|(key, value)| (vec![Some(*key), *value], 1)).collect()
}

fn batches() -> impl Strategy<Value = Vec<(Vec<Wish>, usize)>> {
    let wish = (0i64..5, prop::option::of(0i64..3));
    prop::collection::vec((prop::collection::vec(wish, 1..8), 0..3usize), 1..12)
}

proptest! {
    #[test]
    fn what_is_there_is_the_last_row_of_each_key(batches in batches(), each in any::<bool>()) {
        let mut run = Run::new([Some(0), None], || Any::One(Box::new(normalize(each, memory()))));
        let mut last = BTreeMap::new();
        for (wishes, event) in batches {
            run.rows(Side::Left, &batch(&schema(&["k", "v"], true), &rows_of(&wishes)));
            last.extend(wishes);
            prop_assert_eq!(&run.total, &expected(&last));
            run.happen([Event::Nothing, Event::Checkpoint, Event::Restart][event]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn rows_on_the_disk_are_as_good_as_in_memory(batches in batches(), each in any::<bool>(), memory_bytes in 8usize..40) {
        let folder = tempfile::tempdir().unwrap();
        let mut run = Run::new([Some(0), None], || on_disk(each, folder.path(), &pool(memory_bytes << 10)));
        let mut last = BTreeMap::new();
        for (wishes, event) in batches {
            run.rows(Side::Left, &batch(&schema(&["k", "v"], true), &rows_of(&wishes)));
            last.extend(wishes);
            prop_assert_eq!(&run.total, &expected(&last));
            run.happen([Event::Nothing, Event::Checkpoint, Event::Restart][event]);
        }
    }
}

#[test]
fn many_more_rows_than_fit_give_what_they_give_in_memory() {
    const MEMORY_BYTES: usize = 512 << 10;
    const KEYS: i64 = 30_000;
    let (mut random, folder) = (random(), tempfile::tempdir().unwrap());
    let mut below = |end: i64| i64::from(random.next_u32()) % end;
    let (small, large) = (pool(MEMORY_BYTES), pool(usize::MAX));
    let in_memory = || Any::One(Box::new(normalize(false, memory_of(&large))));
    let mut both = Both::new([Some(0), None], in_memory, || on_disk(false, folder.path(), &small));
    for part in 0..20 {
        let mut wishes = Vec::new();
        for _ in 0..4000 {
            let key = if below(8) == 0 { below(200) } else { below(KEYS) };
            wishes.push((key, (below(4) > 0).then(|| below(100))));
        }
        let rows = batch(&schema(&["k", "v"], true), &rows_of(&wishes));
        let event = match part {
            1 | 4 | 18 => Event::Checkpoint,
            10 | 19 => Event::Restart,
            _ => Event::Nothing,
        };
        both.rows(Side::Left, &rows, event, &format!("after batch {part}"));
    }
    assert_shares_of_two(&small, MEMORY_BYTES, &large);
}

#[test]
fn keys_that_have_ended_leave_nothing_behind() {
    let columns = schema(&["k", "v"], true);
    let mut operator = normalize(false, memory());
    for round in 0..4 {
        let keys = round * 20_000..(round + 1) * 20_000;
        for weight in [1, -1] {
            let rows: Vec<(Row, i64)> = keys.clone().map(|key| (vec![Some(key), Some(1)], weight)).collect();
            operator.rows(batch(&columns, &rows), &mut Next::new(&mut [], &mut Vec::new())).unwrap();
        }
    }
    assert_eq!((operator.of_key.len(), operator.key_bytes), (0, 0));
    assert!(operator.rows.count() <= DEAD_MAX, "{} rows are kept", operator.rows.count());
}
