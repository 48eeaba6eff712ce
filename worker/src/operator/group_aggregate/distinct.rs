//! An aggregate with `DISTINCT`: each value counts once, however often it is there.

use arrow::{array::ArrayRef, datatypes::DataType};
use datafusion::{common::internal_err, error::Result};

use super::{
    entries::{Changes, Entries},
    values::{Rows, Values},
};

/// An aggregate of the values that there are.
pub struct Distinct {
    /// The values.
    pub entries: Entries,
    /// What counts each once.
    pub inner: Box<dyn Values>,
}

impl Distinct {
    fn take(&mut self, changes: &Changes) -> Result<()> {
        let Changes { groups, columns, weights } = changes;
        self.inner.update(&Rows { groups, columns, filter: None, weights: Some(weights) })
    }
}

impl Values for Distinct {
    fn resize(&mut self, groups: usize) {
        self.inner.resize(groups);
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let changes = self.entries.update(rows)?;
        self.take(&changes)
    }

    fn results(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        self.inner.results(groups)
    }

    fn state_types(&self) -> Vec<DataType> {
        // It follows from the entries.
        Vec::new()
    }

    fn states(&mut self, _: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(Vec::new())
    }

    fn merge(&mut self, _: &[usize], _: &[ArrayRef]) -> Result<()> {
        internal_err!("values that are counted one by one are not merged")
    }

    fn set(&mut self, _: &[usize], _: &[ArrayRef]) -> Result<()> {
        Ok(())
    }

    fn forget(&mut self, groups: &[u32]) -> Result<()> {
        self.entries.forget(groups)?;
        self.inner.forget(groups)?;
        Ok(())
    }

    fn keep(&mut self, groups: &[u32]) -> Result<()> {
        self.inner.keep(groups)
    }

    fn bytes(&self) -> usize {
        self.inner.bytes() + self.entries.bytes()
    }

    fn entries(&mut self) -> Option<&mut Entries> {
        Some(&mut self.entries)
    }

    fn entries_changed(&mut self, changes: &Changes) -> Result<()> {
        self.take(changes)
    }

    fn rebuild(&mut self) -> Result<()> {
        self.entries.all()?.iter().try_for_each(|part| self.take(part))
    }
}
