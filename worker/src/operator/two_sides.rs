//! What joins of held rows have in common: the rows of both sides, and the batch join that is run over some of them.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    error::Result,
    physical_plan::{
        ExecutionPlan,
        joins::{HashJoinExec, PartitionMode},
    },
};

use super::{held_rows::HeldRows, link::Side, sub_plan::SubPlan};
use crate::state::{Snapshot, StateChunk, check_schema};

/// The table of the left side in a join's state.
pub const LEFT: u16 = 0;
/// That of the right side.
pub const RIGHT: u16 = 1;

/// The rows of both sides that a join holds.
pub struct TwoSides {
    /// Of the left side: table [`LEFT`].
    pub left: HeldRows,
    /// Of the right side: table [`RIGHT`].
    pub right: HeldRows,
    /// Their columns.
    pub inputs: [SchemaRef; 2],
}

impl TwoSides {
    /// The rows of one side.
    pub fn of(&mut self, side: Side) -> &mut HeldRows {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }

    /// The bytes they hold.
    pub fn bytes(&self) -> usize {
        self.left.bytes() + self.right.bytes()
    }

    /// Adds them to a snapshot.
    pub fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        self.left.chunks()?.iter().for_each(|chunk| snapshot.chunk(chunk));
        self.right.chunks()?.iter().for_each(|chunk| snapshot.chunk(chunk));
        Ok(())
    }

    /// Takes back their chunks.
    pub fn restore(&mut self, chunks: Vec<Arc<StateChunk>>) -> Result<()> {
        for chunk in chunks {
            let (rows, schema) = match chunk.table {
                LEFT => (&mut self.left, &self.inputs[0]),
                _ => (&mut self.right, &self.inputs[1]),
            };
            check_schema(&chunk.rows, schema)?;
            rows.restore(chunk)?;
        }
        Ok(())
    }
}

/// A join as a plan over rows in memory.
pub struct BatchJoin {
    plan: SubPlan,
    /// The same join with its sides exchanged: the smaller one is to be in the hash table.
    swapped: Option<Arc<dyn ExecutionPlan>>,
}

impl BatchJoin {
    /// The join that a plan is.
    pub fn new(plan: SubPlan) -> Result<Self> {
        // One that treats NULL in its own way has a fixed side.
        let hash_join = plan.plan().downcast_ref::<HashJoinExec>().filter(|join| !join.null_aware);
        let swapped = hash_join.map(|join| join.swap_inputs(PartitionMode::CollectLeft)).transpose()?;
        Ok(Self { plan, swapped })
    }

    /// Joins rows.
    pub fn join(&self, left: Vec<RecordBatch>, right: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        let count = |side: &[RecordBatch]| side.iter().map(RecordBatch::num_rows).sum::<usize>();
        match &self.swapped {
            Some(swapped) if count(&right) < count(&left) => self.plan.run(swapped, vec![right, left]),
            _ => self.plan.run(self.plan.plan(), vec![left, right]),
        }
    }
}
