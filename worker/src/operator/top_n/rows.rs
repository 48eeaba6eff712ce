//! The rows that are kept, and those of the batch at hand, by one numbering.

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::SchemaRef,
    row::Rows,
};
use datafusion::error::Result;

use crate::operator::row_store::RowStore;

/// Rows with what they are ordered and found by.
pub struct KeptRows {
    rows: RowStore,
    sort_keys: Vec<Box<[u8]>>,
    /// Empty where no row is taken back.
    hashes: Vec<u64>,
    key_bytes: usize,
}

/// The rows of a batch. Their numbers follow those that are kept.
pub struct NewRows<'a> {
    /// The rows.
    pub batch: &'a RecordBatch,
    /// What they are ordered by; `None` where all are equal.
    pub sort_keys: Option<Rows>,
    /// What they are found by; empty where no row is taken back.
    pub hashes: Vec<u64>,
}

impl NewRows<'_> {
    /// What a row is ordered by.
    pub fn sort_key(&self, row: usize) -> &[u8] {
        self.sort_keys.as_ref().map_or(&[], |keys| keys.row(row).data())
    }
}

impl KeptRows {
    /// No rows yet, of these columns.
    pub fn new(schema: SchemaRef) -> Self {
        Self { rows: RowStore::new(schema), sort_keys: Vec::new(), hashes: Vec::new(), key_bytes: 0 }
    }

    /// How many are kept, those included that are in no list any more.
    pub fn len(&self) -> usize {
        self.rows.count()
    }

    /// What a row is ordered by, of those kept or of the batch.
    pub fn sort_key<'a>(&'a self, number: u32, new: &'a NewRows<'_>) -> &'a [u8] {
        match self.sort_keys.get(number as usize) {
            Some(key) => key,
            None => new.sort_key(number as usize - self.sort_keys.len()),
        }
    }

    /// What a row is found by.
    pub fn hash(&self, number: u32, new: &NewRows<'_>) -> u64 {
        let number = number as usize;
        self.hashes.get(number).copied().unwrap_or_else(|| new.hashes[number - self.hashes.len()])
    }

    /// Keeps these rows of the batch: `columns` are theirs.
    pub fn push(&mut self, new: &NewRows<'_>, rows: &[u32], columns: Vec<ArrayRef>) -> Result<()> {
        self.rows.push(columns, rows.len())?;
        for row in rows {
            let key: Box<[u8]> = new.sort_key(*row as usize).into();
            self.key_bytes += key.len() + size_of::<Box<[u8]>>();
            self.sort_keys.push(key);
        }
        if !new.hashes.is_empty() {
            self.hashes.extend(rows.iter().map(|row| new.hashes[*row as usize]));
        }
        Ok(())
    }

    /// These rows.
    pub fn take(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        self.rows.take(numbers)
    }

    /// Keeps only these, which gives them new numbers.
    pub fn keep(&mut self, numbers: &[u32]) -> Result<()> {
        self.rows.keep(numbers)?;
        let keys = numbers.iter().map(|number| std::mem::take(&mut self.sort_keys[*number as usize]));
        self.sort_keys = keys.collect();
        self.key_bytes = self.sort_keys.iter().map(|key| key.len() + size_of::<Box<[u8]>>()).sum();
        if !self.hashes.is_empty() {
            self.hashes = numbers.iter().map(|number| self.hashes[*number as usize]).collect();
        }
        Ok(())
    }

    /// The bytes they take.
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.key_bytes + self.hashes.capacity() * size_of::<u64>()
    }
}
