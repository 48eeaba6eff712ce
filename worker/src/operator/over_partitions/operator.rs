//! What changes in the partitions in which rows come or go.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, UInt32Array},
    compute::{concat_batches, take_record_batch},
    datatypes::SchemaRef,
};
use datafusion::{error::Result, execution::memory_pool::MemoryReservation, physical_expr::PhysicalExpr};
use thalweg_plan::stream::changelog::without_weight;

use super::partitions::Partitions;
use crate::{
    operator::{
        changelog,
        link::{Next, Operator},
        marks::Marks,
        state_log::StateLog,
        sub_plan::SubPlan,
    },
    state::{Restored, Snapshot, check_schema, key_group::hashes},
};

/// What is computed of which rows.
pub struct Shape {
    /// The functions: a plan over all rows of some partitions.
    pub functions: SubPlan,
    /// What divides the rows.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The columns of rows.
    pub input: SchemaRef,
    /// The columns put out: those of rows, what is computed, and their weight.
    pub output: SchemaRef,
}

/// Computes functions over partitions.
pub struct OverPartitions {
    functions: SubPlan,
    /// The columns of rows, without their weight.
    input: SchemaRef,
    output: SchemaRef,
    partitions: Partitions,
    touched: Marks,
    log: StateLog,
    key_groups: u16,
    memory: MemoryReservation,
}

impl OverPartitions {
    /// An operator of this shape.
    pub fn new(shape: Shape, key_groups: u16, memory: MemoryReservation) -> Result<Self> {
        let input = without_weight(&shape.input);
        let columns = without_weight(&shape.output);
        Ok(Self {
            functions: shape.functions,
            partitions: Partitions::new(shape.keys, &columns, input.fields().len())?,
            input,
            output: shape.output,
            touched: Marks::default(),
            log: StateLog::new(0),
            key_groups,
            memory,
        })
    }

    /// The rows of the touched partitions as they were put out, and those that are there now as they have come.
    fn before_and_now(&mut self, batch: &RecordBatch) -> Result<(Vec<u32>, RecordBatch)> {
        let (rows, weights) = changelog::split(batch)?;
        let partitions = self.partitions.of_rows(&rows)?;
        let own = hashes(rows.columns(), rows.num_rows())?;
        partitions.iter().for_each(|partition| {
            self.touched.mark(*partition);
        });
        let touched = self.touched.take();
        let before: Vec<u32> =
            touched.iter().flat_map(|partition| self.partitions.list(*partition as usize)).copied().collect();
        // How often each row goes, of those of the batch and of those that are there.
        let mut going: HashMap<(usize, u64), i64> = HashMap::new();
        for (row, partition) in partitions.iter().enumerate() {
            let weight = changelog::weight(&weights, row);
            if weight < 0 {
                *going.entry((*partition, own[row])).or_default() -= weight;
            }
        }
        let mut stays = |partition: usize, hash: u64| match going.get_mut(&(partition, hash)) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            _ => true,
        };
        let mut kept = Vec::with_capacity(before.len());
        for partition in touched {
            let list = self.partitions.list(partition as usize).iter();
            kept.extend(list.filter(|row| stays(partition as usize, self.partitions.hashes(**row).own)));
        }
        let mut added = Vec::new();
        for (row, partition) in partitions.iter().enumerate() {
            for _ in 0..changelog::weight(&weights, row) {
                if stays(*partition, own[row]) {
                    added.push(row as u32);
                }
            }
        }
        let own_columns: Vec<usize> = (0..self.input.fields().len()).collect();
        let kept = self.partitions.take(&kept)?.project(&own_columns)?;
        let kept = RecordBatch::try_new(Arc::clone(&self.input), kept.columns().to_vec())?;
        let added = take_record_batch(&rows, &UInt32Array::from(added))?;
        let added = RecordBatch::try_new(Arc::clone(&self.input), added.columns().to_vec())?;
        Ok((before, concat_batches(&self.input, [&kept, &added])?))
    }

    /// What was put out and is not there any more, and what is there and was not put out.
    fn changes(&self, before: &[u32], now: Vec<RecordBatch>) -> Result<Option<RecordBatch>> {
        let columns = without_weight(&self.output);
        let now = concat_batches(&columns, &now)?;
        let mut out: HashMap<u64, Vec<u32>> = HashMap::new();
        for row in before {
            out.entry(self.partitions.hashes(*row).whole).or_default().push(*row);
        }
        let mut new = Vec::new();
        for (row, hashes) in self.partitions.hashes_of(&now)?.iter().enumerate() {
            if out.get_mut(&hashes.whole).and_then(Vec::pop).is_none() {
                new.push(row as u32);
            }
        }
        let mut gone: Vec<u32> = out.into_values().flatten().collect();
        gone.sort_unstable();
        if gone.is_empty() && new.is_empty() {
            return Ok(None);
        }
        let weights = gone.iter().map(|_| -1).chain(new.iter().map(|_| 1));
        let weights: ArrayRef = Arc::new(Int64Array::from_iter_values(weights));
        let parts = [self.partitions.take(&gone)?, take_record_batch(&now, &UInt32Array::from(new))?];
        let mut all = concat_batches(&columns, &parts)?.columns().to_vec();
        all.push(weights);
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.output), all)?))
    }

    fn resize(&mut self) -> Result<()> {
        self.memory.try_resize(self.partitions.bytes() + self.log.bytes())
    }
}

impl Operator for OverPartitions {
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        let (before, now) = self.before_and_now(&batch)?;
        let made = match now.num_rows() {
            0 => Vec::new(),
            _ => self.functions.run(self.functions.plan(), vec![vec![now]])?,
        };
        let Some(changes) = self.changes(&before, made)? else { return Ok(()) };
        self.partitions.change(&changes, usize::MAX)?;
        self.log.push(changes.clone());
        if self.log.is_long(self.partitions.len()) {
            self.log.clear();
            self.partitions.all()?.into_iter().for_each(|part| self.log.push(part));
        }
        self.resize()?;
        next.rows(changes)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        let partitions = &self.partitions;
        self.log.snapshot(&mut snapshot, self.key_groups, |batch| partitions.keys_of(batch))?;
        Ok(snapshot)
    }

    fn restore(&mut self, restored: Restored) -> Result<()> {
        for chunk in restored.chunks {
            check_schema(&chunk.rows, &self.output)?;
            self.partitions.change(&chunk.rows, usize::MAX)?;
            self.log.restore(chunk);
        }
        self.resize()
    }
}
