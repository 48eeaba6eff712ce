//! Rows by key on a local disk: an LSM tree (fjall) for state that is larger than memory.
//!
//! Its files live in the worker's temporary folder for as long as the operator does: what must outlive that is in checkpoints. Keys and
//! values are arrow-row bytes, so they mean nothing to another build. Whole batches are looked up and written, in the order of their
//! keys, and what is written goes straight into sorted tables, without a journal.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray as _, BooleanArray, RecordBatch, RecordBatchOptions},
    compute::filter_record_batch,
    datatypes::{DataType, Int64Type, SchemaRef},
    row::{RowConverter, Rows, SortField},
};
use datafusion::error::Result;
use fjall::{Keyspace, Readable as _, UserKey, UserValue};

use super::{
    chunk::{ChunkId, StateChunk},
    key_group::key_groups,
    snapshot::StoredRows,
    state_disk::{StateDisk, failed},
};

/// Rows of a chunk that is read from it.
const CHUNK_ROWS: usize = 64 << 10;

/// Rows whose values are asked for at once when they are written.
const PUT_ROWS: usize = 64 << 10;

/// Rows by key.
pub struct LsmTable {
    tree: Keyspace,
    disk: Arc<StateDisk>,
    keys: RowConverter,
    values: RowConverter,
    layout: Layout,
}

/// The columns of a table.
#[derive(Clone)]
struct Layout {
    schema: SchemaRef,
    /// So many of them, the first ones, are the key.
    keys: usize,
    /// Whether the time of the last change stands behind the values, in milliseconds.
    is_timed: bool,
}

impl Layout {
    fn converters(&self) -> Result<(RowConverter, RowConverter)> {
        let types = self.schema.fields().iter().map(|field| field.data_type().clone());
        let mut keys: Vec<_> = types.map(SortField::new).collect();
        let mut values = keys.split_off(self.keys);
        values.extend(self.is_timed.then(|| SortField::new(DataType::Int64)));
        Ok((RowConverter::new(keys)?, RowConverter::new(values)?))
    }
}

/// What is to be known of some keys.
pub struct Known {
    /// The value columns.
    pub values: Vec<ArrayRef>,
    /// Which of them are taken out instead.
    pub gone: Vec<bool>,
}

/// What was found of some keys.
pub struct Found {
    /// The places of those that are there.
    pub places: Vec<u32>,
    /// The value columns of those.
    pub values: Vec<ArrayRef>,
}

/// What was found of keys by their first columns.
pub struct Scanned {
    /// The place of what each one's key begins with.
    pub places: Vec<u32>,
    /// The other columns of their keys.
    pub rest: Vec<ArrayRef>,
    /// Their value columns.
    pub values: Vec<ArrayRef>,
}

impl LsmTable {
    /// An empty table. The first columns are the key; `is_timed`: the time of the last change, in milliseconds, is one more value.
    pub fn create(disk: &Arc<StateDisk>, schema: SchemaRef, keys: usize, is_timed: bool) -> Result<Self> {
        let layout = Layout { schema, keys, is_timed };
        let (keys, values) = layout.converters()?;
        Ok(Self { tree: disk.new_table()?, disk: Arc::clone(disk), keys, values, layout })
    }

    /// What is there of these keys.
    pub fn get(&self, keys: &[ArrayRef]) -> Result<Found> {
        let rows = self.keys.convert_columns(keys)?;
        let (mut places, mut found) = (Vec::new(), Vec::new());
        for place in in_order(&rows) {
            if let Some(value) = self.tree.get(rows.row(place as usize).data()).map_err(failed)? {
                places.push(place);
                found.push(value);
            }
        }
        let parser = self.values.parser();
        let values = self.values.convert_rows(found.iter().map(|value| parser.parse(value)))?;
        Ok(Found { places, values })
    }

    /// What is there of all keys that begin with these columns.
    pub fn scan(&self, first: &[ArrayRef]) -> Result<Scanned> {
        let types = self.layout.schema.fields()[..self.layout.keys].iter();
        let mut begins: Vec<_> = types.map(|field| SortField::new(field.data_type().clone())).collect();
        let rest = RowConverter::new(begins.split_off(first.len()))?;
        let begins = RowConverter::new(begins)?.convert_columns(first)?;
        let (mut places, mut found) = (Vec::new(), Vec::new());
        for place in in_order(&begins) {
            let begin = begins.row(place as usize).data();
            for entry in self.tree.prefix(begin) {
                let (key, value) = entry.into_inner().map_err(failed)?;
                places.push(place);
                found.push((key, begin.len(), value));
            }
        }
        let parser = rest.parser();
        let rest = rest.convert_rows(found.iter().map(|(key, begin, _)| parser.parse(&key[*begin..])))?;
        let parser = self.values.parser();
        let values = self.values.convert_rows(found.iter().map(|(.., value)| parser.parse(value)))?;
        Ok(Scanned { places, rest, values })
    }

    /// Writes keys, of which each comes once. What is to be known of them is asked for a part at a time, in their order: `of` is given their
    /// places.
    pub fn put(&mut self, keys: &[ArrayRef], mut of: impl FnMut(&[u32]) -> Result<Known>) -> Result<()> {
        let keys = self.keys.convert_columns(keys)?;
        let order = in_order(&keys);
        let mut writing = self.tree.start_ingestion().map_err(failed)?;
        for part in order.chunks(PUT_ROWS) {
            let Known { values, gone } = of(part)?;
            let values = self.values.convert_columns(&values)?;
            for (at, row) in part.iter().enumerate() {
                let key = keys.row(*row as usize).data();
                match gone[at] {
                    true => writing.write_tombstone(key).map_err(failed)?,
                    false => writing.write(key, values.row(at).data()).map_err(failed)?,
                }
            }
        }
        writing.finish().map_err(failed)
    }

    /// Everything as it is now, without what has changed last at `oldest_ms` or before; to be read while the table changes.
    pub fn all(&self, table: u16, groups: u16, oldest_ms: Option<i64>) -> Result<Arc<dyn StoredRows>> {
        let (keys, values) = self.layout.converters()?;
        Ok(Arc::new(AllRows {
            id: ChunkId::next(),
            tree: self.tree.clone(),
            _disk: Arc::clone(&self.disk),
            at: self.disk.snapshot(),
            keys,
            values,
            layout: self.layout.clone(),
            oldest_ms,
            table,
            groups,
        }))
    }
}

/// The numbers of rows in the order of their bytes.
fn in_order(rows: &Rows) -> Vec<u32> {
    // The first bytes, side by side, tell most rows apart without another look at them.
    let first = |row: usize| {
        let data = rows.row(row).data();
        let mut bytes = [0; 16];
        let length = data.len().min(bytes.len());
        bytes[..length].copy_from_slice(&data[..length]);
        let (high, low) = bytes.split_at(8);
        [high, low].map(|part| part.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let mut order: Vec<([u64; 2], u32)> = (0..rows.num_rows()).map(|row| (first(row), row as u32)).collect();
    order.sort_unstable_by(|(one, row), (other, other_row)| {
        one.cmp(other).then_with(|| rows.row(*row as usize).cmp(&rows.row(*other_row as usize)))
    });
    order.into_iter().map(|(_, row)| row).collect()
}

impl Drop for LsmTable {
    fn drop(&mut self) {
        self.disk.drop_table(&self.tree);
    }
}

/// All rows of a table as they were at one moment.
struct AllRows {
    id: ChunkId,
    tree: Keyspace,
    /// Its files stay as long as they are read.
    _disk: Arc<StateDisk>,
    at: fjall::Snapshot,
    keys: RowConverter,
    values: RowConverter,
    layout: Layout,
    oldest_ms: Option<i64>,
    table: u16,
    groups: u16,
}

impl AllRows {
    fn chunk(&self, rows: &[(UserKey, UserValue)]) -> Result<Arc<StateChunk>> {
        let (keys, values) = (self.keys.parser(), self.values.parser());
        let mut columns = self.keys.convert_rows(rows.iter().map(|(key, _)| keys.parse(key)))?;
        columns.extend(self.values.convert_rows(rows.iter().map(|(_, value)| values.parse(value)))?);
        let times = if self.layout.is_timed { columns.pop() } else { None };
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let mut batch =
            RecordBatch::try_new_with_options(Arc::clone(&self.layout.schema), columns, &options)?;
        if let (Some(times), Some(oldest_ms)) = (times, self.oldest_ms) {
            let times = times.as_primitive::<Int64Type>().values().iter();
            let is_young: BooleanArray = times.map(|time| Some(*time > oldest_ms)).collect();
            batch = filter_record_batch(&batch, &is_young)?;
        }
        let key_groups = key_groups(&batch.columns()[..self.layout.keys], batch.num_rows(), self.groups)?;
        Ok(StateChunk::new(self.table, batch, key_groups))
    }
}

impl StoredRows for AllRows {
    fn id(&self) -> ChunkId {
        self.id
    }

    fn chunks(&self) -> Box<dyn Iterator<Item = Result<Arc<StateChunk>>> + Send + '_> {
        let mut rows = self.at.iter(&self.tree);
        Box::new(std::iter::from_fn(move || {
            let part = rows.by_ref().take(CHUNK_ROWS).map(fjall::Guard::into_inner);
            match part.collect::<std::result::Result<Vec<_>, _>>() {
                Ok(part) if part.is_empty() => None,
                Ok(part) => Some(self.chunk(&part)),
                Err(error) => Some(Err(failed(error))),
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;

    use super::*;

    #[test]
    fn rows_are_in_the_order_of_their_bytes() {
        let texts =
            ["", "b", "a", "a long text that ends so", "a long text that ends otherwise", "a long text", "z"];
        let rows = RowConverter::new(vec![SortField::new(DataType::Utf8)]).unwrap();
        let rows = rows.convert_columns(&[Arc::new(StringArray::from(texts.to_vec()))]).unwrap();
        let order: Vec<&str> = in_order(&rows).into_iter().map(|row| texts[row as usize]).collect();
        let mut expected = texts.to_vec();
        expected.sort_unstable();
        assert_eq!(order, expected);
    }
}
