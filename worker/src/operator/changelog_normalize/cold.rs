//! Last rows of keys that are not in memory: a table on the local disk.

use std::{collections::HashMap, path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch},
    datatypes::{Field, Schema, SchemaRef},
    row::{RowConverter, SortField},
};
use datafusion::{error::Result, execution::memory_pool::MemoryPool};

use crate::{
    operator::{hot_keys::HotKeys, marks::Marks},
    state::{ChunkId, StateChunk, StoredRows, lsm::LsmTable},
};

/// Where the rows of keys are that are not in memory.
pub struct ColdRow {
    /// The row of each key on the disk; of a key that is in memory too, what it was.
    pub table: LsmTable,
    /// Rows in memory of which the disk does not know.
    pub unsaved: Marks,
    /// Keys that have ended since the disk was last written, each with the number of the row that said so.
    pub ended: HashMap<Box<[u8]>, u32>,
    /// How many keys have a row, in memory or not.
    pub live: usize,
    /// Whether the disk has none.
    pub is_empty: bool,
    /// A snapshot is to store all rows, because the changes since the last one are not at hand.
    pub all_wanted: bool,
    /// What is in memory may take, and where the rest is.
    pub share: HotKeys,
    keys: usize,
}

impl ColdRow {
    /// None yet, of rows with these columns, of which some are the key. `None` where the disk cannot keep such rows.
    pub fn create(
        folder: &Path,
        pool: &Arc<dyn MemoryPool>,
        columns: &Schema,
        keys: &[usize],
    ) -> Result<Option<Self>> {
        let of_key = keys.iter().map(|key| columns.field(*key));
        let fields = of_key.chain(columns.fields().iter().map(Arc::as_ref)).enumerate();
        let fields: Vec<Field> = fields
            .map(|(at, field)| {
                Field::new(format!("column{at}"), field.data_type().clone(), field.is_nullable())
            })
            .collect();
        let sorted: Vec<_> = fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
        if !RowConverter::supports_fields(&sorted) {
            return Ok(None);
        }
        let (share, schema) = (HotKeys::new(folder, pool)?, Arc::new(Schema::new(fields)));
        Ok(Some(Self {
            table: LsmTable::create(&share.disk, schema, keys.len(), false)?,
            unsaved: Marks::default(),
            ended: HashMap::new(),
            live: 0,
            is_empty: true,
            all_wanted: false,
            share,
            keys: keys.len(),
        }))
    }

    /// The last row of a key is now this one; `is_new`: it had none.
    pub fn changed(&mut self, key: &[u8], row: u32, is_new: bool) {
        self.live += usize::from(is_new);
        self.ended.remove(key);
        self.unsaved.mark(row as usize);
    }

    /// A key has no row any more, says this one; `had_one`: it had one before.
    pub fn ended(&mut self, key: &[u8], row: u32, had_one: bool) {
        if had_one && self.ended.insert(key.into(), row).is_none() {
            self.live -= 1;
        }
    }

    /// All rows on the disk as they are now, in chunks with the columns of `schema`.
    pub fn all(&self, groups: u16, schema: &SchemaRef) -> Result<Arc<dyn StoredRows>> {
        let all = self.table.all(0, groups, None)?;
        Ok(Arc::new(Weighted { all, keys: self.keys, schema: Arc::clone(schema) }))
    }

    /// The bytes it holds, besides the cache.
    pub fn bytes(&self) -> usize {
        let ended = self.ended.keys().map(|key| key.len() + size_of::<(Box<[u8]>, u32)>());
        self.unsaved.bytes() + ended.sum::<usize>()
    }
}

/// All rows of the table, as a checkpoint has them: without their keys in front, and each with the weight one.
struct Weighted {
    all: Arc<dyn StoredRows>,
    keys: usize,
    schema: SchemaRef,
}

impl Weighted {
    fn chunk(&self, chunk: &StateChunk) -> Result<Arc<StateChunk>> {
        let mut columns = chunk.rows.columns()[self.keys..].to_vec();
        columns.push(Arc::new(Int64Array::from(vec![1; chunk.rows.num_rows()])) as ArrayRef);
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        Ok(StateChunk::new(chunk.table, rows, chunk.key_groups.clone()))
    }
}

impl StoredRows for Weighted {
    fn id(&self) -> ChunkId {
        self.all.id()
    }

    fn chunks(&self) -> Box<dyn Iterator<Item = Result<Arc<StateChunk>>> + Send + '_> {
        Box::new(self.all.chunks().map(|chunk| self.chunk(&*chunk?)))
    }
}
