//! The versions of each key.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array as _, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
    row::{RowConverter, SortField},
};
use datafusion::{error::Result, physical_expr::PhysicalExpr};
use thalweg_plan::stream::changelog::{is_updating, with_weight, without_weight};

use crate::{
    operator::{changelog, keys::evaluated, row_store::RowStore, state_log::StateLog, times::times},
    state::{Snapshot, StateChunk, check_schema, key_group::hashes},
};

/// Rows that no key has any more are thrown out when they are more than this and than twice the others.
const DEAD_MAX: usize = 16 << 10;

/// A row, valid from a time to that of the next one with its key.
#[derive(Debug, Clone, Copy)]
struct Version {
    begin_ms: i64,
    row: u32,
    /// Tells the row from another one that begins at the same time; not used where no row is taken back.
    hash: u64,
    /// How often it is there. One that was taken back is valid until another one follows; where none does, its key has none.
    weight: i64,
}

impl Version {
    fn has_ended(&self) -> bool {
        self.weight <= 0
    }
}

/// Versions by key.
pub struct Versions {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The column with the time at which a version begins.
    time: usize,
    converter: RowConverter,
    of_key: HashMap<Box<[u8]>, Vec<Version>>,
    /// Keys of which something may be thrown out.
    untidy: Vec<Box<[u8]>>,
    rows: RowStore,
    live: usize,
    key_bytes: usize,
    updating: bool,
    log: StateLog,
    key_groups: u16,
}

impl Versions {
    /// No versions yet, of rows with the columns of `input`.
    pub fn new(
        keys: Vec<Arc<dyn PhysicalExpr>>,
        time: usize,
        input: &SchemaRef,
        table: u16,
        key_groups: u16,
    ) -> Result<Self> {
        let fields = keys.iter().map(|key| Ok(SortField::new(key.data_type(input)?)));
        Ok(Self {
            converter: RowConverter::new(fields.collect::<Result<_>>()?)?,
            keys,
            time,
            of_key: HashMap::new(),
            untidy: Vec::new(),
            rows: RowStore::new(without_weight(input)),
            live: 0,
            key_bytes: 0,
            updating: is_updating(input),
            log: StateLog::new(table),
            key_groups,
        })
    }

    /// Takes versions, and the ends of some.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        self.take_in(batch)?;
        self.log.push(batch.clone());
        self.compact()
    }

    fn take_in(&mut self, batch: &RecordBatch) -> Result<()> {
        let (rows, weights) = changelog::split(batch)?;
        let first = self.rows.count() as u32;
        let keys = evaluated(&self.keys, &rows)?;
        let has_key = |row: usize| keys.iter().all(|key| key.is_valid(row));
        let converted = self.converter.convert_columns(&keys)?;
        let times = times(rows.column(self.time))?;
        self.rows.push(rows.columns().to_vec(), rows.num_rows())?;
        let row_hashes = if self.updating { hashes(rows.columns(), rows.num_rows())? } else { Vec::new() };
        for row in 0..rows.num_rows() {
            let weight = changelog::weight(&weights, row);
            if weight == 0 || times.is_null(row) || !has_key(row) {
                continue;
            }
            let hash = row_hashes.get(row).copied().unwrap_or_default();
            let version = Version { begin_ms: times.value(row), row: first + row as u32, hash, weight };
            let key = converted.row(row);
            match weight > 0 {
                true => self.begin(key.data(), version),
                false => self.end(key.data(), version),
            }
        }
        Ok(())
    }

    fn begin(&mut self, key: &[u8], version: Version) {
        let Some(versions) = self.of_key.get_mut(key) else {
            self.key_bytes += key.len();
            self.of_key.insert(key.into(), vec![version]);
            self.live += 1;
            return;
        };
        let at = versions.partition_point(|known| known.begin_ms < version.begin_ms);
        match versions.get_mut(at) {
            Some(known) if known.begin_ms == version.begin_ms => {
                let is_same = self.updating && known.hash == version.hash;
                let weight = version.weight + if is_same { known.weight } else { 0 };
                *known = Version { weight, ..version };
            }
            _ => {
                versions.insert(at, version);
                self.live += 1;
                if versions.len() == 2 {
                    self.untidy.push(key.into());
                }
            }
        }
    }

    /// Takes a version back, if it was not replaced before.
    fn end(&mut self, key: &[u8], taken: Version) {
        let Some(versions) = self.of_key.get_mut(key) else { return };
        let is_it = |known: &Version| known.begin_ms == taken.begin_ms && known.hash == taken.hash;
        if let Some(version) = versions.iter_mut().find(|known| is_it(known)) {
            version.weight += taken.weight;
            if version.has_ended() && versions.len() == 1 {
                self.untidy.push(key.into());
            }
        }
    }

    /// For each row with these keys and times the number of the version that was valid then.
    pub fn valid_at(
        &self,
        keys: &[ArrayRef],
        times: impl Iterator<Item = Option<i64>>,
    ) -> Result<Vec<Option<u32>>> {
        let converted = self.converter.convert_columns(keys)?;
        let found = times.enumerate().map(|(row, time)| {
            // A key with NULL is never begun.
            let versions = self.of_key.get(converted.row(row).data())?;
            let time = time?;
            let at = versions.partition_point(|version| version.begin_ms <= time).checked_sub(1)?;
            let is_last = at + 1 == versions.len();
            (!(versions[at].has_ended() && is_last)).then_some(versions[at].row)
        });
        Ok(found.collect())
    }

    /// The versions with these numbers.
    pub fn take(&self, numbers: &[u32]) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(numbers.len()));
        let schema = Arc::clone(self.rows.schema());
        Ok(RecordBatch::try_new_with_options(schema, self.rows.take(numbers)?, &options)?)
    }

    /// Throws out what is valid only at or before a time.
    pub fn forget_until(&mut self, time_ms: i64) {
        for key in std::mem::take(&mut self.untidy) {
            let Some(versions) = self.of_key.get_mut(&key) else { continue };
            let over = versions.partition_point(|version| version.begin_ms <= time_ms).saturating_sub(1);
            versions.drain(..over);
            self.live -= over;
            match &versions[..] {
                [only] if only.has_ended() && only.begin_ms <= time_ms => {
                    self.key_bytes -= key.len();
                    self.live -= 1;
                    self.of_key.remove(&key);
                }
                [only] if !only.has_ended() => {}
                _ => self.untidy.push(key),
            }
        }
    }

    fn compact(&mut self) -> Result<()> {
        if self.rows.count() > 2 * self.live + DEAD_MAX {
            let mut live: Vec<u32> = self.of_key.values().flatten().map(|version| version.row).collect();
            live.sort_unstable();
            self.rows.keep(&live)?;
            for version in self.of_key.values_mut().flatten() {
                version.row = live.binary_search(&version.row).unwrap_or_default() as u32;
            }
        }
        if self.log.is_long(self.live) {
            self.rewrite_log()?;
        }
        Ok(())
    }

    /// Replaces the log by what is there.
    fn rewrite_log(&mut self) -> Result<()> {
        self.log.clear();
        let all = self.of_key.values().flatten();
        let begun = all.clone().map(|version| (version.row, 1));
        let changes: Vec<(u32, i64)> =
            begun.chain(all.filter(|version| version.has_ended()).map(|version| (version.row, -1))).collect();
        for part in changes.chunks(64 << 10) {
            let numbers: Vec<u32> = part.iter().map(|(row, _)| *row).collect();
            let mut columns = self.rows.take(&numbers)?;
            let mut schema = Arc::clone(self.rows.schema());
            if self.updating {
                schema = with_weight(&schema);
                columns.push(Arc::new(Int64Array::from_iter_values(part.iter().map(|(_, weight)| *weight))));
            }
            self.log.push(RecordBatch::try_new(schema, columns)?);
        }
        Ok(())
    }

    /// The bytes it holds.
    pub fn bytes(&self) -> usize {
        let lists =
            self.of_key.len() * size_of::<(Box<[u8]>, Vec<Version>)>() + self.live * size_of::<Version>();
        self.rows.bytes() + self.key_bytes + lists + self.log.bytes()
    }

    /// Adds all versions to a snapshot.
    pub fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        let keys = &self.keys;
        self.log.snapshot(snapshot, self.key_groups, |batch| evaluated(keys, batch))
    }

    /// Takes back a chunk.
    pub fn restore(&mut self, chunk: Arc<StateChunk>) -> Result<()> {
        let schema = match self.updating {
            true => with_weight(self.rows.schema()),
            false => Arc::clone(self.rows.schema()),
        };
        check_schema(&chunk.rows, &schema)?;
        self.take_in(&chunk.rows)?;
        self.log.restore(chunk);
        Ok(())
    }
}
