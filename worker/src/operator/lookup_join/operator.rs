//! What comes out for rows that look up others.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array},
    compute::take,
    datatypes::SchemaRef,
};
use datafusion::{error::Result, execution::memory_pool::MemoryReservation, physical_expr::PhysicalExpr};
use tokio::sync::watch;

use super::table::{LookupTable, Pairs};
use crate::operator::{
    keys::evaluated,
    link::{Next, Operator},
    predicate::mask,
};

/// What is joined how.
pub struct LookupPlan {
    /// Whether a row for which nothing is found comes out with NULLs.
    pub keeps_all: bool,
    /// What is looked up.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// What must hold besides, over the columns put out.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// The columns put out: those of the row, then those that are found.
    pub schema: SchemaRef,
}

/// A lookup join.
pub struct LookupJoin {
    plan: LookupPlan,
    table: watch::Receiver<Arc<LookupTable>>,
    memory: MemoryReservation,
}

impl LookupJoin {
    /// A join with the table that is handed over last.
    pub fn new(
        plan: LookupPlan,
        table: watch::Receiver<Arc<LookupTable>>,
        memory: MemoryReservation,
    ) -> Self {
        Self { plan, table, memory }
    }

    fn joined(
        &self,
        rows: &RecordBatch,
        asking: &[u32],
        found: Vec<Option<u32>>,
        table: &LookupTable,
    ) -> Result<RecordBatch> {
        let is_all =
            asking.len() == rows.num_rows() && asking.iter().enumerate().all(|(at, row)| at as u32 == *row);
        let asking = UInt32Array::from(asking.to_vec());
        let own = rows.columns().iter().map(|column| match is_all {
            true => Ok(Arc::clone(column)),
            false => Ok(take(column, &asking, None)?),
        });
        let mut columns = own.collect::<Result<Vec<ArrayRef>>>()?;
        let found = UInt32Array::from(found);
        for column in table.rows.columns() {
            columns.push(take(column, &found, None)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(asking.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.plan.schema), columns, &options)?)
    }

    /// The pairs for which the condition holds.
    fn held(&self, rows: &RecordBatch, pairs: Pairs, table: &LookupTable) -> Result<Pairs> {
        let Some(filter) = &self.plan.filter else { return Ok(pairs) };
        let found = pairs.found.iter().copied().map(Some).collect();
        let mask = mask(filter, &self.joined(rows, &pairs.asking, found, table)?)?;
        let held = |of: &[u32]| {
            of.iter().zip(mask.values()).filter(|(_, holds)| *holds).map(|(row, _)| *row).collect()
        };
        Ok(Pairs { asking: held(&pairs.asking), found: held(&pairs.found) })
    }
}

impl Operator for LookupJoin {
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        let table = Arc::clone(&self.table.borrow_and_update());
        self.memory.try_resize(table.bytes())?;
        let keys = evaluated(&self.plan.keys, &batch)?;
        let pairs = table.find(&keys, batch.num_rows())?;
        let Pairs { asking, found } = self.held(&batch, pairs, &table)?;
        let mut found: Vec<Option<u32>> = found.into_iter().map(Some).collect();
        let mut all = asking;
        if self.plan.keeps_all {
            (all, found) = padded(batch.num_rows() as u32, &all, &found);
        }
        if all.is_empty() {
            return Ok(());
        }
        next.rows(self.joined(&batch, &all, found, &table)?)
    }
}

/// The pairs with those rows in their places that have found nothing.
fn padded(rows: u32, asking: &[u32], found: &[Option<u32>]) -> (Vec<u32>, Vec<Option<u32>>) {
    let (mut all, mut partners) = (Vec::with_capacity(rows as usize), Vec::with_capacity(rows as usize));
    let mut at = 0;
    for row in 0..rows {
        let first = at;
        while asking.get(at) == Some(&row) {
            all.push(row);
            partners.push(found[at]);
            at += 1;
        }
        if at == first {
            all.push(row);
            partners.push(None);
        }
    }
    (all, partners)
}
