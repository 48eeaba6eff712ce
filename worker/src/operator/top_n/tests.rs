//! What comes out is the first rows of those that are there.

use std::{cell::Cell, collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use arrow::compute::SortOptions;
use datafusion::{
    execution::memory_pool::{MemoryPool, MemoryReservation},
    physical_expr::{PhysicalExpr, expressions::Column},
};
use proptest::prelude::*;

use super::{TopN, TopNPlan};
use crate::operator::{
    expiry::Expiry,
    link::{Next, Operator as _, Side},
    sort_order::SortOrder,
    zset::{
        Any, Both, Event, KEY_GROUPS, Row, Run, Table, ZSet, assert_shares_of_two, batch, memory, memory_of,
        pool, random, schema,
    },
};

#[derive(Debug, Clone, Copy)]
struct Case {
    skip: usize,
    fetch: usize,
    descending: bool,
    with_rank: bool,
    updating: bool,
}

impl Case {
    fn top_n(&self) -> Any {
        Any::One(Box::new(self.operator()))
    }

    /// The same, with no more rows in memory than there is room for in so many bytes.
    fn on_disk(&self, folder: &Path, pool: &Arc<dyn MemoryPool>) -> Any {
        let mut top_n = self.with_memory(memory_of(pool));
        assert!(top_n.keep_on_disk(folder, pool).unwrap());
        Any::One(Box::new(top_n))
    }

    fn operator(&self) -> TopN {
        self.with_memory(memory())
    }

    fn with_memory(&self, memory: MemoryReservation) -> TopN {
        let column = |name: &str, at| Arc::new(Column::new(name, at)) as Arc<dyn PhysicalExpr>;
        let options = SortOptions { descending: self.descending, nulls_first: false };
        // Rows that are equal in the order are equal altogether, so that one answer is right.
        let order_by = SortOrder::new(vec![(column("v", 1), options)]);
        let names: &[&str] = if self.with_rank { &["k", "v", "place"] } else { &["k", "v"] };
        let plan = TopNPlan {
            partition_by: vec![column("k", 0)],
            order_by,
            skip: self.skip,
            fetch: self.fetch,
            with_rank: self.with_rank,
            schema: schema(names, true),
        };
        let input = schema(&["k", "v"], self.updating);
        TopN::new(plan, &input, KEY_GROUPS, memory).unwrap()
    }

    /// The first rows by their definition.
    fn expected(&self, rows: &ZSet) -> ZSet {
        let mut partitions: BTreeMap<Option<i64>, Vec<&Row>> = BTreeMap::new();
        for (row, count) in rows {
            (0..*count).for_each(|_| partitions.entry(row[0]).or_default().push(row));
        }
        let mut expected = ZSet::new();
        for rows in partitions.values_mut() {
            rows.sort_by_key(|row| (row[1].is_none(), row[1].map(|v| if self.descending { -v } else { v })));
            for (place, row) in rows.iter().enumerate().skip(self.skip).take(self.fetch) {
                let mut row = (*row).clone();
                row.extend(self.with_rank.then_some(Some(place as i64 + 1)));
                *expected.entry(row).or_default() += 1;
            }
        }
        expected
    }
}

fn case() -> impl Strategy<Value = Case> {
    (0usize..3, 0usize..4, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(skip, fetch, descending, with_rank, updating)| Case {
            skip,
            fetch,
            descending,
            with_rank,
            updating,
        },
    )
}

/// Rows of a key and a value, or wishes that such a row goes, and what happens behind each batch of them.
type Batches = Vec<(Vec<(i64, Option<i64>, bool)>, u8)>;

fn batches() -> impl Strategy<Value = Batches> {
    let wish = (0i64..3, prop::option::of(0i64..9), any::<bool>());
    prop::collection::vec((prop::collection::vec(wish, 1..10), 0..6u8), 1..12)
}

impl Case {
    /// Lets batches come to an operator, which gives what is the first of the rows that are there.
    fn check(&self, batches: Batches, make: impl Fn() -> Any) -> Result<(), TestCaseError> {
        let input = schema(&["k", "v"], self.updating);
        let mut run = Run::new([Some(0), None], make);
        let mut table = Table::default();
        for (wishes, event) in batches {
            let mut change =
                |(key, value, remove)| table.change(vec![Some(key), value], remove && self.updating);
            let changes: Vec<(Row, i64)> = wishes.into_iter().map(&mut change).collect();
            run.rows(Side::Left, &batch(&input, &changes));
            prop_assert_eq!(&run.total, &self.expected(&table.rows));
            run.happen(match event {
                0 => Event::Checkpoint,
                1 => Event::Restart,
                _ => Event::Nothing,
            });
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn they_are_the_first_of_the_rows_that_are_there(case in case(), batches in batches()) {
        case.check(batches, || case.top_n())?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn rows_on_the_disk_are_as_good_as_in_memory(case in case(), batches in batches(), memory_bytes in 16usize..80) {
        let folder = tempfile::tempdir().unwrap();
        case.check(batches, || case.on_disk(folder.path(), &pool(memory_bytes << 10)))?;
    }
}

#[test]
fn many_more_rows_than_fit_give_what_they_give_in_memory() {
    const MEMORY_BYTES: usize = 512 << 10;
    const KEYS: i64 = 20_000;
    let mut random = random();
    let mut below = |end: i64| i64::from(random.next_u32()) % end;
    for (updating, with_rank) in [(false, true), (true, false)] {
        let case = Case { skip: 1, fetch: 2, descending: true, with_rank, updating };
        let (input, folder) = (schema(&["k", "v"], updating), tempfile::tempdir().unwrap());
        let (small, large) = (pool(MEMORY_BYTES), pool(usize::MAX));
        let in_memory = || Any::One(Box::new(case.with_memory(memory_of(&large))));
        let mut both = Both::new([Some(0), None], in_memory, || case.on_disk(folder.path(), &small));
        let mut table = Table::default();
        for part in 0..14 {
            let mut changes = Vec::new();
            for _ in 0..4000 {
                let key = if below(8) == 0 { below(200) } else { below(KEYS) };
                let remove = updating && below(3) == 0;
                changes.push(table.change(vec![Some(key), Some(below(10))], remove));
            }
            let rows = batch(&input, &changes);
            let event = match part {
                1 | 4 | 12 => Event::Checkpoint,
                7 | 13 => Event::Restart,
                _ => Event::Nothing,
            };
            both.rows(Side::Left, &rows, event, &format!("{case:?} after batch {part}"));
        }
        assert_shares_of_two(&small, MEMORY_BYTES, &large);
    }
}

/// The last row of each key replaces the one before, for much longer than rows are kept.
#[test]
fn rows_that_are_replaced_leave_nothing_behind() {
    let case = Case { skip: 0, fetch: 1, descending: true, with_rank: false, updating: false };
    let input = schema(&["k", "v"], false);
    let mut run = Run::new([Some(0), None], || case.top_n());
    for round in 0..10i64 {
        let rows: Vec<(Row, i64)> =
            (0..10_000).map(|key| (vec![Some(key % 100), Some(round * 10_000 + key)], 1)).collect();
        run.rows(Side::Left, &batch(&input, &rows));
        run.checkpoint();
    }
    run.restart();
    run.rows(Side::Left, &batch(&input, &[(vec![Some(0), Some(0)], 1)]));
    let expected: ZSet = (0..100).map(|key| (vec![Some(key), Some(99_900 + key)], 1)).collect();
    assert_eq!(run.total, expected);
}

#[test]
fn the_first_rows_of_all_without_an_order_are_for_good() {
    let input = schema(&["k", "v"], false);
    let limit = |skip, fetch, order_by: Vec<_>| {
        let order_by = SortOrder::new(order_by);
        let schema = schema(&["k", "v"], false);
        let plan = TopNPlan { partition_by: vec![], order_by, skip, fetch, with_rank: false, schema };
        TopN::new(plan, &input, KEY_GROUPS, memory()).unwrap()
    };
    let is_over = |mut top_n: TopN, rows: i64| {
        let rows: Vec<(Row, i64)> = (0..rows).map(|v| (vec![Some(v), Some(v)], 1)).collect();
        let mut out = Vec::new();
        top_n.rows(batch(&input, &rows), &mut Next::new(&mut [], &mut out)).unwrap();
        top_n.is_over()
    };
    assert!(!is_over(limit(2, 3, vec![]), 4));
    assert!(is_over(limit(2, 3, vec![]), 5));
    let by_v: Arc<dyn PhysicalExpr> = Arc::new(Column::new("v", 1));
    assert!(!is_over(limit(0, 1, vec![(by_v, SortOptions::default())]), 5), "an earlier one may come");
}

thread_local! {
    static NOW_MS: Cell<i64> = const { Cell::new(0) };
}

#[test]
fn partitions_that_do_not_change_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    for (updating, is_on_disk) in [(false, false), (true, false), (false, true), (true, true)] {
        NOW_MS.set(0);
        let case = Case { skip: 0, fetch: 1, descending: true, with_rank: false, updating };
        let input = schema(&["k", "v"], updating);
        let mut run = Run::new([Some(0), None], || {
            let mut top_n = case.operator();
            top_n.forget_after(Expiry::by_clock(Duration::from_millis(100), || NOW_MS.get()));
            if is_on_disk {
                assert!(top_n.keep_on_disk(folder.path(), &pool(8 << 10)).unwrap());
            }
            Any::One(Box::new(top_n))
        });
        let mut add = |at_ms: i64, rows: &[(i64, i64)], restart: bool| {
            NOW_MS.set(at_ms);
            let rows: Vec<(Row, i64)> = rows.iter().map(|(k, v)| (vec![Some(*k), Some(*v)], 1)).collect();
            run.rows(Side::Left, &batch(&input, &rows));
            run.happen(if restart { Event::Restart } else { Event::Checkpoint });
        };
        add(0, &[(1, 5), (2, 5), (3, 5)], false);
        add(50, &[(3, 4)], false);
        add(120, &[(2, 3)], true);
        add(121, &[(2, 4), (3, 2)], false);
        // The second begins anew, beside what is out of it; the third has not been forgotten.
        let out = |k: i64, v: i64| (vec![Some(k), Some(v)], 1);
        assert_eq!(
            run.total,
            ZSet::from([out(1, 5), out(2, 5), out(2, 4), out(3, 5)]),
            "updating: {updating}, on disk: {is_on_disk}"
        );
    }
}
