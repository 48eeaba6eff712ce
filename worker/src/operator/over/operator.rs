//! Takes rows in the order of event time.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array as _, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array},
    compute::{concat_batches, filter_record_batch, is_not_null, sort_to_indices, take_record_batch},
    datatypes::{Field, Schema, SchemaRef},
};
use datafusion::{
    common::ScalarValue, error::Result, execution::memory_pool::MemoryReservation,
    physical_expr::PhysicalExpr,
};

use super::{
    frame::Function,
    key::{Columns, Key},
};
use crate::{
    operator::{
        held_rows::{HeldRows, bytes_of},
        late_rows::LateRows,
        link::{Next, Operator},
        progress::Progress,
        session::Keys,
    },
    state::{Restored, Snapshot, StateChunk, check_schema, encode_value, key_group::key_groups},
    watermark::Watermark,
};

/// The tables of its state: rows that event time has not passed, rows in frames, accumulators of unbounded frames.
const HELD: u16 = 0;
const KEPT: u16 = 1;
const STATES: u16 = 2;

/// Adds aggregates over the rows before it to each row.
pub struct Over {
    shape: Shape,
    columns: Columns,
    /// Keys, time, arguments.
    kept_schema: SchemaRef,
    /// Keys, the states of each function with an unbounded frame.
    state_schema: SchemaRef,
    held: HeldRows,
    numbers: Keys,
    /// By number; `None` where nothing is kept of a key any more.
    keys: Vec<Option<Key>>,
    /// What is kept of all keys.
    kept_bytes: usize,
    /// So many keys are looked through for those that are needed no more.
    forget_at: usize,
    progress: Progress,
    key_groups: u16,
    memory: MemoryReservation,
}

/// Keys below this number are not looked through.
const KEYS_MIN: usize = 1024;

/// What its description says.
pub struct Shape {
    /// The column with a row's time.
    pub time: usize,
    /// The keys.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// What is computed, and of which rows.
    pub functions: Vec<Function>,
    /// The columns of rows.
    pub input: SchemaRef,
    /// Those of rows with their aggregates.
    pub output: SchemaRef,
}

impl Over {
    /// An operator of this shape.
    pub fn new(shape: Shape, groups: u16, memory: MemoryReservation) -> Result<Self> {
        let mut fields = Vec::new();
        for (at, key) in shape.keys.iter().enumerate() {
            let (data_type, nullable) = (key.data_type(&shape.input)?, key.nullable(&shape.input)?);
            fields.push(Field::new(format!("key{at}"), data_type, nullable));
        }
        let key_schema = Arc::new(Schema::new(fields.clone()));
        let mut states = fields.clone();
        let time = fields.len();
        fields.push(shape.input.field(shape.time).clone().with_name("time"));
        let mut arguments = Vec::new();
        for function in &shape.functions {
            let first = fields.len();
            for argument in function.arguments() {
                let (data_type, nullable) =
                    (argument.data_type(&shape.input)?, argument.nullable(&shape.input)?);
                fields.push(Field::new(format!("argument{}", fields.len()), data_type, nullable));
            }
            arguments.push(first..fields.len());
            if !function.frame.is_bounded() {
                let own = function.aggregate.state_fields()?;
                states.extend(own.iter().map(|field| {
                    field.as_ref().clone().with_name(format!("state{}", field.name())).with_nullable(true)
                }));
            }
        }
        Ok(Self {
            columns: Columns { time, arguments },
            kept_schema: Arc::new(Schema::new(fields)),
            state_schema: Arc::new(Schema::new(states)),
            held: HeldRows::new(shape.time, shape.keys.clone(), HELD, groups),
            numbers: Keys::new(key_schema)?,
            keys: Vec::new(),
            kept_bytes: 0,
            forget_at: KEYS_MIN,
            progress: Progress::default(),
            key_groups: groups,
            memory,
            shape,
        })
    }

    /// Keys, time and arguments of rows.
    fn needed(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let evaluate = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(rows)?.into_array(count);
        let mut columns = self.shape.keys.iter().map(evaluate).collect::<Result<Vec<_>>>()?;
        columns.push(Arc::clone(rows.column(self.shape.time)));
        for function in &self.shape.functions {
            for argument in function.arguments() {
                columns.push(evaluate(&argument)?);
            }
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.kept_schema), columns)?)
    }

    /// Puts out rows that event time has passed.
    fn complete(&mut self, rows: Vec<RecordBatch>, next: &mut Next<'_>) -> Result<()> {
        let all = concat_batches(&self.shape.input, &rows)?;
        let timed = is_not_null(all.column(self.shape.time))?;
        let all = filter_record_batch(&all, &timed)?;
        let order = sort_to_indices(all.column(self.shape.time), None, None)?;
        let sorted = take_record_batch(&all, &order)?;
        let needed = self.needed(&sorted)?;
        let width = self.shape.keys.len();
        let numbers = self.numbers.number(&needed.columns()[..width], needed.num_rows())?;
        self.keys.resize_with(self.numbers.count().max(self.keys.len()), || None);
        let mut order: Vec<u32> = (0..numbers.len() as u32).collect();
        order.sort_by_key(|row| numbers[*row as usize]);
        let mut results: Vec<Vec<ScalarValue>> = Vec::new();
        for function in &self.shape.functions {
            let null = ScalarValue::try_from(function.aggregate.field().data_type())?;
            results.push(vec![null; numbers.len()]);
        }
        for rows in order.chunk_by(|a, b| numbers[*a as usize] == numbers[*b as usize]) {
            let of_key = take_record_batch(&needed, &UInt32Array::from(rows.to_vec()))?;
            let number = numbers[rows[0] as usize];
            let mut key = self.key(number)?;
            self.kept_bytes -= bytes_of(&key.kept);
            let made = key.take(&self.shape.functions, &self.columns, &of_key);
            for (function, values) in made?.into_iter().enumerate() {
                for (row, value) in rows.iter().zip(values) {
                    results[function][*row as usize] = value;
                }
            }
            self.kept_bytes += bytes_of(&key.kept);
            self.keys[number] = Some(key);
        }
        let mut columns = sorted.columns().to_vec();
        for values in results {
            columns.push(if values.is_empty() { return Ok(()) } else { ScalarValue::iter_to_array(values)? });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(sorted.num_rows()));
        next.rows(RecordBatch::try_new_with_options(Arc::clone(&self.shape.output), columns, &options)?)
    }

    /// What is kept of a key, taken out.
    fn key(&mut self, number: usize) -> Result<Key> {
        match self.keys.get_mut(number).and_then(Option::take) {
            Some(key) => Ok(key),
            None => Key::new(
                &self.shape.functions,
                &self.columns,
                RecordBatch::new_empty(Arc::clone(&self.kept_schema)),
            ),
        }
    }

    fn account(&mut self) -> Result<()> {
        self.memory.try_resize(self.held.bytes() + self.numbers.bytes() + self.kept_bytes)
    }

    /// Forgets keys of which no row is in a frame of those to come, when there are many.
    fn forget(&mut self, time_ms: i64) -> Result<()> {
        if self.numbers.count() < self.forget_at {
            return Ok(());
        }
        let (functions, columns) = (&self.shape.functions, &self.columns);
        self.keys.retain(|key| key.as_ref().is_some_and(|key| !key.is_over(functions, columns, time_ms)));
        self.count_bytes();
        self.forget_at = KEYS_MIN.max(2 * self.keys.len());
        self.numbers.clear()?;
        let last = self.last_rows()?;
        // Their numbers are their places: each is new.
        self.numbers.number(&last.columns()[..self.shape.keys.len()], last.num_rows())?;
        Ok(())
    }

    fn count_bytes(&mut self) {
        self.kept_bytes = self.keys.iter().flatten().map(|key| bytes_of(&key.kept)).sum();
    }

    /// The last row of each key.
    fn last_rows(&self) -> Result<RecordBatch> {
        let last = self.keys.iter().flatten().map(|key| key.kept.slice(key.kept.num_rows() - 1, 1));
        let last: Vec<RecordBatch> = last.collect();
        Ok(concat_batches(&self.kept_schema, &last)?)
    }

    fn kept_chunk(&self) -> Result<Option<Arc<StateChunk>>> {
        let kept: Vec<&RecordBatch> = self.keys.iter().flatten().map(|key| &key.kept).collect();
        self.chunk(KEPT, concat_batches(&self.kept_schema, kept)?)
    }

    /// The accumulators of unbounded frames.
    fn state_chunk(&mut self) -> Result<Option<Arc<StateChunk>>> {
        let last = self.last_rows()?;
        let mut columns = last.columns()[..self.shape.keys.len()].to_vec();
        if last.num_rows() == 0 || self.state_schema.fields().len() == columns.len() {
            return Ok(None);
        }
        let functions = &self.shape.functions;
        for (at, _) in functions.iter().enumerate().filter(|(_, function)| !function.frame.is_bounded()) {
            let states = self.keys.iter_mut().flatten().map(|key| key.state(functions, at));
            let states = states.collect::<Result<Vec<_>>>()?;
            let width = states.first().map_or(0, Vec::len);
            for column in 0..width {
                let values = states.iter().map(|state| state[column].clone());
                columns.push(ScalarValue::iter_to_array(values)?);
            }
        }
        self.chunk(STATES, RecordBatch::try_new(Arc::clone(&self.state_schema), columns)?)
    }

    fn chunk(&self, table: u16, rows: RecordBatch) -> Result<Option<Arc<StateChunk>>> {
        if rows.num_rows() == 0 {
            return Ok(None);
        }
        let keys = &rows.columns()[..self.shape.keys.len()];
        let groups = key_groups(keys, rows.num_rows(), self.key_groups)?;
        Ok(Some(StateChunk::new(table, rows, groups)))
    }

    /// Numbers for the keys of restored rows, and the rows of each.
    fn numbered(&mut self, rows: &RecordBatch) -> Result<BTreeMap<usize, Vec<u32>>> {
        let keys = &rows.columns()[..self.shape.keys.len()];
        let numbers = self.numbers.number(keys, rows.num_rows())?;
        self.keys.resize_with(self.numbers.count().max(self.keys.len()), || None);
        let mut of_key: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for (row, number) in numbers.into_iter().enumerate() {
            of_key.entry(number).or_default().push(row as u32);
        }
        Ok(of_key)
    }
}

impl Operator for Over {
    fn rows(&mut self, batch: RecordBatch, _: &mut Next<'_>) -> Result<()> {
        self.held.add(batch, &mut self.progress)?;
        self.account()
    }

    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        let rows = self.held.take_until(watermark.0)?;
        if !rows.is_empty() {
            self.complete(rows, next)?;
            self.forget(watermark.0)?;
            self.account()?;
        }
        self.progress.advance(watermark);
        next.watermark(watermark)
    }

    fn hand_on_late(&mut self, to: LateRows) {
        self.progress.hand_on_late(to);
    }

    fn late_rows(&self) -> u64 {
        self.progress.late_rows()
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut snapshot = Snapshot { value: Some(encode_value(&self.progress)), ..Snapshot::default() };
        self.held.chunks()?.iter().for_each(|chunk| snapshot.chunk(chunk));
        self.kept_chunk()?.iter().for_each(|chunk| snapshot.chunk(chunk));
        self.state_chunk()?.iter().for_each(|chunk| snapshot.chunk(chunk));
        Ok(snapshot)
    }

    fn restore(&mut self, restored: Restored) -> Result<()> {
        self.progress.restore(&restored.values)?;
        let mut states = Vec::new();
        for chunk in restored.chunks {
            match chunk.table {
                HELD => {
                    check_schema(&chunk.rows, &self.shape.input)?;
                    self.held.restore(chunk)?;
                }
                KEPT => {
                    let rows = check_schema(&chunk.rows, &self.kept_schema)?;
                    for (number, of_key) in self.numbered(rows)? {
                        let kept = take_record_batch(rows, &UInt32Array::from(of_key))?;
                        self.keys[number] = Some(Key::new(&self.shape.functions, &self.columns, kept)?);
                    }
                }
                _ => states.push(chunk),
            }
        }
        for chunk in states {
            let rows = check_schema(&chunk.rows, &self.state_schema)?;
            for (number, of_key) in self.numbered(rows)? {
                let (Some(key), Some(row)) = (&mut self.keys[number], of_key.last()) else { continue };
                let mut first = self.shape.keys.len();
                for (at, function) in self.shape.functions.iter().enumerate() {
                    if !function.frame.is_bounded() {
                        let width = function.aggregate.state_fields()?.len();
                        let state = &rows.columns()[first..first + width];
                        let state: Vec<ArrayRef> =
                            state.iter().map(|column| column.slice(*row as usize, 1)).collect();
                        key.merge_state(at, &state)?;
                        first += width;
                    }
                }
            }
        }
        self.count_bytes();
        self.account()
    }
}
