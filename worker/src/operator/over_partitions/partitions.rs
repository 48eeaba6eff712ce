//! The rows of each partition.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
    row::{RowConverter, SortField},
};
use datafusion::{error::Result, physical_expr::PhysicalExpr};
use thalweg_plan::stream::changelog::with_weight;

use crate::{
    operator::{changelog, keys::evaluated, row_store::RowStore},
    state::key_group::hashes,
};

/// Rows that are gone are thrown out when they are more than this and than twice the others.
const DEAD_MAX: usize = 16 << 10;

/// Rows with what was computed for them, by partition.
pub struct Partitions {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    converter: Option<RowConverter>,
    numbers: HashMap<Box<[u8]>, usize>,
    lists: Vec<Vec<u32>>,
    key_bytes: usize,
    rows: RowStore,
    /// Of each row: what tells it from others, and the same of the columns that it came with.
    hashes: Vec<Hashes>,
    /// So many columns a row came with.
    width: usize,
    live: usize,
}

/// What tells rows apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashes {
    /// Over all columns.
    pub whole: u64,
    /// Over the columns without what was computed.
    pub own: u64,
}

impl Partitions {
    /// No rows yet, of these columns, the first `width` of which are those that rows come with.
    pub fn new(keys: Vec<Arc<dyn PhysicalExpr>>, schema: &SchemaRef, width: usize) -> Result<Self> {
        let fields = keys.iter().map(|key| Ok(SortField::new(key.data_type(schema)?)));
        let fields = fields.collect::<Result<Vec<_>>>()?;
        Ok(Self {
            converter: if fields.is_empty() { None } else { Some(RowConverter::new(fields)?) },
            keys,
            numbers: HashMap::new(),
            lists: Vec::new(),
            key_bytes: 0,
            rows: RowStore::new(Arc::clone(schema)),
            hashes: Vec::new(),
            width,
            live: 0,
        })
    }

    /// The numbers of the partitions of rows.
    pub fn of_rows(&mut self, rows: &RecordBatch) -> Result<Vec<usize>> {
        let Some(converter) = &self.converter else {
            self.lists.resize(1, Vec::new());
            return Ok(vec![0; rows.num_rows()]);
        };
        let converted = converter.convert_columns(&evaluated(&self.keys, rows)?)?;
        let mut numbers = Vec::with_capacity(rows.num_rows());
        for key in &converted {
            let number = match self.numbers.get(key.data()) {
                Some(number) => *number,
                None => {
                    self.key_bytes += key.data().len();
                    self.numbers.insert(key.data().into(), self.lists.len());
                    self.lists.push(Vec::new());
                    self.lists.len() - 1
                }
            };
            numbers.push(number);
        }
        Ok(numbers)
    }

    /// What tells rows apart.
    pub fn hashes_of(&self, rows: &RecordBatch) -> Result<Vec<Hashes>> {
        let whole = hashes(rows.columns(), rows.num_rows())?;
        let own = hashes(&rows.columns()[..self.width], rows.num_rows())?;
        Ok(whole.into_iter().zip(own).map(|(whole, own)| Hashes { whole, own }).collect())
    }

    /// The rows of a partition.
    pub fn list(&self, partition: usize) -> &[u32] {
        &self.lists[partition]
    }

    /// What tells a row apart.
    pub fn hashes(&self, row: u32) -> Hashes {
        self.hashes[row as usize]
    }

    /// These rows.
    pub fn take(&self, rows: &[u32]) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let schema = Arc::clone(self.rows.schema());
        Ok(RecordBatch::try_new_with_options(schema, self.rows.take(rows)?, &options)?)
    }

    /// Adds rows to their partitions, or takes those away that are equal. Of each partition no more than the last `keep` rows are kept.
    pub fn change(&mut self, changes: &RecordBatch, keep: usize) -> Result<()> {
        let (rows, weights) = changelog::split(changes)?;
        let (partitions, hashes) = (self.of_rows(&rows)?, self.hashes_of(&rows)?);
        let first = self.rows.count() as u32;
        self.rows.push(rows.columns().to_vec(), rows.num_rows())?;
        self.hashes.extend_from_slice(&hashes);
        for (row, partition) in partitions.iter().enumerate() {
            for _ in 0..changelog::weight(&weights, row) {
                self.lists[*partition].push(first + row as u32);
                self.live += 1;
            }
        }
        for (row, partition) in partitions.iter().enumerate() {
            for _ in changelog::weight(&weights, row)..0 {
                let list = &mut self.lists[*partition];
                let found = list.iter().position(|known| self.hashes[*known as usize] == hashes[row]);
                if let Some(at) = found {
                    list.remove(at);
                    self.live -= 1;
                }
            }
        }
        for partition in partitions {
            let list = &mut self.lists[partition];
            let over = list.len().saturating_sub(keep);
            list.drain(..over);
            self.live -= over;
        }
        self.compact()
    }

    fn compact(&mut self) -> Result<()> {
        if self.rows.count() <= 2 * self.live + DEAD_MAX {
            return Ok(());
        }
        let mut live: Vec<u32> = self.lists.iter().flatten().copied().collect();
        live.sort_unstable();
        live.dedup();
        self.rows.keep(&live)?;
        self.hashes = live.iter().map(|row| self.hashes[*row as usize]).collect();
        for row in self.lists.iter_mut().flatten() {
            *row = live.binary_search(row).unwrap_or_default() as u32;
        }
        // Partitions without rows go, and the others get new numbers.
        let mut lists = Vec::new();
        let mut gone = 0;
        self.numbers.retain(|key, number| {
            let list = std::mem::take(&mut self.lists[*number]);
            if list.is_empty() {
                gone += key.len();
                return false;
            }
            *number = lists.len();
            lists.push(list);
            true
        });
        if self.converter.is_some() {
            self.key_bytes -= gone;
            self.lists = lists;
        }
        Ok(())
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.live
    }

    /// All rows in the order in which they came, some at a time.
    pub fn all_rows(&self) -> Result<Vec<RecordBatch>> {
        let mut live: Vec<u32> = self.lists.iter().flatten().copied().collect();
        live.sort_unstable();
        live.chunks(64 << 10).map(|part| self.take(part)).collect()
    }

    /// The same with their weights.
    pub fn all(&self) -> Result<Vec<RecordBatch>> {
        let schema = with_weight(self.rows.schema());
        let weighted = |rows: RecordBatch| -> Result<RecordBatch> {
            let mut columns = rows.columns().to_vec();
            columns.push(Arc::new(Int64Array::from(vec![1; rows.num_rows()])) as ArrayRef);
            Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?)
        };
        self.all_rows()?.into_iter().map(weighted).collect()
    }

    /// The keys of rows.
    pub fn keys_of(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        evaluated(&self.keys, rows)
    }

    /// The bytes it holds.
    pub fn bytes(&self) -> usize {
        let keys = self.key_bytes + self.numbers.len() * size_of::<(Box<[u8]>, usize)>();
        let lists = self.lists.len() * size_of::<Vec<u32>>() + self.live * size_of::<u32>();
        self.rows.bytes() + keys + lists + self.hashes.capacity() * size_of::<Hashes>()
    }
}
