//! What one aggregate knows of every group.

use arrow::{
    array::{ArrayRef, BooleanArray, Int64Array},
    buffer::NullBuffer,
    datatypes::DataType,
};
use datafusion::error::Result;

use super::entries::{Changes, Entries};

/// Rows that an aggregate is to count, or, with a weight below zero, to count no more.
pub struct Rows<'a> {
    /// The group of each.
    pub groups: &'a [usize],
    /// The arguments.
    pub columns: &'a [ArrayRef],
    /// Which rows count; all where not given.
    pub filter: Option<NullBuffer>,
    /// The weight of each; one where not given.
    pub weights: Option<&'a Int64Array>,
}

impl Rows<'_> {
    /// The rows for which a `FILTER` clause is true.
    pub fn filter(mask: Option<&BooleanArray>) -> Option<NullBuffer> {
        mask.map(|mask| NullBuffer::new(mask.values().clone()))
    }

    /// The rows that count and have no NULL among their arguments; all where there is nothing to leave out.
    pub fn valid(&self) -> Option<NullBuffer> {
        let mut valid = self.filter.clone();
        for column in self.columns {
            valid = NullBuffer::union(valid.as_ref(), column.logical_nulls().as_ref());
        }
        valid.filter(|valid| valid.null_count() > 0)
    }

    /// Calls `take` with row, group and weight of those rows.
    pub fn each(&self, mut take: impl FnMut(usize, usize, i64)) {
        let rows = self.groups.iter().copied().enumerate();
        match (self.valid(), self.weights) {
            (None, None) => rows.for_each(|(row, group)| take(row, group, 1)),
            (None, Some(weights)) => rows.for_each(|(row, group)| take(row, group, weights.value(row))),
            (Some(valid), None) => {
                rows.filter(|(row, _)| valid.is_valid(*row)).for_each(|(row, group)| take(row, group, 1));
            }
            (Some(valid), Some(weights)) => rows
                .filter(|(row, _)| valid.is_valid(*row))
                .for_each(|(row, group)| take(row, group, weights.value(row))),
        }
    }
}

/// One aggregate's values, a group beside the other.
pub trait Values: Send {
    /// Makes room for so many groups.
    fn resize(&mut self, groups: usize);

    /// Takes rows.
    fn update(&mut self, rows: &Rows<'_>) -> Result<()>;

    /// The results of these groups, as they are now.
    fn results(&mut self, groups: &[u32]) -> Result<ArrayRef>;

    /// The types of the columns that are kept of a group.
    fn state_types(&self) -> Vec<DataType>;

    /// Those columns.
    fn states(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>>;

    /// Adds such columns of other rows to what these groups have. Not of values that are counted one by one.
    fn merge(&mut self, groups: &[usize], states: &[ArrayRef]) -> Result<()>;

    /// Puts such columns in the place of what these groups have.
    fn set(&mut self, groups: &[usize], states: &[ArrayRef]) -> Result<()>;

    /// Takes such columns of new groups, the first of which has number `first`, behind all that there are.
    fn extend(&mut self, first: usize, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, |column| column.len());
        self.resize(first + rows);
        let groups: Vec<usize> = (first..first + rows).collect();
        self.set(&groups, states)
    }

    /// These groups have nothing any more.
    fn forget(&mut self, groups: &[u32]) -> Result<()>;

    /// Keeps only these groups: the first of them is then group zero.
    fn keep(&mut self, groups: &[u32]) -> Result<()>;

    /// The bytes it holds.
    fn bytes(&self) -> usize;

    /// The values that it counts one by one, which are a table of the state by themselves.
    fn entries(&mut self) -> Option<&mut Entries> {
        None
    }

    /// Entries have come into memory, or left it, beside those that rows bring about.
    fn entries_changed(&mut self, _changes: &Changes) -> Result<()> {
        Ok(())
    }

    /// All of its entries have come back: computes what follows from them.
    fn rebuild(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The values of these places.
pub fn gather<T: Copy>(values: &[T], places: &[u32]) -> Vec<T> {
    places.iter().map(|place| values[*place as usize]).collect()
}

/// The values that are counted one by one, of each aggregate that does.
pub fn entries_of(values: &mut [Box<dyn Values>]) -> impl Iterator<Item = &mut Entries> {
    values.iter_mut().filter_map(|values| values.entries())
}
