//! What a Top-N knows of its rows on the disk: which of those in memory are there, and which partitions have rows that are not in memory.

use crate::operator::{cold_rows::ColdRows, hot_keys::HotKeys, marks::Marks};

/// Where the rows of partitions are that are not in memory.
pub struct ColdPartitions {
    /// The rows on the disk.
    pub rows: ColdRows,
    /// Which partitions are in memory.
    pub hot: HotKeys,
    /// How many rows each partition in memory has on the disk only; it has all of them in memory, or none.
    pub missing: Vec<i64>,
    /// What each row in memory is known by on the disk, and its partition.
    pub numbers: Vec<u64>,
    pub partition_of: Vec<u32>,
    /// Whether the disk has each row in memory.
    pub on_disk: Vec<bool>,
    /// Rows in memory that have come or gone since the disk was last written, and partitions of which some have.
    pub unsaved: Marks,
    pub unsaved_partitions: Marks,
    /// How many rows are on the disk only.
    pub away: usize,
    next_number: u64,
}

impl ColdPartitions {
    /// None yet, whose rows go there.
    pub fn new(rows: ColdRows, hot: HotKeys) -> Self {
        Self {
            rows,
            hot,
            missing: Vec::new(),
            numbers: Vec::new(),
            partition_of: Vec::new(),
            on_disk: Vec::new(),
            unsaved: Marks::default(),
            unsaved_partitions: Marks::default(),
            away: 0,
            next_number: 0,
        }
    }

    /// A row of this partition is kept in memory, which the disk does not have.
    pub fn added(&mut self, partition: usize) {
        self.unsaved.mark(self.numbers.len());
        self.numbers.push(self.next_number);
        self.next_number += 1;
        self.partition_of.push(partition as u32);
        self.on_disk.push(false);
    }

    /// A row is not in its list any more, or not as often.
    pub fn left(&mut self, row: u32) {
        if (row as usize) < self.numbers.len() {
            self.unsaved.mark(row as usize);
        }
    }

    /// Only these rows are left in memory, all of which the disk has; they have new numbers, and so have their partitions.
    pub fn keep_rows(&mut self, rows: &[u32]) {
        self.numbers = rows.iter().map(|row| self.numbers[*row as usize]).collect();
        self.partition_of = rows.iter().map(|row| self.partition_of[*row as usize]).collect();
        self.on_disk = vec![true; rows.len()];
        self.unsaved.reset();
    }

    /// The bytes it holds, besides the cache.
    pub fn bytes(&self) -> usize {
        (self.missing.capacity() + self.numbers.capacity()) * size_of::<u64>()
            + self.partition_of.capacity() * size_of::<u32>()
            + self.on_disk.capacity()
            + self.unsaved.bytes()
            + self.unsaved_partitions.bytes()
            + self.hot.bytes()
    }
}
