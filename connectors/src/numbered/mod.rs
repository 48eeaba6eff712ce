//! Sources whose rows are numbered, each made from its number alone: what their splits are, and how they are read.
//!
//! Such a source can go on from any position, which is what makes it exactly-once. Its splits are strands: every so many-th block
//! of numbers, a fixed number of them, so that they mean the same at every parallelism. A reader merges its strands by number:
//! all subtasks advance side by side, and event time with them.

mod pace;
mod reader;
mod strands;

use std::ops::Range;

use arrow::array::RecordBatch;
use thalweg_graph::source::Split;

use crate::error::{Error, Result};

pub use self::reader::{NumberedReader, batches};
use self::strands::STRANDS;

/// Numbers of a block where nothing has to wait: some batches of rows are made from several.
const BLOCK: u64 = 1_000;
/// Where rows come at a rate, a block holds no more of them than come in this part of a second: a subtask is not to wait long for
/// its turn.
const BLOCKS_A_SECOND: u64 = 100;
/// No source has more rows: arithmetic with times in milliseconds stays within 64 bits.
const ROWS_MAX: u64 = 1 << 53;

/// Makes rows from their numbers.
pub trait MakeRows: Send + 'static {
    /// The rows with these numbers. The ranges ascend. There may be fewer rows than numbers.
    fn rows(&mut self, numbers: &[Range<u64>]) -> Result<RecordBatch>;

    /// How many numbers make about so many rows.
    fn numbers_for(&self, rows: usize) -> u64 {
        rows as u64
    }
}

/// Which numbers a source has, and how fast they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbering {
    /// The number after the last one; `None` if there is no last one.
    pub end: Option<u64>,
    /// Numbers a second, all subtasks together; `None` for as many as are asked for.
    pub rate: Option<u64>,
    /// Whether a reader stays when it has read everything.
    pub stays: bool,
}

impl Numbering {
    fn limit(&self) -> u64 {
        self.end.unwrap_or(ROWS_MAX).min(ROWS_MAX)
    }

    fn block(&self) -> u64 {
        self.rate.map_or(BLOCK, |rate| (rate / BLOCKS_A_SECOND).clamp(1, BLOCK))
    }

    /// The splits, dealt to at most so many partitions.
    pub fn deal(&self, partitions: usize) -> Vec<Vec<Split>> {
        let count = partitions.clamp(1, STRANDS as usize);
        let mut dealt = vec![Vec::new(); count];
        for strand in 0..STRANDS {
            dealt[strand as usize % count].push(Split {
                display: format!("strand {strand} of {STRANDS}"),
                descriptor: strand.to_le_bytes().to_vec().into(),
                size_bytes: self.limit().div_ceil(STRANDS.into()),
                hosts: Vec::new(),
            });
        }
        dealt
    }
}

/// The strands that splits stand for.
fn strands_of(splits: &[Split]) -> Result<Vec<u32>> {
    let strand = |split: &Split| match <[u8; 4]>::try_from(split.descriptor.as_ref()) {
        Ok(bytes) if u32::from_le_bytes(bytes) < STRANDS => Ok(u32::from_le_bytes(bytes)),
        _ => Err(Error::Internal(format!("the split `{}` is none of a numbered source", split.display))),
    };
    splits.iter().map(strand).collect()
}
