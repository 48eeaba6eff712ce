//! Rows by key in a table on the local disk, for operators that have only some of them in memory.
//!
//! Each row has a number that tells it from the others of its key. Each key has a head besides, which says how many rows it has and what
//! their weights add up to: so a key that is not there is told without a search, and rows are read only where they are needed.

use std::sync::Arc;

use crate::state::{
    ChunkId, StateChunk, StoredRows,
    key_group::key_groups,
    lsm::{Known, LsmTable},
    state_disk::StateDisk,
};
use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions,
        UInt32Array, UInt64Array, new_null_array,
    },
    compute::{concat, filter, filter_record_batch, is_not_null, take},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt64Type},
    row::{RowConverter, SortField},
};
use datafusion::error::{DataFusionError, Result};

/// The bytes of a row, as long as there is none in memory.
const ROW_BYTES_DEFAULT: usize = 128;

/// Rows on the disk; of those that are in memory too, what they were.
pub struct ColdRows {
    table: LsmTable,
    shape: Shape,
    is_timed: bool,
    /// Whether there are none.
    pub is_empty: bool,
    /// A snapshot is to store all rows, because the changes since the last one are not at hand.
    pub all_wanted: bool,
}

/// What the table's columns are: keys, the row's number (NULL of a head), then those of the row, its weight, and a count.
#[derive(Clone, Copy)]
struct Shape {
    keys: usize,
    columns: usize,
}

/// Rows as they are kept, a vector or column for each thing.
#[derive(Default)]
pub struct Kept {
    /// What tells each from the others of its key.
    pub numbers: Vec<u64>,
    /// Their columns.
    pub columns: Vec<ArrayRef>,
    /// How often each is there.
    pub weights: Vec<i64>,
    /// How many partners each has, where that is counted.
    pub partners: Vec<i64>,
    /// When each was changed last, where that matters.
    pub changed_ms: Vec<i64>,
}

impl Kept {
    /// Those rows of which this is true.
    pub fn filtered(self, is_kept: &[bool]) -> Result<Self> {
        if is_kept.iter().all(|is_kept| *is_kept) {
            return Ok(self);
        }
        let mask = BooleanArray::from(is_kept.to_vec());
        let columns = self.columns.iter().map(|column| Ok(filter(column, &mask)?));
        Ok(Self {
            columns: columns.collect::<Result<_>>()?,
            numbers: kept(self.numbers, is_kept),
            weights: kept(self.weights, is_kept),
            partners: kept(self.partners, is_kept),
            changed_ms: kept(self.changed_ms, is_kept),
        })
    }
}

fn kept<T>(values: Vec<T>, is_kept: &[bool]) -> Vec<T> {
    values.into_iter().zip(is_kept).filter(|(_, is_kept)| **is_kept).map(|(value, _)| value).collect()
}

/// Rows that were found, each with the place of its key among those asked for.
pub struct Found {
    /// The places.
    pub places: Vec<u32>,
    /// The rows.
    pub rows: Kept,
}

/// How many rows keys have.
#[derive(Default)]
pub struct Heads {
    /// Of those asked for, the places of the keys that are there.
    pub places: Vec<u32>,
    /// The number of rows of each.
    pub rows: Vec<i64>,
    /// The sum of their weights.
    pub totals: Vec<i64>,
}

/// About how much memory so many rows take, where those in memory take so much.
pub fn bytes_about(rows: i64, held_bytes: usize, held_rows: usize) -> usize {
    let row_bytes = held_bytes.checked_div(held_rows).unwrap_or(ROW_BYTES_DEFAULT);
    usize::try_from(rows).unwrap_or_default().saturating_mul(row_bytes)
}

impl ColdRows {
    /// Whether rows with such columns can be kept on the disk.
    pub fn supports(keys: &Schema, columns: &Schema) -> bool {
        let fields = keys.fields().iter().chain(columns.fields());
        let fields: Vec<_> = fields.map(|field| SortField::new(field.data_type().clone())).collect();
        RowConverter::supports_fields(&fields)
    }

    /// None yet, of rows with these columns. `is_timed`: each with the time of its last change.
    pub fn create(disk: &Arc<StateDisk>, keys: &Schema, columns: &Schema, is_timed: bool) -> Result<Self> {
        let field = |name: String, data_type: &DataType| Field::new(name, data_type.clone(), true);
        let mut fields: Vec<Field> = Vec::new();
        fields.extend(
            keys.fields().iter().enumerate().map(|(at, key)| field(format!("key{at}"), key.data_type())),
        );
        fields.push(field("number".to_owned(), &DataType::UInt64));
        let of_row = columns.fields().iter().enumerate();
        fields.extend(of_row.map(|(at, column)| field(format!("column{at}"), column.data_type())));
        fields.push(field("weight".to_owned(), &DataType::Int64));
        fields.push(field("count".to_owned(), &DataType::Int64));
        let shape = Shape { keys: keys.fields().len(), columns: columns.fields().len() };
        let schema = Arc::new(Schema::new(fields));
        let table = LsmTable::create(disk, schema, shape.keys + 1, is_timed)?;
        Ok(Self { table, shape, is_timed, is_empty: true, all_wanted: false })
    }

    /// How many rows these keys have.
    pub fn heads(&self, keys: &[ArrayRef]) -> Result<Heads> {
        let mut key = keys.to_vec();
        key.push(new_null_array(&DataType::UInt64, keys.first().map_or(0, |column| column.len())));
        let found = self.table.get(&key)?;
        let numbers = |at: usize| found.values[at].as_primitive::<Int64Type>().values().to_vec();
        let at = self.shape.columns;
        Ok(Heads { places: found.places, rows: numbers(at + 1), totals: numbers(at) })
    }

    /// All rows of these keys.
    pub fn all_of(&self, keys: &[ArrayRef]) -> Result<Found> {
        let found = self.table.scan(keys)?;
        let [number] = &found.rest[..] else {
            return Err(DataFusionError::Internal("rows on the disk have no numbers".to_owned()));
        };
        let is_row = is_not_null(number)?;
        let places = found.places.iter().enumerate().filter(|(at, _)| is_row.value(*at));
        let places = places.map(|(_, place)| *place).collect();
        let numbers = filter(number, &is_row)?;
        let values = found.values.iter().map(|column| Ok(filter(column, &is_row)?));
        let numbers = numbers.as_primitive::<UInt64Type>().values().to_vec();
        Ok(Found { places, rows: self.kept(numbers, values.collect::<Result<_>>()?) })
    }

    /// Those of these rows that are there, each by its key and its number.
    pub fn find(&self, keys: Vec<ArrayRef>, numbers: &[u64]) -> Result<Found> {
        let mut key = keys;
        key.push(Arc::new(UInt64Array::from(numbers.to_vec())));
        let found = self.table.get(&key)?;
        let numbers = found.places.iter().map(|place| numbers[*place as usize]).collect();
        Ok(Found { rows: self.kept(numbers, found.values), places: found.places })
    }

    fn kept(&self, numbers: Vec<u64>, mut columns: Vec<ArrayRef>) -> Kept {
        let of_row = columns.split_off(self.shape.columns);
        let mut of_row = of_row.iter().map(|column| column.as_primitive::<Int64Type>().values().to_vec());
        let mut next = || of_row.next().unwrap_or_default();
        Kept { numbers, columns, weights: next(), partners: next(), changed_ms: next() }
    }

    /// Writes rows, each of which comes once, and heads of keys. Rows of weight zero and heads of no rows are taken out.
    pub fn put(
        &mut self,
        (keys, rows): (&[ArrayRef], &Kept),
        (head_keys, heads): (&[ArrayRef], &Heads),
    ) -> Result<()> {
        let (count, head_count) = (rows.weights.len(), heads.rows.len());
        let both = |one: &ArrayRef, other: &ArrayRef| -> Result<ArrayRef> {
            Ok(concat(&[one.as_ref(), other.as_ref()])?)
        };
        let mut key =
            keys.iter().zip(head_keys).map(|(one, other)| both(one, other)).collect::<Result<Vec<_>>>()?;
        let numbers = rows.numbers.iter().map(|number| Some(*number));
        key.push(Arc::new(UInt64Array::from_iter(numbers.chain(std::iter::repeat_n(None, head_count)))));
        let nulls = |column: &ArrayRef| new_null_array(column.data_type(), head_count);
        let columns = rows.columns.iter().map(|column| both(column, &nulls(column)));
        let mut values = columns.collect::<Result<Vec<_>>>()?;
        let joined =
            |one: &[i64], other: &[i64]| -> ArrayRef { Arc::new(Int64Array::from([one, other].concat())) };
        let uncounted = vec![0; count];
        let partners = if rows.partners.is_empty() { &uncounted } else { &rows.partners };
        values.push(joined(&rows.weights, &heads.totals));
        values.push(joined(partners, &heads.rows));
        if self.is_timed {
            values.push(joined(&rows.changed_ms, &vec![0; head_count]));
        }
        let gone: Vec<bool> = rows.weights.iter().chain(&heads.rows).map(|count| *count == 0).collect();
        self.table.put(&key, |places| {
            let at = UInt32Array::from(places.to_vec());
            let values = values.iter().map(|column| Ok(take(column, &at, None)?)).collect::<Result<_>>()?;
            Ok(Known { values, gone: places.iter().map(|place| gone[*place as usize]).collect() })
        })?;
        self.is_empty = false;
        Ok(())
    }

    /// All rows as they are now, in chunks with the columns of `schema`, without those that have changed last at `oldest_ms` or before. Which
    /// columns these are, besides those of the rows, `of_chunk` says.
    pub fn all(
        &self,
        table: u16,
        groups: u16,
        oldest_ms: Option<i64>,
        schema: &SchemaRef,
        of_chunk: ChunkColumns,
    ) -> Result<Arc<dyn StoredRows>> {
        let all = self.table.all(table, groups, oldest_ms)?;
        Ok(Arc::new(WithoutHeads { all, shape: self.shape, schema: Arc::clone(schema), of_chunk, groups }))
    }
}

/// What a chunk has besides the columns of rows.
#[derive(Debug, Clone, Copy)]
pub struct ChunkColumns {
    /// Those of their keys, in front.
    pub keys: bool,
    /// Their weight, behind.
    pub weight: bool,
}

/// All rows of a table, as a checkpoint has them.
struct WithoutHeads {
    all: Arc<dyn StoredRows>,
    shape: Shape,
    schema: SchemaRef,
    of_chunk: ChunkColumns,
    groups: u16,
}

impl WithoutHeads {
    fn chunk(&self, chunk: &StateChunk) -> Result<Arc<StateChunk>> {
        let Shape { keys, columns } = self.shape;
        let rows = filter_record_batch(&chunk.rows, &self.is_row(&chunk.rows)?)?;
        let key_groups = key_groups(&rows.columns()[..keys], rows.num_rows(), self.groups)?;
        let last = keys + 1 + columns + usize::from(self.of_chunk.weight);
        let of_keys = if self.of_chunk.keys { &rows.columns()[..keys] } else { &[] };
        let columns = [of_keys, &rows.columns()[keys + 1..last]].concat();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        Ok(StateChunk::new(chunk.table, rows, key_groups))
    }

    fn is_row(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        Ok(is_not_null(rows.column(self.shape.keys))?)
    }
}

impl StoredRows for WithoutHeads {
    fn id(&self) -> ChunkId {
        self.all.id()
    }

    fn chunks(&self) -> Box<dyn Iterator<Item = Result<Arc<StateChunk>>> + Send + '_> {
        Box::new(self.all.chunks().map(|chunk| self.chunk(&*chunk?)))
    }
}
