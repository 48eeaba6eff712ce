//! Groups, and what of them has changed.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray as _, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array},
    compute::{interleave, kernels::cmp::distinct, take},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
};
use datafusion::{error::Result, execution::memory_pool::MemoryReservation};

use super::{
    choice::values_of,
    cold::ColdGroups,
    values::{Rows, Values, entries_of},
};
use crate::{
    operator::{
        changelog::{self, Weights},
        expiry::Expiry,
        key_table::KeyTable,
        link::{Next, Operator},
        marks::Marks,
        state_log::StateLog,
        window_aggregate::Kernel,
    },
    state::{Restored, Snapshot, check_schema},
    watermark::Watermark,
};

/// Groups without rows are thrown out when they are more than this and than those with rows.
const DEAD_MAX: usize = 16 << 10;

/// The table with the groups.
pub(super) const GROUPS: u16 = 0;

/// An aggregation of all rows that there are.
pub struct GroupAggregate {
    arriving: Arriving,
    pub(super) kernel: Kernel,
    schema: SchemaRef,
    pub(super) keys: KeyTable,
    /// The sum of the weights of each group's rows.
    pub(super) weights: Vec<i64>,
    pub(super) values: Vec<Box<dyn Values>>,
    /// Whether some of them count values one by one.
    counts_values: bool,
    touched: Marks,
    pub(super) dirty: Marks,
    pub(super) log: StateLog,
    pub(super) state_schema: SchemaRef,
    pub(super) live: usize,
    /// Without keys there is always a result: whether it is out.
    started: bool,
    /// Where groups are that are not in memory; all are where there is no such place.
    pub(super) cold: Option<ColdGroups>,
    /// When groups that do not change are forgotten, and when each in memory has changed last.
    pub(super) expiry: Option<Expiry>,
    pub(super) changed_ms: Vec<i64>,
    pub(super) key_groups: u16,
    pub(super) memory: MemoryReservation,
}

/// What comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arriving {
    /// Rows; `updating`: some are taken back.
    Rows {
        /// Whether.
        updating: bool,
    },
    /// Partial aggregates of such rows.
    Partials {
        /// Whether.
        updating: bool,
    },
}

/// A batch, evaluated.
struct Arrived {
    keys: Vec<ArrayRef>,
    weights: Weights,
    /// The columns of each aggregate: arguments, or states.
    columns: Vec<Vec<ArrayRef>>,
    /// Which rows each aggregate takes.
    filters: Vec<Option<BooleanArray>>,
}

/// Results of groups before and after rows have come, side by side.
struct Results {
    was_there: Vec<bool>,
    before: Vec<ArrayRef>,
}

impl GroupAggregate {
    /// An aggregation into rows of `schema`.
    pub fn new(
        kernel: Kernel,
        arriving: Arriving,
        schema: SchemaRef,
        key_groups: u16,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let keys = Arc::clone(kernel.key_schema());
        let (Arriving::Rows { updating } | Arriving::Partials { updating }) = arriving;
        let mut values = Vec::with_capacity(kernel.functions().len());
        for (at, function) in kernel.functions().iter().enumerate() {
            values.push(values_of(function, &kernel.argument_types(at)?, at, &keys, updating)?);
        }
        let counts_values = entries_of(&mut values).next().is_some();
        let mut fields: Vec<Arc<Field>> = keys.fields().to_vec();
        let types =
            [DataType::Int64].into_iter().chain(values.iter().flat_map(|values| values.state_types()));
        fields.extend(
            types
                .enumerate()
                .map(|(at, data_type)| Arc::new(Field::new(format!("state{at}"), data_type, true))),
        );
        Ok(Self {
            arriving,
            kernel,
            schema,
            keys: KeyTable::new(keys)?,
            weights: Vec::new(),
            values,
            counts_values,
            touched: Marks::default(),
            dirty: Marks::default(),
            log: StateLog::outside(GROUPS),
            state_schema: Arc::new(Schema::new(fields)),
            live: 0,
            started: false,
            cold: None,
            expiry: None,
            changed_ms: Vec::new(),
            key_groups,
            memory,
        })
    }

    pub(super) fn is_keyless(&self) -> bool {
        self.kernel.key_schema().fields().is_empty()
    }

    fn is_there(&self, group: usize) -> bool {
        if self.is_keyless() { self.started } else { self.weights[group] > 0 }
    }

    /// Makes room for the groups that there are.
    pub(super) fn resize(&mut self) {
        let groups = self.keys.count();
        self.weights.resize(groups, 0);
        if let Some(expiry) = &self.expiry {
            self.changed_ms.resize(groups, expiry.now_ms());
        }
        self.values.iter_mut().for_each(|values| values.resize(groups));
    }

    fn results(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.values.iter_mut().map(|values| values.results(groups)).collect()
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<Arrived> {
        if let Arriving::Rows { .. } = self.arriving {
            let (rows, weights) = changelog::split(batch)?;
            let input = self.kernel.rows(&rows)?;
            return Ok(Arrived { keys: input.keys, weights, columns: input.values, filters: input.filters });
        }
        let rows = check_schema(batch, &self.state_schema)?;
        let (keys, states) = rows.columns().split_at(self.kernel.key_schema().fields().len());
        let mut at = 1;
        let columns = self.values.iter().map(|values| {
            let width = values.state_types().len();
            at += width;
            states[at - width..at].to_vec()
        });
        Ok(Arrived {
            keys: keys.to_vec(),
            columns: columns.collect(),
            weights: Some(states[0].as_primitive::<Int64Type>().clone()),
            filters: vec![None; self.values.len()],
        })
    }

    fn take(&mut self, batch: &RecordBatch, next: &mut Next<'_>) -> Result<()> {
        self.forget_old()?;
        let Arrived { keys, weights, columns, filters } = self.evaluate(batch)?;
        let groups = self.intern(&keys, batch.num_rows())?;
        let mut first_rows = Vec::new();
        for (row, group) in groups.iter().enumerate() {
            if self.touched.mark(*group) {
                first_rows.push(row as u32);
            }
        }
        let touched = self.touched.take();
        let was_there: Vec<bool> = touched.iter().map(|group| self.is_there(*group as usize)).collect();
        let before = self.results(&touched)?;
        self.count(&groups, &weights);
        for (values, (columns, mask)) in self.values.iter_mut().zip(columns.iter().zip(&filters)) {
            if matches!(self.arriving, Arriving::Partials { .. }) {
                values.merge(&groups, columns)?;
                continue;
            }
            let filter = Rows::filter(mask.as_ref());
            values.update(&Rows { groups: &groups, columns, filter, weights: weights.as_ref() })?;
        }
        self.started = true;
        touched.iter().for_each(|group| _ = self.dirty.mark(*group as usize));
        if let Some(cold) = &mut self.cold {
            touched.iter().for_each(|group| cold.changed(*group as usize));
        }
        if let Some(expiry) = &self.expiry {
            let now_ms = expiry.now_ms();
            touched.iter().for_each(|group| self.changed_ms[*group as usize] = now_ms);
        }
        let first_rows = UInt32Array::from(first_rows);
        let keys = keys.iter().map(|key| Ok(take(key, &first_rows, None)?)).collect::<Result<_>>()?;
        self.emit(&touched, keys, Results { was_there, before }, next)?;
        self.fit()
    }

    /// Takes back groups with these keys; says which they are.
    fn restore_groups(&mut self, keys: &[ArrayRef], states: &[ArrayRef], rows: usize) -> Result<Vec<usize>> {
        let weights = states[0].as_primitive::<Int64Type>().values();
        let groups = match self.cold {
            Some(_) => self.intern(keys, rows)?,
            None => self.keys.intern(keys, rows)?.to_vec(),
        };
        let known = self.weights.len();
        if groups.iter().copied().eq(known..known + rows) {
            self.live += weights.iter().filter(|weight| **weight > 0).count();
            self.weights.extend_from_slice(weights);
            self.with_states(&states[1..], |values, states| values.extend(known, states))?;
            self.resize();
            return Ok(groups);
        }
        self.resize();
        for (group, weight) in groups.iter().zip(weights) {
            let before = std::mem::replace(&mut self.weights[*group], *weight);
            self.live = self.live + usize::from(*weight > 0) - usize::from(before > 0);
        }
        self.with_states(&states[1..], |values, states| values.set(&groups, states))?;
        Ok(groups)
    }

    /// Puts what was kept of groups in the place of what they have.
    pub(super) fn set(&mut self, groups: &[usize], states: &[ArrayRef]) -> Result<()> {
        let weights = states[0].as_primitive::<Int64Type>();
        groups.iter().zip(weights.values()).for_each(|(group, weight)| self.weights[*group] = *weight);
        self.with_states(&states[1..], |values, states| values.set(groups, states))
    }

    /// Calls `give` with each aggregate and the columns that are its own.
    fn with_states(
        &mut self,
        states: &[ArrayRef],
        mut give: impl FnMut(&mut dyn Values, &[ArrayRef]) -> Result<()>,
    ) -> Result<()> {
        let mut at = 0;
        for values in &mut self.values {
            let width = values.state_types().len();
            give(values.as_mut(), &states[at..at + width])?;
            at += width;
        }
        Ok(())
    }

    /// The groups have new numbers: these were theirs before.
    pub(super) fn keep_groups(&mut self, groups: &[u32]) -> Result<()> {
        self.weights = super::values::gather(&self.weights, groups);
        if self.expiry.is_some() {
            self.changed_ms = super::values::gather(&self.changed_ms, groups);
        }
        for values in &mut self.values {
            values.keep(groups)?;
        }
        self.touched.reset();
        self.dirty.reset();
        Ok(())
    }

    fn count(&mut self, groups: &[usize], weights: &Weights) {
        for (row, group) in groups.iter().enumerate() {
            let before = self.weights[*group];
            self.weights[*group] += changelog::weight(weights, row);
            match (before > 0, self.weights[*group] > 0) {
                (false, true) => self.live += 1,
                (true, false) => self.live = self.live.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Puts out what has become of these groups.
    fn emit(
        &mut self,
        groups: &[u32],
        keys: Vec<ArrayRef>,
        Results { was_there, before }: Results,
        next: &mut Next<'_>,
    ) -> Result<()> {
        let after = self.results(groups)?;
        let differs = differs(&before, &after, groups.len());
        let mut places = Vec::with_capacity(2 * groups.len());
        let mut weights = Vec::with_capacity(2 * groups.len());
        for (at, group) in groups.iter().enumerate() {
            let is_there = self.is_there(*group as usize);
            if was_there[at] && (!is_there || differs[at]) {
                places.push((0, at));
                weights.push(-1);
            }
            if is_there && (!was_there[at] || differs[at]) {
                places.push((1, at));
                weights.push(1);
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        let of_keys = UInt32Array::from_iter_values(places.iter().map(|(_, at)| *at as u32));
        let keys = keys.iter().map(|key| Ok(take(key, &of_keys, None)?));
        let results = before
            .iter()
            .zip(&after)
            .map(|(before, after)| Ok(interleave(&[before.as_ref(), after.as_ref()], &places)?));
        let columns = keys.chain(results).collect::<Result<Vec<_>>>()?;
        next.rows(changelog::batch(&self.schema, columns, weights)?)
    }

    /// The result of no rows, where there are no keys and no rows have come.
    fn start(&mut self, next: &mut Next<'_>) -> Result<()> {
        if !self.is_keyless() || self.started {
            return Ok(());
        }
        self.keys.intern(&[], 1)?;
        self.resize();
        let before = self.results(&[0])?;
        self.started = true;
        self.dirty.mark(0);
        self.emit(&[0], Vec::new(), Results { was_there: vec![false], before }, next)
    }

    pub(super) fn bytes(&self) -> usize {
        let values: usize = self.values.iter().map(|values| values.bytes()).sum();
        let cold = self.cold.as_ref().map_or(0, ColdGroups::bytes);
        let numbers = self.weights.capacity() + self.changed_ms.capacity();
        self.keys.bytes() + numbers * size_of::<i64>() + values + self.log.bytes() + cold
    }

    pub(super) fn push_changes(&mut self, groups: &[u32]) -> Result<()> {
        for part in groups.chunks(64 << 10) {
            let mut columns = self.keys.take(part)?;
            let weights = part.iter().map(|group| self.weights[*group as usize]);
            columns.push(Arc::new(Int64Array::from_iter_values(weights)));
            for values in &mut self.values {
                columns.extend(values.states(part)?);
            }
            let options = RecordBatchOptions::new().with_row_count(Some(part.len()));
            let schema = Arc::clone(&self.state_schema);
            self.log.push(RecordBatch::try_new_with_options(schema, columns, &options)?);
        }
        Ok(())
    }

    pub(super) fn live_groups(&self) -> Vec<u32> {
        let all = 0..self.weights.len();
        all.filter(|group| self.is_there(*group)).map(|group| group as u32).collect()
    }

    /// Throws out groups without rows, and values that are gone. Only after a snapshot has taken note of them.
    fn compact(&mut self) -> Result<()> {
        let groups_before = self.keys.count();
        let is_sparse =
            |values: &mut Box<dyn Values>| values.entries().is_some_and(|entries| entries.is_sparse());
        if groups_before <= 2 * self.live + DEAD_MAX && !self.values.iter_mut().any(is_sparse) {
            return Ok(());
        }
        let live = self.live_groups();
        let groups = self.keys.keep(&live)?;
        for values in &mut self.values {
            if let Some(entries) = values.entries() {
                entries.keep(&groups, groups_before)?;
            }
        }
        self.keep_groups(&groups)
    }
}

impl Operator for GroupAggregate {
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        self.take(&batch, next)
    }

    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        if watermark == Watermark::END {
            self.start(next)?;
        }
        next.watermark(watermark)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        let mut changed = self.dirty.take();
        let mut is_long = self.log.is_long(self.live);
        if self.cold.is_some() {
            for entries in entries_of(&mut self.values) {
                is_long |= entries.is_long();
            }
        }
        if self.cold.as_ref().is_some_and(|cold| cold.all_wanted || is_long) {
            self.save()?;
            if let Some(cold) = &mut self.cold {
                cold.all_wanted = false;
                let oldest_ms = self.expiry.as_ref().map(Expiry::oldest_ms);
                let all = cold.table.all(GROUPS, self.key_groups, oldest_ms)?;
                self.log.replace(all, self.live, &mut snapshot);
            }
            for entries in entries_of(&mut self.values) {
                entries.snapshot_all(&mut snapshot, self.key_groups)?;
            }
            return Ok(snapshot);
        }
        if is_long {
            self.log.clear();
            changed = self.live_groups();
        }
        // A job that goes on from here then gives their keys places without going to and fro in its memory.
        let changed = self.keys.in_order(changed)?;
        self.push_changes(&changed)?;
        let keys = self.kernel.key_schema().fields().len();
        self.log.snapshot(&mut snapshot, self.key_groups, |batch| Ok(batch.columns()[..keys].to_vec()))?;
        for values in &mut self.values {
            if let Some(entries) = values.entries() {
                entries.snapshot(&mut snapshot, &self.keys, self.key_groups)?;
            }
        }
        if self.cold.is_none() {
            self.compact()?;
        }
        Ok(snapshot)
    }

    fn takes_state_in_parts(&self) -> bool {
        // In memory, what is made of values that are counted one by one is made when all of them are there.
        self.cold.is_some() || !self.counts_values
    }

    fn restore(&mut self, restored: Restored) -> Result<()> {
        let (groups, entries): (Vec<_>, Vec<_>) =
            restored.chunks.into_iter().partition(|chunk| chunk.table == GROUPS);
        for chunk in groups {
            let rows = check_schema(&chunk.rows, &self.state_schema)?;
            let (keys, states) = rows.columns().split_at(self.kernel.key_schema().fields().len());
            let groups = self.restore_groups(keys, states, rows.num_rows())?;
            self.started = true;
            match &mut self.cold {
                Some(cold) => {
                    groups.iter().for_each(|group| cold.changed(*group));
                    cold.all_wanted |= restored.unstored;
                    self.log.restore(chunk);
                }
                None if restored.unstored => self.log.restore_unstored(chunk),
                None => self.log.restore(chunk),
            }
            self.fit()?;
        }
        for chunk in entries {
            if self.cold.is_some() {
                self.restore_entries(chunk, restored.unstored)?;
                continue;
            }
            let values = self.values.get_mut((chunk.table - 1) as usize);
            if let Some(entries) = values.and_then(|values| values.entries()) {
                entries.restore(chunk, restored.unstored, &mut self.keys)?;
            }
        }
        self.resize();
        if self.cold.is_none() {
            self.values.iter_mut().try_for_each(|values| values.rebuild())?;
        }
        self.fit()
    }
}

/// Which rows are not the same in both. Values that cannot be compared count as different.
fn differs(before: &[ArrayRef], after: &[ArrayRef], rows: usize) -> Vec<bool> {
    let mut differs = vec![false; rows];
    for (before, after) in before.iter().zip(after) {
        match distinct(before, after) {
            Ok(mask) => differs.iter_mut().enumerate().for_each(|(row, differs)| *differs |= mask.value(row)),
            Err(_) => differs.fill(true),
        }
    }
    differs
}
