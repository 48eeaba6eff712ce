//! The rows of one side of a join, by key.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use arrow::{
    array::{Array as _, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array},
    compute::{filter_record_batch, take_record_batch},
    datatypes::SchemaRef,
};
use datafusion::{error::Result, physical_expr::PhysicalExpr};
use thalweg_plan::stream::changelog::{is_updating, with_weight, without_weight};

use super::cold_side::ColdSide;
use crate::{
    operator::{
        changelog::{self, Weights},
        cold_rows::Kept,
        expiry::Expiry,
        key_table::KeyTable,
        row_store::RowStore,
        state_log::StateLog,
    },
    state::{StateChunk, key_group::hashes},
};

/// No row.
const NONE: u32 = u32::MAX;

/// Rows that are gone are thrown out when they are more than this and than those that are there.
const DEAD_MAX: usize = 16 << 10;

/// One side's rows.
pub struct SideRows {
    /// What must be equal.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Its changes.
    pub log: StateLog,
    /// The columns of its rows, without their weight.
    pub schema: SchemaRef,
    pub(super) updating: bool,
    pub(super) rows: RowStore,
    /// The first row with each key.
    first: Vec<u32>,
    /// The row behind each with the same key.
    next: Vec<u32>,
    /// The key of each row.
    pub(super) key_of: Vec<u32>,
    /// The weight of each row; empty where each is one.
    pub(super) weights: Vec<i64>,
    /// What tells each row from the others of its key: of one that may be taken back its hash. Empty where nothing is looked for by it.
    pub(super) hashes: Vec<u64>,
    /// The sum of the weights of the rows with each key.
    pub(super) totals: Vec<i64>,
    /// How many partners each row has; empty where that follows from its key.
    pub partners: Vec<i64>,
    counts_partners: bool,
    pub(super) live: usize,
    /// When each row was added or changed last; empty where that does not matter.
    pub(super) changed_ms: Vec<i64>,
    pub(super) expiry: Option<Expiry>,
    /// Where rows are that are not in memory; all are where there is no such place.
    pub(super) cold: Option<ColdSide>,
}

/// Rows of a batch that can have partners.
pub struct Incoming {
    /// The rows, without weights.
    pub rows: RecordBatch,
    /// Their weights.
    pub weights: Weights,
    /// Both.
    pub kept: RecordBatch,
    /// Their keys.
    pub keys: Vec<ArrayRef>,
    /// Their hashes; empty where no row is taken back.
    pub hashes: Vec<u64>,
    /// Rows whose key is NULL, which equals nothing.
    pub without_key: Option<(RecordBatch, Weights)>,
}

impl SideRows {
    /// A side with rows of `input`. `counts_partners`: a row's partners must be counted one by one.
    pub fn new(
        table: u16,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        input: &SchemaRef,
        counts_partners: bool,
    ) -> Self {
        let schema = without_weight(input);
        Self {
            keys,
            log: StateLog::new(table),
            updating: is_updating(input),
            rows: RowStore::new(Arc::clone(&schema)),
            schema,
            first: Vec::new(),
            next: Vec::new(),
            key_of: Vec::new(),
            weights: Vec::new(),
            hashes: Vec::new(),
            totals: Vec::new(),
            partners: Vec::new(),
            counts_partners,
            live: 0,
            changed_ms: Vec::new(),
            expiry: None,
            cold: None,
        }
    }

    /// Forgets rows that do not change for long.
    pub fn forget_after(&mut self, expiry: Expiry) {
        self.expiry = Some(expiry);
    }

    /// Forgets the rows that have not changed for long, when it is time to look for them. What is out of them stays as it is.
    pub fn forget_old(&mut self) -> Result<()> {
        let Some(oldest_ms) = self.expiry.as_mut().and_then(Expiry::look) else { return Ok(()) };
        if self.cold.is_some() {
            self.forget_in_memory(oldest_ms);
            return Ok(());
        }
        let mut live = self.live_rows();
        live.retain(|row| self.changed_ms[*row as usize] > oldest_ms);
        if live.len() == self.live {
            return Ok(());
        }
        self.keep(&live)?;
        self.live = live.len();
        self.totals.fill(0);
        for (row, key) in self.key_of.iter().enumerate() {
            self.totals[*key as usize] += self.weights.get(row).copied().unwrap_or(1);
        }
        self.log.clear();
        if self.updating { self.rewrite_log() } else { Ok(()) }
    }

    /// Whether its rows are taken back too.
    pub fn is_updating(&self) -> bool {
        self.updating
    }

    /// The keys of rows.
    pub fn keys_of(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        keys_of(&self.keys, rows)
    }

    /// A batch, divided by whether its rows have a key.
    pub fn incoming(&self, batch: &RecordBatch, nulls_equal: bool) -> Result<Incoming> {
        let (rows, weights) = changelog::split(batch)?;
        let keys = self.keys_of(&rows)?;
        let mut valid = None;
        if !nulls_equal {
            for key in &keys {
                valid = arrow::buffer::NullBuffer::union(valid.as_ref(), key.logical_nulls().as_ref());
            }
        }
        let Some(valid) = valid.filter(|valid| valid.null_count() > 0) else {
            let hashes = self.hashes_of(&rows)?;
            return Ok(Incoming { rows, weights, kept: batch.clone(), keys, hashes, without_key: None });
        };
        let mask = BooleanArray::new(valid.into_inner(), None);
        let without = changelog::split(&filter_record_batch(batch, &arrow::compute::not(&mask)?)?)?;
        let kept = filter_record_batch(batch, &mask)?;
        let (rows, weights) = changelog::split(&kept)?;
        let (keys, hashes) = (self.keys_of(&rows)?, self.hashes_of(&rows)?);
        Ok(Incoming { rows, weights, kept, keys, hashes, without_key: Some(without) })
    }

    fn hashes_of(&self, rows: &RecordBatch) -> Result<Vec<u64>> {
        if self.updating { hashes(rows.columns(), rows.num_rows()) } else { Ok(Vec::new()) }
    }

    /// Makes room for so many keys.
    pub fn resize(&mut self, keys: usize) {
        if keys > self.first.len() {
            self.first.resize(keys, NONE);
            self.totals.resize(keys, 0);
            self.cold.iter_mut().for_each(|cold| cold.resize(keys));
        }
    }

    /// The rows with a key.
    pub fn with_key(&self, key: usize) -> impl Iterator<Item = u32> + '_ {
        self.linked(key).filter(|row| self.weights.get(*row as usize) != Some(&0))
    }

    /// The same, with those that are gone and still have to be taken out on the disk.
    pub(super) fn linked(&self, key: usize) -> impl Iterator<Item = u32> + '_ {
        let mut at = self.first[key];
        std::iter::from_fn(move || {
            let row = at;
            (row != NONE).then(|| {
                at = self.next[row as usize];
                row
            })
        })
    }

    /// The weight of a row.
    pub fn weight(&self, row: u32) -> i64 {
        self.weights.get(row as usize).copied().unwrap_or(1)
    }

    /// The sum of the weights of the rows with a key.
    pub fn total(&self, key: usize) -> i64 {
        self.totals[key]
    }

    /// These rows.
    pub fn take(&self, rows: &[u32]) -> Result<Vec<ArrayRef>> {
        self.rows.take(rows)
    }

    /// Adds rows, or takes back those that are there. `partners`: how many each has.
    pub fn apply(&mut self, incoming: &Incoming, keys: &[usize], partners: &[i64]) -> Result<()> {
        let rows = incoming.rows.num_rows();
        for (row, key) in keys.iter().enumerate() {
            self.totals[*key] += changelog::weight(&incoming.weights, row);
        }
        if !self.updating {
            let (weights, numbers) = match &mut self.cold {
                None => (Vec::new(), Vec::new()),
                Some(cold) => (vec![1; rows], cold.numbers(rows)),
            };
            let partners = partners.to_vec();
            let kept = Kept { numbers, weights, partners, ..Kept::default() };
            return self.append(&incoming.rows, kept, keys);
        }
        let mut added: Vec<u32> = Vec::with_capacity(rows);
        // What comes and goes in one batch stays in it, whichever is first; not where each row has one place on the disk.
        let mut weights = Vec::with_capacity(rows);
        let mut places = self.cold.as_ref().map(|_| HashMap::new());
        for (row, key) in keys.iter().enumerate() {
            let (weight, hash) = (changelog::weight(&incoming.weights, row), incoming.hashes[row]);
            let of_row = partners.get(row).copied();
            if weight == 0 || self.change(*key, hash, weight, of_row) {
                continue;
            }
            if let Some(places) = &mut places {
                match places.entry((*key, hash)) {
                    Entry::Occupied(place) => {
                        let place: usize = *place.get();
                        weights[place] += weight;
                        continue;
                    }
                    Entry::Vacant(place) => _ = place.insert(added.len()),
                }
            }
            added.push(row as u32);
            weights.push(weight);
        }
        if places.is_some() {
            let mut is_there = weights.iter().map(|weight| *weight != 0);
            added.retain(|_| is_there.next().unwrap_or_default());
            weights.retain(|weight| *weight != 0);
        }
        if added.is_empty() {
            return Ok(());
        }
        let partners = added.iter().filter_map(|row| partners.get(*row as usize).copied()).collect();
        let own_keys: Vec<usize> = added.iter().map(|row| keys[*row as usize]).collect();
        let numbers = added.iter().map(|row| incoming.hashes[*row as usize]).collect();
        let rows = match added.len() == rows {
            true => incoming.rows.clone(),
            false => take_record_batch(&incoming.rows, &UInt32Array::from(added))?,
        };
        self.append(&rows, Kept { numbers, weights, partners, ..Kept::default() }, &own_keys)
    }

    /// Changes the weight of a row that is there; says whether it is. Of two rows with one key, a hash of 64 bits tells whether they
    /// are the same. `partners`: how many it has, if it comes again.
    fn change(&mut self, key: usize, hash: u64, weight: i64, partners: Option<i64>) -> bool {
        let (mut before, mut at) = (NONE, self.first[key]);
        while at != NONE && self.hashes[at as usize] != hash {
            (before, at) = (at, self.next[at as usize]);
        }
        if at == NONE {
            return false;
        }
        let row = at as usize;
        let was_there = self.weights[row] != 0;
        self.weights[row] += weight;
        if let Some(expiry) = &self.expiry {
            self.changed_ms[row] = expiry.now_ms();
        }
        let is_there = self.weights[row] != 0;
        if !was_there {
            self.live += 1;
            if let (Some(partners), Some(kept)) = (partners, self.partners.get_mut(row)) {
                *kept = partners;
            }
        }
        if !is_there {
            self.live -= 1;
        }
        let stays = match &mut self.cold {
            None => is_there,
            Some(cold) => cold.changed(row, key, was_there, is_there),
        };
        if !stays {
            match before {
                NONE => self.first[key] = self.next[row],
                before => self.next[before as usize] = self.next[row],
            }
        }
        true
    }

    /// Adds rows with these keys.
    fn append(&mut self, rows: &RecordBatch, kept: Kept, keys: &[usize]) -> Result<()> {
        let first = self.rows.count();
        let kept = Kept { columns: rows.columns().to_vec(), ..kept };
        self.hold(kept, keys)?;
        self.live += keys.len();
        if let Some(cold) = &mut self.cold {
            keys.iter().enumerate().for_each(|(at, key)| cold.added(first + at, *key));
        }
        Ok(())
    }

    /// Has rows in memory from now on.
    pub(super) fn hold(&mut self, kept: Kept, keys: &[usize]) -> Result<()> {
        let first = self.rows.count();
        self.rows.push(kept.columns, keys.len())?;
        for (at, key) in keys.iter().enumerate() {
            let row = (first + at) as u32;
            self.next.push(std::mem::replace(&mut self.first[*key], row));
            self.key_of.push(*key as u32);
        }
        self.weights.extend_from_slice(&kept.weights);
        self.hashes.extend_from_slice(&kept.numbers);
        if let Some(expiry) = &self.expiry {
            self.changed_ms.extend_from_slice(&kept.changed_ms);
            self.changed_ms.resize(self.rows.count(), expiry.now_ms());
        }
        if self.counts_partners {
            self.partners.extend_from_slice(&kept.partners);
        }
        Ok(())
    }

    /// Takes note of changes for the next snapshot. Rows that are only added are there anyway.
    pub fn note(&mut self, changes: RecordBatch) -> Result<()> {
        if let Some(cold) = &self.cold {
            if !cold.rows.all_wanted {
                self.log.push(changes);
            }
            return Ok(());
        }
        if !self.updating {
            return Ok(());
        }
        self.log.push(changes);
        if self.log.is_long(self.live) { self.rewrite_log() } else { Ok(()) }
    }

    /// Puts into the log what a snapshot needs.
    pub fn prepare_log(&mut self) {
        if !self.updating && self.cold.is_none() {
            self.rows.seal().iter().for_each(|block| self.log.push(block.clone()));
        }
    }

    /// Takes back a chunk whose rows are there again.
    pub fn restored(&mut self, chunk: Arc<StateChunk>, unstored: bool) {
        self.log.restore(chunk);
        match &mut self.cold {
            Some(cold) => cold.rows.all_wanted |= unstored,
            None => _ = self.rows.seal(),
        }
    }

    /// Replaces the log by what is there.
    fn rewrite_log(&mut self) -> Result<()> {
        self.log.clear();
        let schema = with_weight(&self.schema);
        for part in self.live_rows().chunks(64 << 10) {
            let mut columns = self.rows.take(part)?;
            columns.push(Arc::new(Int64Array::from_iter_values(part.iter().map(|row| self.weight(*row)))));
            self.log.push(RecordBatch::try_new(Arc::clone(&schema), columns)?);
        }
        Ok(())
    }

    /// Throws out rows that are gone where they are many.
    pub fn compact(&mut self) -> Result<()> {
        if self.rows.count() <= 2 * self.live + DEAD_MAX {
            return Ok(());
        }
        let live = self.live_rows();
        self.keep(&live)
    }

    pub(super) fn keep(&mut self, live: &[u32]) -> Result<()> {
        self.rows.keep(live)?;
        let gather = |values: &mut Vec<i64>| {
            if !values.is_empty() {
                *values = live.iter().map(|row| values[*row as usize]).collect();
            }
        };
        gather(&mut self.weights);
        gather(&mut self.partners);
        gather(&mut self.changed_ms);
        if !self.hashes.is_empty() {
            self.hashes = live.iter().map(|row| self.hashes[*row as usize]).collect();
        }
        self.key_of = live.iter().map(|row| self.key_of[*row as usize]).collect();
        self.cold.iter_mut().for_each(ColdSide::kept);
        self.link();
        Ok(())
    }

    /// So many keys are left, and rows have their new numbers; they are linked again afterwards.
    pub(super) fn renamed(&mut self, keys: usize) {
        self.first = vec![NONE; keys];
    }

    pub(super) fn link(&mut self) {
        self.first.fill(NONE);
        self.next.clear();
        for (row, key) in self.key_of.iter().enumerate() {
            // What is gone is in no list.
            let is_gone = self.weights.get(row) == Some(&0)
                && !self.cold.as_ref().is_some_and(|cold| cold.is_on_disk(row));
            let next =
                if is_gone { NONE } else { std::mem::replace(&mut self.first[*key as usize], row as u32) };
            self.next.push(next);
        }
    }

    /// Gives its rows the numbers that their keys have in another table.
    pub fn renumber(&mut self, keys: &mut KeyTable) -> Result<()> {
        let live = self.live_rows();
        for part in live.chunks(64 << 10) {
            let options = RecordBatchOptions::new().with_row_count(Some(part.len()));
            let schema = Arc::clone(&self.schema);
            let rows = RecordBatch::try_new_with_options(schema, self.rows.take(part)?, &options)?;
            let numbers = keys.intern(&self.keys_of(&rows)?, rows.num_rows())?;
            part.iter().zip(numbers).for_each(|(row, number)| self.key_of[*row as usize] = *number as u32);
        }
        self.first = vec![NONE; keys.count()];
        self.totals = vec![0; keys.count()];
        for row in live {
            self.totals[self.key_of[row as usize] as usize] += self.weight(row);
        }
        // The others are in no list.
        self.key_of.iter_mut().for_each(|key| *key = (*key).min(keys.count().saturating_sub(1) as u32));
        self.link();
        Ok(())
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.live
    }

    pub(super) fn live_rows(&self) -> Vec<u32> {
        let all = 0..self.rows.count() as u32;
        if self.weights.is_empty() {
            return all.collect();
        }
        all.filter(|row| self.weights[*row as usize] != 0).collect()
    }

    /// The bytes it holds.
    pub fn bytes(&self) -> usize {
        let numbers = self.first.capacity() + self.next.capacity() + self.key_of.capacity();
        let wide = self.weights.capacity()
            + self.hashes.capacity()
            + self.totals.capacity()
            + self.changed_ms.capacity()
            + self.partners.capacity();
        let cold = self.cold.as_ref().map_or(0, ColdSide::bytes);
        self.rows.bytes() + numbers * size_of::<u32>() + wide * size_of::<i64>() + self.log.bytes() + cold
    }
}

/// What must be equal, of these rows; columns behind those of a side do not matter.
pub fn keys_of(keys: &[Arc<dyn PhysicalExpr>], rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
    keys.iter().map(|key| key.evaluate(rows)?.into_array(rows.num_rows())).collect()
}
