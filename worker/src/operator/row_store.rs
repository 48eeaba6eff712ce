//! Rows that are kept, by number.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array},
    compute::{concat_batches, interleave, take},
    datatypes::SchemaRef,
};
use datafusion::error::{DataFusionError, Result};

/// Blocks are not made larger than this by putting small ones together.
const BLOCK_ROWS: usize = 64 << 10;

/// Rows in the order in which they were pushed; the first one is number zero.
pub struct RowStore {
    schema: SchemaRef,
    blocks: Vec<RecordBatch>,
    /// The number of each block's first row.
    starts: Vec<u32>,
    rows: u32,
    bytes: usize,
    /// So many blocks do not change any more.
    sealed: usize,
}

impl RowStore {
    /// A store of rows with these columns.
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema, blocks: Vec::new(), starts: Vec::new(), rows: 0, bytes: 0, sealed: 0 }
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many rows there are.
    pub fn count(&self) -> usize {
        self.rows as usize
    }

    /// The bytes they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rows that were pushed since this was last called, some at a time. They stay where they are and can be shared.
    pub fn seal(&mut self) -> &[RecordBatch] {
        let first = std::mem::replace(&mut self.sealed, self.blocks.len());
        &self.blocks[first..]
    }

    /// Adds rows.
    pub fn push(&mut self, columns: Vec<ArrayRef>, rows: usize) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        let total = self.count() + rows;
        let total = u32::try_from(total).map_err(|_| {
            DataFusionError::ResourcesExhausted(format!(
                "one subtask would keep {total} rows: raise the parallelism"
            ))
        })?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let mut block = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        // Each row is copied about as often as the number of rows doubles.
        while self.blocks.len() > self.sealed
            && let Some(last) = self.blocks.last()
            && last.num_rows() <= 2 * block.num_rows()
            && last.num_rows() + block.num_rows() <= BLOCK_ROWS
        {
            block = concat_batches(&self.schema, [last, &block])?;
            self.bytes -= last.get_array_memory_size();
            self.blocks.pop();
            self.starts.pop();
        }
        self.bytes += block.get_array_memory_size();
        self.starts.push(total - block.num_rows() as u32);
        self.blocks.push(block);
        self.rows = total;
        Ok(())
    }

    /// The rows with these numbers, in this order.
    pub fn take(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        if numbers.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)).columns().to_vec());
        }
        if self.blocks.len() <= 1 {
            let rows = UInt32Array::from(numbers.to_vec());
            let empty;
            let block = match self.blocks.first() {
                Some(block) => block,
                None => {
                    empty = RecordBatch::new_empty(Arc::clone(&self.schema));
                    &empty
                }
            };
            let taken = block.columns().iter().map(|column| Ok(take(column, &rows, None)?));
            return taken.collect();
        }
        let (used, places) = self.places(numbers);
        let column = |at: usize| {
            let arrays: Vec<_> = used.iter().map(|block| self.blocks[*block].column(at).as_ref()).collect();
            Ok(interleave(&arrays, &places)?)
        };
        (0..self.schema.fields().len()).map(column).collect()
    }

    /// The blocks in which these rows stand, and for each row its block, by its place among those, and its place in the block.
    fn places(&self, numbers: &[u32]) -> (Vec<usize>, Vec<(usize, usize)>) {
        let mut used = Vec::new();
        let mut place_of_block = vec![usize::MAX; self.blocks.len()];
        let mut last = 0;
        let places = numbers.iter().map(|number| {
            let (start, rows) = (self.starts[last], self.blocks[last].num_rows() as u32);
            if *number < start || *number - start >= rows {
                last = self.starts.partition_point(|start| start <= number) - 1;
            }
            if place_of_block[last] == usize::MAX {
                place_of_block[last] = used.len();
                used.push(last);
            }
            (place_of_block[last], (*number - self.starts[last]) as usize)
        });
        let places = places.collect();
        (used, places)
    }

    /// Keeps only the rows with these numbers, in this order, which gives them new numbers.
    pub fn keep(&mut self, numbers: &[u32]) -> Result<()> {
        let mut kept = Self::new(Arc::clone(&self.schema));
        for part in numbers.chunks(BLOCK_ROWS) {
            kept.push(self.take(part)?, part.len())?;
        }
        *self = kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{AsArray as _, Int64Array},
        datatypes::{DataType, Field, Int64Type, Schema},
    };
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_keep_their_numbers(sizes in prop::collection::vec(1usize..300, 1..40), picks in prop::collection::vec(any::<u32>(), 1..50)) {
            let mut store = RowStore::new(Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)])));
            for size in sizes {
                let first = store.count() as i64;
                let values = Int64Array::from_iter_values(first..first + size as i64);
                store.push(vec![Arc::new(values)], size).unwrap();
            }
            let numbers: Vec<u32> = picks.iter().map(|pick| pick % store.count() as u32).collect();
            let taken = store.take(&numbers).unwrap();
            let expected: Vec<i64> = numbers.iter().map(|number| i64::from(*number)).collect();
            prop_assert_eq!(taken[0].as_primitive::<Int64Type>().values().to_vec(), expected.clone());
            store.keep(&numbers).unwrap();
            let all: Vec<u32> = (0..numbers.len() as u32).collect();
            prop_assert_eq!(store.take(&all).unwrap()[0].as_primitive::<Int64Type>().values().to_vec(), expected);
        }
    }
}
