//! What a side of a join knows of its rows on the disk: which of those in memory are there, and which keys are in memory with all their rows.

use crate::operator::{cold_rows::ColdRows, marks::Marks};

/// Where a side's rows are that are not in memory.
pub struct ColdSide {
    /// The rows on the disk.
    pub rows: ColdRows,
    /// How many rows each key has.
    pub counts: Vec<i64>,
    /// Whether all rows of a key are in memory.
    pub is_whole: Vec<bool>,
    /// Keys of which rows have come or gone since the disk was last written.
    pub unsaved_keys: Marks,
    /// Rows in memory that have come, gone or changed since then.
    pub unsaved: Marks,
    /// Whether the disk has each row in memory, as it was.
    pub on_disk: Vec<bool>,
    next_number: u64,
}

impl ColdSide {
    /// A side whose rows go there.
    pub fn new(rows: ColdRows) -> Self {
        Self {
            rows,
            counts: Vec::new(),
            is_whole: Vec::new(),
            unsaved_keys: Marks::default(),
            unsaved: Marks::default(),
            on_disk: Vec::new(),
            next_number: 0,
        }
    }

    /// Makes room for so many keys.
    pub fn resize(&mut self, keys: usize) {
        self.counts.resize(keys, 0);
        self.is_whole.resize(keys, true);
    }

    /// Numbers for rows that nothing else tells apart.
    pub fn numbers(&mut self, rows: usize) -> Vec<u64> {
        let first = self.next_number;
        self.next_number += rows as u64;
        (first..self.next_number).collect()
    }

    /// A new row is in memory.
    pub fn added(&mut self, row: usize, key: usize) {
        self.on_disk.resize(row + 1, false);
        self.counts[key] += 1;
        self.unsaved.mark(row);
        self.unsaved_keys.mark(key);
    }

    /// A row in memory has changed; says whether it is to stay there: one that is gone must be remembered until it is gone from the disk.
    pub fn changed(&mut self, row: usize, key: usize, was_there: bool, is_there: bool) -> bool {
        self.counts[key] += i64::from(is_there) - i64::from(was_there);
        self.unsaved.mark(row);
        self.unsaved_keys.mark(key);
        is_there || self.on_disk[row]
    }

    /// Rows have come into memory that are on the disk; so many rows are in memory now.
    pub fn loaded(&mut self, rows: usize) {
        self.on_disk.resize(rows, true);
    }

    /// Whether the disk has a row in memory, as it was.
    pub fn is_on_disk(&self, row: usize) -> bool {
        self.on_disk.get(row).copied().unwrap_or_default()
    }

    /// Only these keys are left in memory: the first of them is then key zero.
    pub fn keep_keys(&mut self, keys: &[u32]) {
        self.counts = keys.iter().map(|key| self.counts[*key as usize]).collect();
        self.is_whole = keys.iter().map(|key| self.is_whole[*key as usize]).collect();
        self.unsaved_keys.reset();
    }

    /// Only rows that are on the disk as they are have been kept in memory, with new numbers.
    pub fn kept(&mut self) {
        self.unsaved.reset();
        self.on_disk.clear();
    }

    /// The bytes it holds.
    pub fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
            + self.is_whole.capacity()
            + self.on_disk.capacity()
            + self.unsaved.bytes()
            + self.unsaved_keys.bytes()
    }
}
