//! Which rows are among the first, and which were.

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array},
    compute::{cast, take, take_record_batch},
    datatypes::{Field, Schema, SchemaRef},
    row::RowConverter,
};
use datafusion::{error::Result, execution::memory_pool::MemoryReservation, physical_expr::PhysicalExpr};
use thalweg_plan::stream::changelog::{is_updating, with_weight, without_weight};

use super::{
    cold::ColdPartitions,
    rows::{KeptRows, NewRows},
};
use crate::{
    operator::{
        changelog,
        expiry::Expiry,
        key_table::KeyTable,
        link::{Next, Operator},
        marks::Marks,
        sort_order::SortOrder,
        state_log::StateLog,
    },
    state::{Restored, Snapshot, check_schema, key_group::hashes},
};

/// Rows in no list are thrown out when they are more than this and than twice those that are.
const DEAD_MAX: usize = 16 << 10;

/// Rows that are read at once.
const PART_ROWS: usize = 64 << 10;

/// Which rows are kept.
pub struct TopNPlan {
    /// Rows that are equal in these are of one partition.
    pub partition_by: Vec<Arc<dyn PhysicalExpr>>,
    /// The order within it.
    pub order_by: SortOrder,
    /// So many are left out at the front.
    pub skip: usize,
    /// So many come out behind them.
    pub fetch: usize,
    /// Whether the place of each is a column behind its own.
    pub with_rank: bool,
    /// The columns put out.
    pub schema: SchemaRef,
}

/// The first rows of each partition.
pub struct TopN {
    pub(super) plan: TopNPlan,
    /// The columns of rows, without their weight.
    pub(super) columns: SchemaRef,
    pub(super) updating: bool,
    pub(super) converter: Option<RowConverter>,
    pub(super) partitions: KeyTable,
    /// The rows of each partition, in order.
    pub(super) lists: Vec<Vec<u32>>,
    pub(super) rows: KeptRows,
    /// How many rows are in lists.
    pub(super) live: usize,
    pub(super) touched: Marks,
    /// When partitions that do not change are forgotten, and when each has changed last.
    pub(super) expiry: Option<Expiry>,
    pub(super) changed_ms: Vec<i64>,
    /// Where the rows of partitions are that are not in memory; all are where there is no such place.
    pub(super) cold: Option<ColdPartitions>,
    pub(super) log: StateLog,
    pub(super) key_groups: u16,
    pub(super) memory: MemoryReservation,
}

/// What partitions had come out with before a batch.
#[derive(Default)]
struct Before {
    /// All their rows.
    rows: Vec<u32>,
    /// Where those of each touched partition begin.
    starts: Vec<usize>,
}

impl TopN {
    /// The first rows of `input`.
    pub fn new(
        plan: TopNPlan,
        input: &SchemaRef,
        key_groups: u16,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let keys = plan
            .partition_by
            .iter()
            .enumerate()
            .map(|(at, key)| Ok(Field::new(format!("key{at}"), key.data_type(input)?, true)));
        let keys = Arc::new(Schema::new(keys.collect::<Result<Vec<_>>>()?));
        let columns = without_weight(input);
        Ok(Self {
            converter: plan.order_by.converter(input)?,
            plan,
            updating: is_updating(input),
            partitions: KeyTable::numbering(keys)?,
            lists: Vec::new(),
            rows: KeptRows::new(Arc::clone(&columns)),
            columns,
            live: 0,
            touched: Marks::default(),
            expiry: None,
            changed_ms: Vec::new(),
            cold: None,
            log: StateLog::new(0),
            key_groups,
            memory,
        })
    }

    /// Forgets partitions that do not change for long.
    pub fn forget_after(&mut self, expiry: Expiry) {
        self.expiry = Some(expiry);
    }

    /// Forgets the partitions that have not changed for long, when it is time to look for them. What is out of them stays as it is.
    fn forget_old(&mut self) -> Result<()> {
        let Some(oldest_ms) = self.expiry.as_mut().and_then(Expiry::look) else { return Ok(()) };
        if self.cold.is_some() {
            self.forget_cold(oldest_ms);
            return Ok(());
        }
        let is_old = |partition: &usize| self.changed_ms[*partition] <= oldest_ms;
        if !(0..self.lists.len()).any(|partition| is_old(&partition)) {
            return Ok(());
        }
        let young = (0..self.lists.len())
            .filter(|partition| !is_old(partition) && !self.lists[*partition].is_empty());
        let young: Vec<usize> = young.collect();
        self.partitions = KeyTable::numbering(Arc::clone(self.partitions.schema()))?;
        let mut lists = vec![Vec::new(); young.len()];
        let mut changed_ms = vec![0; young.len()];
        for part in young.chunks(PART_ROWS) {
            // Any row of a partition has its key.
            let rows: Vec<u32> = part.iter().map(|partition| self.lists[*partition][0]).collect();
            let rows = RecordBatch::try_new(Arc::clone(&self.columns), self.rows.take(&rows)?)?;
            let keys = partition_keys(&self.plan.partition_by, &rows)?;
            for (partition, number) in part.iter().zip(self.partitions.intern(&keys, part.len())?) {
                lists[*number] = std::mem::take(&mut self.lists[*partition]);
                changed_ms[*number] = self.changed_ms[*partition];
            }
        }
        (self.lists, self.changed_ms) = (lists, changed_ms);
        self.live = self.lists.iter().map(Vec::len).sum();
        self.touched.reset();
        self.drop_rows()?;
        self.rewrite_log()
    }

    fn upto(&self) -> usize {
        self.plan.skip.saturating_add(self.plan.fetch)
    }

    /// The rows of a partition that come out.
    fn window<'a>(&self, list: &'a [u32]) -> &'a [u32] {
        let end = self.upto().min(list.len());
        &list[self.plan.skip.min(end)..end]
    }

    fn take(&mut self, batch: &RecordBatch, mut next: Option<&mut Next<'_>>) -> Result<()> {
        let (rows, weights) = changelog::split(batch)?;
        let count = rows.num_rows();
        let keys = partition_keys(&self.plan.partition_by, &rows)?;
        let known = self.partitions.count();
        let partitions = self.partitions.intern(&keys, count)?.to_vec();
        self.lists.resize(self.partitions.count(), Vec::new());
        if let Some(expiry) = &self.expiry {
            self.changed_ms.resize(self.lists.len(), expiry.now_ms());
        }
        if let Some(first) = self.load(&partitions, known)? {
            // Rows of one partition stay together: one that is taken back may come before it is added.
            let is_first = |row: &u32| first.binary_search(&(partitions[*row as usize] as u32)).is_ok();
            let (first, rest): (Vec<u32>, Vec<u32>) = (0..count as u32).partition(is_first);
            for part in [first, rest] {
                let part = take_record_batch(batch, &UInt32Array::from(part))?;
                self.take(&part, next.as_deref_mut())?;
                self.fit()?;
            }
            return Ok(());
        }
        if let Some(expiry) = &self.expiry {
            let now_ms = expiry.now_ms();
            partitions.iter().for_each(|partition| self.changed_ms[*partition] = now_ms);
            if let Some(cold) = &mut self.cold {
                partitions.iter().for_each(|partition| _ = cold.unsaved_partitions.mark(*partition));
            }
        }
        let new = NewRows {
            sort_keys: self.plan.order_by.keys(&mut self.converter, &rows)?,
            hashes: if self.updating { hashes(rows.columns(), count)? } else { Vec::new() },
            batch: &rows,
        };
        let mut before = Before::default();
        for (row, partition) in partitions.iter().enumerate() {
            for _ in 0..changelog::weight(&weights, row).max(0) {
                self.insert(row, *partition, &new, &mut before);
            }
        }
        // After those that are added, so that what comes and goes in one batch is found.
        for (row, partition) in partitions.iter().enumerate() {
            for _ in changelog::weight(&weights, row)..0 {
                self.remove(row, *partition, &new, &mut before);
            }
        }
        let touched = self.touched.take();
        if touched.is_empty() {
            return Ok(());
        }
        self.store(&new, &partitions, &touched, next.is_some(), batch)?;
        if let Some(next) = next {
            self.emit(&touched, before, next)?;
        }
        self.compact()
    }

    /// Puts a row of the batch in its place. Of equal ones the last to come is the last.
    fn insert(&mut self, row: usize, partition: usize, new: &NewRows<'_>, before: &mut Before) {
        let (key, upto) = (new.sort_key(row), self.upto());
        let list = &self.lists[partition];
        if !self.updating && list.len() >= upto {
            let comes_too_late = match list.last() {
                Some(last) => self.rows.sort_key(*last, new) <= key,
                None => true,
            };
            if comes_too_late {
                return;
            }
        }
        self.touch(partition, before);
        let rows = &self.rows;
        let list = &mut self.lists[partition];
        let at = list.partition_point(|number| rows.sort_key(*number, new) <= key);
        list.insert(at, (rows.len() + row) as u32);
        self.live += 1;
        if !self.updating && list.len() > upto {
            let last = list.pop();
            self.live -= 1;
            if let (Some(cold), Some(last)) = (&mut self.cold, last) {
                cold.left(last);
            }
        }
    }

    fn remove(&mut self, row: usize, partition: usize, new: &NewRows<'_>, before: &mut Before) {
        self.touch(partition, before);
        let (key, hash) = (new.sort_key(row), new.hashes[row]);
        let rows = &self.rows;
        let list = &mut self.lists[partition];
        let first = list.partition_point(|number| rows.sort_key(*number, new) < key);
        let equal = list[first..].iter().take_while(|number| rows.sort_key(**number, new) == key);
        let found = equal.enumerate().find(|(_, number)| rows.hash(**number, new) == hash).map(|(at, _)| at);
        if let Some(at) = found {
            let row = list.remove(first + at);
            self.live -= 1;
            self.cold.iter_mut().for_each(|cold| cold.left(row));
        }
    }

    fn touch(&mut self, partition: usize, before: &mut Before) {
        if self.touched.mark(partition) {
            before.starts.push(before.rows.len());
            before.rows.extend_from_slice(self.window(&self.lists[partition]));
            if let Some(cold) = &mut self.cold {
                cold.unsaved_partitions.mark(partition);
            }
        }
    }

    /// Keeps the rows of a batch that are in lists.
    fn store(
        &mut self,
        new: &NewRows<'_>,
        partitions: &[usize],
        touched: &[u32],
        noted: bool,
        batch: &RecordBatch,
    ) -> Result<()> {
        let first = self.rows.len();
        let noted = noted && !self.cold.as_ref().is_some_and(|cold| cold.rows.all_wanted);
        if self.updating {
            // Their numbers stay as they are.
            let all: Vec<u32> = (0..new.batch.num_rows() as u32).collect();
            self.rows.push(new, &all, new.batch.columns().to_vec())?;
            if let Some(cold) = &mut self.cold {
                partitions.iter().for_each(|partition| cold.added(*partition));
            }
            if noted {
                self.log.push(batch.clone());
            }
            return Ok(());
        }
        let mut place = vec![u32::MAX; new.batch.num_rows()];
        let mut listed = Vec::new();
        for partition in touched {
            for number in &self.lists[*partition as usize] {
                if let Some(row) = (*number as usize).checked_sub(first) {
                    listed.push(row as u32);
                }
            }
        }
        listed.sort_unstable();
        if let Some(cold) = &mut self.cold {
            listed.iter().for_each(|row| cold.added(partitions[*row as usize]));
        }
        listed.iter().enumerate().for_each(|(at, row)| place[*row as usize] = (first + at) as u32);
        for partition in touched {
            for number in &mut self.lists[*partition as usize] {
                if let Some(row) = (*number as usize).checked_sub(first) {
                    *number = place[row];
                }
            }
        }
        let rows = UInt32Array::from(listed);
        let columns = new.batch.columns().iter().map(|column| Ok(take(column, &rows, None)?));
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        self.rows.push(new, rows.values(), columns.clone())?;
        if noted {
            let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
            let schema = Arc::clone(&self.columns);
            self.log.push(RecordBatch::try_new_with_options(schema, columns, &options)?);
        }
        Ok(())
    }

    /// Puts out the difference between what came out before and what comes out now.
    fn emit(&self, touched: &[u32], before: Before, next: &mut Next<'_>) -> Result<()> {
        let mut changes = Vec::new();
        for (at, partition) in touched.iter().enumerate() {
            let end = before.starts.get(at + 1).copied().unwrap_or(before.rows.len());
            let old = &before.rows[before.starts[at]..end];
            let new = self.window(&self.lists[*partition as usize]);
            match self.plan.with_rank {
                true => changes_by_rank(old, new, self.plan.skip, &mut changes),
                false => changes_of_set(old, new, &mut changes),
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let numbers: Vec<u32> = changes.iter().map(|change| change.row).collect();
        let mut columns = self.rows.take(&numbers)?;
        if self.plan.with_rank {
            let ranks: ArrayRef =
                Arc::new(Int64Array::from_iter_values(changes.iter().map(|change| change.rank)));
            columns.push(cast(&ranks, self.plan.schema.field(columns.len()).data_type())?);
        }
        let weights = changes.iter().map(|change| change.weight).collect();
        next.rows(changelog::batch(&self.plan.schema, columns, weights)?)
    }

    fn compact(&mut self) -> Result<()> {
        if self.rows.len() > 2 * self.live + DEAD_MAX {
            self.save()?;
            self.drop_rows()?;
        }
        if self.cold.is_some() {
            return Ok(());
        }
        if self.log.is_long(self.live) { self.rewrite_log() } else { Ok(()) }
    }

    /// Throws out rows in no list. The disk has to have the others already.
    pub(super) fn drop_rows(&mut self) -> Result<()> {
        let live = self.live_rows();
        let mut place = vec![0; self.rows.len()];
        live.iter().enumerate().for_each(|(new, old)| place[*old as usize] = new as u32);
        self.rows.keep(&live)?;
        for number in self.lists.iter_mut().flatten() {
            *number = place[*number as usize];
        }
        self.cold.iter_mut().for_each(|cold| cold.keep_rows(&live));
        Ok(())
    }

    /// Replaces the log by what is there.
    fn rewrite_log(&mut self) -> Result<()> {
        self.log.clear();
        for part in self.live_rows_repeated().chunks(PART_ROWS) {
            let mut columns = self.rows.take(part)?;
            let mut schema = Arc::clone(&self.columns);
            if self.updating {
                schema = with_weight(&schema);
                columns.push(Arc::new(Int64Array::from(vec![1; part.len()])));
            }
            let options = RecordBatchOptions::new().with_row_count(Some(part.len()));
            self.log.push(RecordBatch::try_new_with_options(schema, columns, &options)?);
        }
        Ok(())
    }

    /// The rows in lists, in the order in which they came; as often as they are there.
    fn live_rows_repeated(&self) -> Vec<u32> {
        let mut live: Vec<u32> = self.lists.iter().flatten().copied().collect();
        live.sort_unstable();
        live
    }

    fn live_rows(&self) -> Vec<u32> {
        let mut live = self.live_rows_repeated();
        live.dedup();
        live
    }

    pub(super) fn bytes(&self) -> usize {
        let lists = self.lists.len() * size_of::<Vec<u32>>()
            + self.live * size_of::<u32>()
            + self.changed_ms.capacity() * size_of::<i64>();
        let cold = self.cold.as_ref().map_or(0, ColdPartitions::bytes);
        self.partitions.bytes() + self.rows.bytes() + lists + self.log.bytes() + cold
    }
}

impl Operator for TopN {
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        self.forget_old()?;
        self.take(&batch, Some(next))?;
        self.fit()
    }

    /// Of rows without an order the first that come are kept for good.
    fn is_over(&self) -> bool {
        let plan = &self.plan;
        let keeps_first = !self.updating && plan.order_by.is_empty() && plan.partition_by.is_empty();
        keeps_first && self.lists.first().map_or(0, Vec::len) >= self.upto()
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        if self.is_all_wanted() {
            self.snapshot_all(&mut snapshot)?;
            return Ok(snapshot);
        }
        let partition_by = &self.plan.partition_by;
        self.log.snapshot(&mut snapshot, self.key_groups, |batch| partition_keys(partition_by, batch))?;
        Ok(snapshot)
    }

    fn takes_state_in_parts(&self) -> bool {
        self.cold.is_some()
    }

    fn restore(&mut self, restored: Restored) -> Result<()> {
        let schema = if self.updating { with_weight(&self.columns) } else { Arc::clone(&self.columns) };
        for chunk in restored.chunks {
            check_schema(&chunk.rows, &schema)?;
            self.log.restore(Arc::clone(&chunk));
            self.take(&chunk.rows, None)?;
            if let Some(cold) = &mut self.cold {
                cold.rows.all_wanted |= restored.unstored;
                self.fit()?;
            }
        }
        self.fit()
    }
}

/// What is equal for all rows of a partition.
pub(super) fn partition_keys(
    partition_by: &[Arc<dyn PhysicalExpr>],
    rows: &RecordBatch,
) -> Result<Vec<ArrayRef>> {
    partition_by.iter().map(|key| key.evaluate(rows)?.into_array(rows.num_rows())).collect()
}

/// A row that comes out, or comes out no more.
struct Change {
    row: u32,
    rank: i64,
    weight: i64,
}

fn changes_by_rank(old: &[u32], new: &[u32], skip: usize, changes: &mut Vec<Change>) {
    for at in 0..old.len().max(new.len()) {
        let (before, after) = (old.get(at), new.get(at));
        if before == after {
            continue;
        }
        let rank = (skip + at + 1) as i64;
        changes.extend(before.map(|row| Change { row: *row, rank, weight: -1 }));
        changes.extend(after.map(|row| Change { row: *row, rank, weight: 1 }));
    }
}

fn changes_of_set(old: &[u32], new: &[u32], changes: &mut Vec<Change>) {
    if let ([before], [after]) = (old, new)
        && before != after
    {
        changes.push(Change { row: *before, rank: 0, weight: -1 });
        changes.push(Change { row: *after, rank: 0, weight: 1 });
        return;
    }
    let sorted = |rows: &[u32]| {
        let mut rows = rows.to_vec();
        rows.sort_unstable();
        rows
    };
    let (old, new) = (sorted(old), sorted(new));
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some(before), Some(after)) => before.cmp(after),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        if order != Ordering::Greater {
            let row = old.next();
            changes.extend(row.filter(|_| order == Ordering::Less).map(|row| Change {
                row: *row,
                rank: 0,
                weight: -1,
            }));
        }
        if order != Ordering::Less {
            let row = new.next();
            changes.extend(row.filter(|_| order == Ordering::Greater).map(|row| Change {
                row: *row,
                rank: 0,
                weight: 1,
            }));
        }
    }
}
