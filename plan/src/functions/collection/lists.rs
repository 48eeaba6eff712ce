//! Arrays by row, with elements that can be compared whatever their type.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, UInt32Array},
    buffer::{NullBuffer, OffsetBuffer},
    compute::{concat, take},
    datatypes::DataType,
    row::{Row, RowConverter, Rows, SortField},
};
use datafusion::common::{Result, plan_err};

use crate::functions::argument::Call;

/// Elements of any type as comparable bytes; NULL equals NULL and sorts first.
pub struct Comparable {
    converter: RowConverter,
}

impl Comparable {
    /// For elements of a type.
    pub fn of(data_type: &DataType) -> Result<Self> {
        Ok(Self { converter: RowConverter::new(vec![SortField::new(data_type.clone())])? })
    }

    /// The elements of a column.
    pub fn rows(&self, column: &ArrayRef) -> Result<Rows> {
        Ok(self.converter.convert_columns(&[Arc::clone(column)])?)
    }
}

/// The array arguments of a call, their elements in one column.
pub struct Lists {
    lists: Vec<ListArray>,
    starts: Vec<usize>,
    /// The elements of all arguments, one argument after another.
    pub values: ArrayRef,
}

impl Lists {
    /// The arguments at these places.
    pub fn of(call: &Call, arguments: Range<usize>) -> Result<Self> {
        let lists = arguments
            .map(|index| Ok(call.column(index)?.as_list::<i32>().clone()))
            .collect::<Result<Vec<_>>>()?;
        Self::with_more(lists, None)
    }

    /// The first argument, and after its elements those of `more`; returns where these begin, too.
    pub fn with_items(call: &Call, more: &ArrayRef) -> Result<(Self, usize)> {
        let list = call.column(0)?.as_list::<i32>().clone();
        let start = list.values().len();
        Ok((Self::with_more(vec![list], Some(more))?, start))
    }

    fn with_more(lists: Vec<ListArray>, more: Option<&ArrayRef>) -> Result<Self> {
        let starts = lists.iter().scan(0, |end, list| {
            let start = *end;
            *end += list.values().len();
            Some(start)
        });
        let starts = starts.collect();
        let all: Vec<&dyn Array> =
            lists.iter().map(|list| list.values().as_ref()).chain(more.map(AsRef::as_ref)).collect();
        let values = concat(&all)?;
        Ok(Self { lists, starts, values })
    }

    /// Where in `values` the elements of an argument's row are; nothing if the array is NULL.
    pub fn items(&self, argument: usize, row: usize) -> Option<Range<usize>> {
        let list = &self.lists[argument];
        let (start, offsets) = (self.starts[argument], list.value_offsets());
        list.is_valid(row).then(|| start + offsets[row] as usize..start + offsets[row + 1] as usize)
    }

    /// The elements, comparable.
    pub fn comparable(&self) -> Result<Rows> {
        Comparable::of(self.values.data_type())?.rows(&self.values)
    }
}

/// Builds an array column out of elements that are there; `pick` appends the places of a row's elements and says whether there
/// is an array at all.
pub fn build(
    call: &Call,
    values: &ArrayRef,
    mut pick: impl FnMut(usize, &mut Vec<u32>) -> Result<Option<()>>,
) -> Result<ArrayRef> {
    let DataType::List(field) = call.return_type else { return plan_err!("the result is an array") };
    let (mut picked, mut lengths, mut valid) =
        (vec![], Vec::with_capacity(call.rows), Vec::with_capacity(call.rows));
    for row in 0..call.rows {
        let before = picked.len();
        valid.push(pick(row, &mut picked)?.is_some());
        lengths.push(picked.len() - before);
    }
    let values = take(values, &UInt32Array::from(picked), None)?;
    let nulls = NullBuffer::from(valid);
    let nulls = (nulls.null_count() > 0).then_some(nulls);
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), OffsetBuffer::from_lengths(lengths), values, nulls)?))
}

/// Whether an element is among the picked ones.
pub fn is_picked(element: Row, picked: &[u32], rows: &Rows) -> bool {
    picked.iter().any(|place| rows.row(*place as usize) == element)
}
