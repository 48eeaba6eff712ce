//! A join puts out what the join of the rows that are there is, whichever came first and whatever was taken back.

use std::{cell::Cell, path::Path, sync::Arc, time::Duration};

use datafusion::{
    execution::memory_pool::{MemoryPool, MemoryReservation},
    logical_expr::Operator,
    physical_expr::{
        PhysicalExpr,
        expressions::{BinaryExpr, Column},
    },
};
use proptest::prelude::*;
use thalweg_plan::stream::JoinKind;

use super::{Join, JoinPlan};
use crate::operator::{
    expiry::Expiry,
    link::Side,
    zset::{
        Any, Both, Event, KEY_GROUPS, Row, Run, Table, ZSet, assert_shares_of_two, batch, memory, memory_of,
        pool, random, schema,
    },
};

const KINDS: [JoinKind; 8] = [
    JoinKind::Inner,
    JoinKind::Left,
    JoinKind::Right,
    JoinKind::Full,
    JoinKind::LeftSemi,
    JoinKind::LeftAnti,
    JoinKind::RightSemi,
    JoinKind::RightAnti,
];

/// What is joined: `l.k = r.k`, and `l.v < r.w` where asked for.
#[derive(Debug, Clone, Copy)]
struct Case {
    kind: JoinKind,
    filtered: bool,
    nulls_equal: bool,
    updating: [bool; 2],
}

impl Case {
    fn inputs(&self) -> [arrow::datatypes::SchemaRef; 2] {
        [schema(&["k", "v"], self.updating[0]), schema(&["k", "w"], self.updating[1])]
    }

    fn join(&self) -> Any {
        Any::Pair(Box::new(self.operator()))
    }

    /// The same, with no more rows in memory than there is room for in so many bytes.
    fn on_disk(&self, folder: &Path, pool: &Arc<dyn MemoryPool>) -> Join {
        let mut join = self.with_memory(memory_of(pool));
        assert!(join.keep_on_disk(folder, pool).unwrap());
        join
    }

    fn operator(&self) -> Join {
        self.with_memory(memory())
    }

    fn with_memory(&self, memory: MemoryReservation) -> Join {
        let updating = self.updating[0] || self.updating[1] || self.kind.takes_back();
        let names: &[&str] = match self.kind.gives_pairs() {
            true => &["k", "v", "k2", "w"],
            false => &["k", "x"],
        };
        let key = || vec![Arc::new(Column::new("k", 0)) as Arc<dyn PhysicalExpr>];
        let less = || {
            let (left, right) = (Arc::new(Column::new("v", 1)), Arc::new(Column::new("w", 3)));
            Arc::new(BinaryExpr::new(left, Operator::Lt, right)) as Arc<dyn PhysicalExpr>
        };
        let plan = JoinPlan {
            kind: self.kind,
            keys: [key(), key()],
            nulls_equal: self.nulls_equal,
            filter: self.filtered.then(less),
            schema: schema(names, updating),
        };
        Join::new(plan, &self.inputs(), KEY_GROUPS, memory).unwrap()
    }

    fn holds(&self, left: &Row, right: &Row) -> bool {
        let same = left[0] == right[0] && (left[0].is_some() || self.nulls_equal);
        let less = matches!((left[1], right[1]), (Some(left), Some(right)) if left < right);
        same && (less || !self.filtered)
    }

    /// The join by its definition.
    fn expected(&self, left: &ZSet, right: &ZSet) -> ZSet {
        use JoinKind::{Full, Left, LeftAnti, LeftSemi, Right, RightAnti, RightSemi};
        let mut expected = ZSet::new();
        let mut add = |row: Row, count: i64| *expected.entry(row).or_default() += count;
        for (row, count) in left {
            let partners: Vec<_> = right.iter().filter(|(other, _)| self.holds(row, other)).collect();
            if self.kind.gives_pairs() {
                partners.iter().for_each(|(other, more)| add([&row[..], &other[..]].concat(), count * *more));
            }
            match (self.kind, partners.is_empty()) {
                (Left | Full, true) => add([&row[..], &[None, None]].concat(), *count),
                (LeftSemi, false) | (LeftAnti, true) => add(row.clone(), *count),
                _ => {}
            }
        }
        for (row, count) in right {
            let alone = !left.iter().any(|(other, _)| self.holds(other, row));
            match (self.kind, alone) {
                (Right | Full, true) => add([&[None, None], &row[..]].concat(), *count),
                (RightSemi, false) | (RightAnti, true) => add(row.clone(), *count),
                _ => {}
            }
        }
        expected
    }
}

fn case() -> impl Strategy<Value = Case> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (prop::sample::select(&KINDS[..]), flags).prop_map(|(kind, (filtered, nulls_equal, left, right))| Case {
        kind,
        filtered,
        nulls_equal,
        updating: [left, right],
    })
}

/// Rows of the left or the right side: key, value, and whether such a row is to go.
type Wishes = (bool, Vec<(Option<i64>, Option<i64>, bool)>);

fn batches() -> impl Strategy<Value = Vec<(Wishes, Event)>> {
    let value = |upto| prop_oneof![1 => Just(None), 5 => (0..upto).prop_map(Some)];
    let wish = (value(3i64), value(4i64), any::<bool>());
    let event =
        prop_oneof![4 => Just(Event::Nothing), 1 => Just(Event::Checkpoint), 1 => Just(Event::Restart)];
    prop::collection::vec(((any::<bool>(), prop::collection::vec(wish, 1..8)), event), 1..12)
}

impl Case {
    /// Lets batches come to an operator, which gives the join of the rows that are there.
    fn check(&self, batches: Vec<(Wishes, Event)>, make: impl Fn() -> Any) -> Result<(), TestCaseError> {
        let inputs = self.inputs();
        let mut run = Run::new([Some(0), Some(0)], make);
        let mut tables = [Table::default(), Table::default()];
        for ((is_right, wishes), event) in batches {
            let at = usize::from(is_right);
            let mut change =
                |(key, value, remove)| tables[at].change(vec![key, value], remove && self.updating[at]);
            let changes: Vec<(Row, i64)> = wishes.into_iter().map(&mut change).collect();
            let side = if is_right { Side::Right } else { Side::Left };
            run.rows(side, &batch(&inputs[at], &changes));
            prop_assert_eq!(&run.total, &self.expected(&tables[0].rows, &tables[1].rows));
            run.happen(event);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn it_is_the_join_of_the_rows_that_are_there(case in case(), batches in batches()) {
        case.check(batches, || case.join())?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn rows_on_the_disk_are_as_good_as_in_memory(case in case(), batches in batches(), memory_bytes in 16usize..80) {
        let folder = tempfile::tempdir().unwrap();
        case.check(batches, || Any::Pair(Box::new(case.on_disk(folder.path(), &pool(memory_bytes << 10)))))?;
    }
}

/// Many times more rows than fit: pairs alone, rows whose partners are counted one by one, and such that are told by their key.
#[test]
fn many_more_rows_than_fit_give_what_they_give_in_memory() {
    const MEMORY_BYTES: usize = 512 << 10;
    const KEYS: i64 = 20_000;
    let mut random = random();
    let mut below = |end: i64| i64::from(random.next_u32()) % end;
    let cases = [
        (JoinKind::Inner, false, [false, true]),
        (JoinKind::Full, true, [true, false]),
        (JoinKind::LeftAnti, false, [true, true]),
    ];
    for (kind, filtered, updating) in cases {
        let case = Case { kind, filtered, nulls_equal: false, updating };
        let (inputs, folder) = (case.inputs(), tempfile::tempdir().unwrap());
        let (small, large) = (pool(MEMORY_BYTES), pool(usize::MAX));
        let in_memory = || Any::Pair(Box::new(case.with_memory(memory_of(&large))));
        let on_disk = || Any::Pair(Box::new(case.on_disk(folder.path(), &small)));
        let mut both = Both::new([Some(0), Some(0)], in_memory, on_disk);
        let mut tables = [Table::default(), Table::default()];
        for part in 0..12 {
            let at = usize::from(part % 3 == 0);
            let mut changes = Vec::new();
            for _ in 0..4000 {
                let key = if below(8) == 0 { below(200) } else { below(KEYS) };
                let remove = case.updating[at] && below(3) == 0;
                changes.push(tables[at].change(vec![Some(key), Some(below(10))], remove));
            }
            let (side, rows) = ([Side::Left, Side::Right][at], batch(&inputs[at], &changes));
            let event = match part {
                1 | 4 | 10 => Event::Checkpoint,
                6 | 11 => Event::Restart,
                _ => Event::Nothing,
            };
            both.rows(side, &rows, event, &format!("{case:?} after batch {part}"));
        }
        assert_shares_of_two(&small, MEMORY_BYTES, &large);
    }
}

/// More pairs than go on at once, of one key.
#[test]
fn a_key_with_many_rows_gives_all_its_pairs() {
    let case = Case { kind: JoinKind::Inner, filtered: false, nulls_equal: false, updating: [false; 2] };
    let [left, right] = case.inputs();
    let mut run = Run::new([Some(0), Some(0)], || case.join());
    let rows =
        |count: i64| -> Vec<(Row, i64)> { (0..count).map(|at| (vec![Some(1), Some(at)], 1)).collect() };
    run.rows(Side::Left, &batch(&left, &rows(9000)));
    run.rows(Side::Right, &batch(&right, &rows(3)));
    assert_eq!(run.total.len(), 27_000);
}

#[test]
fn rows_and_keys_that_are_gone_leave_nothing_behind() {
    let case = Case { kind: JoinKind::Left, filtered: false, nulls_equal: false, updating: [true, true] };
    let [left, right] = case.inputs();
    let mut run = Run::new([Some(0), Some(0)], || case.join());
    for round in 0..3 {
        let keys = round * 30_000..(round + 1) * 30_000;
        for weight in [1, -1] {
            let rows: Vec<(Row, i64)> = keys.clone().map(|key| (vec![Some(key), Some(1)], weight)).collect();
            run.rows(Side::Left, &batch(&left, &rows));
            run.rows(Side::Right, &batch(&right, &rows));
            run.checkpoint();
        }
    }
    assert_eq!(run.total, ZSet::new());
    run.rows(Side::Left, &batch(&left, &[(vec![Some(5), Some(1)], 1)]));
    run.restart();
    run.rows(Side::Right, &batch(&right, &[(vec![Some(5), Some(2)], 1)]));
    assert_eq!(run.total, ZSet::from([(vec![Some(5), Some(1), Some(5), Some(2)], 1)]));
}

thread_local! {
    static NOW_MS: Cell<i64> = const { Cell::new(0) };
}

#[test]
fn rows_that_do_not_change_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [(false, false), (true, false), (false, true), (true, true)];
    for (is_updating, is_on_disk) in cases {
        NOW_MS.set(0);
        let case =
            Case { kind: JoinKind::Inner, filtered: false, nulls_equal: false, updating: [is_updating; 2] };
        let [left, right] = case.inputs();
        let mut run = Run::new([Some(0), Some(0)], || {
            let mut join = case.operator();
            join.forget_after(Expiry::by_clock(Duration::from_millis(100), || NOW_MS.get()));
            if is_on_disk {
                assert!(join.keep_on_disk(folder.path(), &pool(8 << 10)).unwrap());
            }
            Any::Pair(Box::new(join))
        });
        let row = |key: i64, value: i64| (vec![Some(key), Some(value)], 1);
        run.rows(Side::Left, &batch(&left, &[row(1, 1), row(2, 1)]));
        NOW_MS.set(50);
        run.rows(Side::Left, &batch(&left, &[row(1, 2)]));
        run.checkpoint();
        NOW_MS.set(120);
        run.rows(Side::Right, &batch(&right, &[row(1, 9), row(2, 9)]));
        let young = ZSet::from([(vec![Some(1), Some(2), Some(1), Some(9)], 1)]);
        assert_eq!(run.total, young, "updating: {is_updating}, on disk: {is_on_disk}");
        // What was forgotten is in no checkpoint either.
        run.restart();
        run.rows(Side::Right, &batch(&right, &[row(2, 8)]));
        assert_eq!(run.total, young, "updating: {is_updating}, on disk: {is_on_disk}");
    }
}
