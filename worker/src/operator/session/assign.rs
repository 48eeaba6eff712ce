//! Holds rows until their session is over, and puts them out with its borders.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, Int64Array, RecordBatch, TimestampMillisecondArray, UInt32Array,
    },
    compute::{interleave_record_batch, take_record_batch},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
};
use datafusion::{error::Result, execution::memory_pool::MemoryReservation};
use thalweg_plan::panes::WindowBound;

use super::{
    aggregate::border,
    held_back,
    keys::Keys,
    sessions::{Kept, Session, Sessions},
};
use crate::{
    operator::{
        held_rows::bytes_of,
        late_rows::LateRows,
        link::{Next, Operator},
        progress::Progress,
        times::times,
    },
    state::{Restored, Snapshot, StateChunk, check_schema, encode_value, key_group::key_groups},
    watermark::Watermark,
};

/// Rows that go on at once.
const BATCH_ROWS: usize = 8192;

/// The table of open sessions in its state, and that of rows.
const SESSIONS: u16 = 0;
const ROWS: u16 = 1;

/// Adds the borders of a row's session to it.
pub struct AssignSessions {
    gap_ms: i64,
    time: usize,
    key_columns: Vec<usize>,
    bounds: Vec<WindowBound>,
    /// All columns.
    schema: SchemaRef,
    /// Keys, first and last time of a session.
    session_schema: SchemaRef,
    /// The columns of rows.
    input: SchemaRef,
    keys: Keys,
    sessions: Sessions<Rows>,
    batches: BTreeMap<u32, Held>,
    next_batch: u32,
    /// What the batches hold.
    bytes: usize,
    progress: Progress,
    key_groups: u16,
    memory: MemoryReservation,
}

/// The rows of a session: batch and row in it.
#[derive(Debug, Default)]
struct Rows(Vec<(u32, u32)>);

impl Kept for Rows {
    fn merge(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }
}

/// A batch, of which some rows are in open sessions.
struct Held {
    rows: RecordBatch,
    bytes: usize,
    open: usize,
    chunk: Option<Arc<StateChunk>>,
}

/// What its description says.
pub struct Shape {
    /// The pause that ends a session.
    pub gap_ms: i64,
    /// The column with a row's time.
    pub time: usize,
    /// The columns with the keys of sessions.
    pub keys: Vec<usize>,
    /// The columns added.
    pub bounds: Vec<WindowBound>,
}

impl AssignSessions {
    /// Sessions of rows with the columns of `input`; what comes out has those of `schema`.
    pub fn new(
        shape: Shape,
        input: SchemaRef,
        schema: SchemaRef,
        key_groups: u16,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let key_schema = input.project(&shape.keys)?;
        let mut fields: Vec<_> = key_schema.fields().iter().cloned().collect();
        fields.extend(["first", "last"].map(|name| Arc::new(Field::new(name, DataType::Int64, false))));
        Ok(Self {
            gap_ms: shape.gap_ms,
            time: shape.time,
            key_columns: shape.keys,
            bounds: shape.bounds,
            schema,
            session_schema: Arc::new(Schema::new(fields)),
            input,
            keys: Keys::new(Arc::new(key_schema))?,
            sessions: Sessions::new(shape.gap_ms),
            batches: BTreeMap::new(),
            next_batch: 0,
            bytes: 0,
            progress: Progress::default(),
            key_groups,
            memory,
        })
    }

    fn add(&mut self, rows: RecordBatch) -> Result<()> {
        let times = times(rows.column(self.time))?;
        let keys = self.keys.number(&self.keys_of(&rows), rows.num_rows())?;
        let batch = self.next_batch;
        let mut open = 0;
        let mut late = Vec::new();
        for (row, key) in keys.into_iter().enumerate().filter(|(row, _)| times.is_valid(*row)) {
            match self.sessions.of_row(key, times.value(row)) {
                Some(session) => {
                    session.kept.0.push((batch, row as u32));
                    open += 1;
                }
                None => late.push(row as u32),
            }
        }
        if !late.is_empty() {
            self.progress.leave_out(&take_record_batch(&rows, &UInt32Array::from(late))?, self.time)?;
        }
        self.hold(Held { bytes: bytes_of(&rows), rows, open, chunk: None });
        Ok(())
    }

    fn hold(&mut self, held: Held) {
        if held.open > 0 {
            self.bytes += held.bytes;
            self.batches.insert(self.next_batch, held);
            self.next_batch = self.next_batch.wrapping_add(1);
        }
    }

    fn keys_of(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.key_columns.iter().map(|at| Arc::clone(rows.column(*at))).collect()
    }

    fn fire(&mut self, until_ms: i64, next: &mut Next<'_>) -> Result<()> {
        let over = self.sessions.complete(until_ms);
        self.progress.fired_ms = self.sessions.complete_ms();
        let all: Vec<(&Session<Rows>, (u32, u32))> =
            over.iter().flat_map(|session| session.kept.0.iter().map(move |row| (session, *row))).collect();
        for rows in all.chunks(BATCH_ROWS) {
            next.rows(self.with_borders(rows)?)?;
        }
        for (_, (batch, _)) in all {
            if let Some(held) = self.batches.get_mut(&batch) {
                held.open -= 1;
                if held.open == 0 {
                    self.bytes -= held.bytes;
                    self.batches.remove(&batch);
                }
            }
        }
        if self.keys.count() > 2 * self.sessions.len() + BATCH_ROWS {
            self.forget_keys()?;
        }
        Ok(())
    }

    /// Rows of sessions with the borders of these.
    fn with_borders(&self, rows: &[(&Session<Rows>, (u32, u32))]) -> Result<RecordBatch> {
        let gathered = self.gathered(rows.iter().map(|(_, row)| *row))?;
        let mut columns = gathered.columns().to_vec();
        let fields = &self.schema.fields()[columns.len()..];
        for (bound, field) in self.bounds.iter().zip(fields) {
            let times = rows.iter().map(|(session, _)| border(session, *bound, self.gap_ms));
            let times = TimestampMillisecondArray::from_iter_values(times);
            columns.push(Arc::new(times.with_data_type(field.data_type().clone())));
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn gathered(&self, rows: impl Iterator<Item = (u32, u32)>) -> Result<RecordBatch> {
        let mut batches: Vec<&RecordBatch> = Vec::new();
        let mut places: BTreeMap<u32, usize> = BTreeMap::new();
        let mut indices = Vec::new();
        for (batch, row) in rows {
            let place = *places.entry(batch).or_insert(batches.len());
            if place == batches.len() {
                batches.extend(self.batches.get(&batch).map(|held| &held.rows));
            }
            indices.push((place, row as usize));
        }
        if batches.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.input)));
        }
        Ok(interleave_record_batch(&batches, &indices)?)
    }

    /// The keys of open sessions, in their order.
    fn open_keys(&self) -> Result<Vec<ArrayRef>> {
        let first = self.sessions.iter().filter_map(|session| session.kept.0.first().copied());
        Ok(self.keys_of(&self.gathered(first)?))
    }

    fn forget_keys(&mut self) -> Result<()> {
        let keys = self.open_keys()?;
        self.keys.clear()?;
        let numbers = self.keys.number(&keys, self.sessions.len())?;
        self.sessions.number_keys(&numbers);
        Ok(())
    }

    fn account(&mut self) -> Result<()> {
        self.memory.try_resize(self.bytes + self.keys.bytes() + self.sessions.bytes())
    }
}

impl Operator for AssignSessions {
    fn rows(&mut self, batch: RecordBatch, _: &mut Next<'_>) -> Result<()> {
        self.add(batch)?;
        self.account()
    }

    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        self.fire(watermark.0, next)?;
        if watermark == Watermark::END {
            self.progress.tell_late();
        }
        self.account()?;
        next.watermark(held_back(watermark))
    }

    fn hand_on_late(&mut self, to: LateRows) {
        self.progress.hand_on_late(to);
    }

    fn late_rows(&self) -> u64 {
        self.progress.late_rows()
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut snapshot = Snapshot { value: Some(encode_value(&self.progress)), ..Snapshot::default() };
        if self.sessions.len() > 0 {
            let mut columns = self.open_keys()?;
            let groups = key_groups(&columns, self.sessions.len(), self.key_groups)?;
            let first = Int64Array::from_iter_values(self.sessions.iter().map(|session| session.first_ms));
            let last = Int64Array::from_iter_values(self.sessions.iter().map(|session| session.last_ms));
            columns.extend([Arc::new(first) as ArrayRef, Arc::new(last)]);
            let rows = RecordBatch::try_new(Arc::clone(&self.session_schema), columns)?;
            snapshot.chunk(&StateChunk::new(SESSIONS, rows, groups));
        }
        let key_columns = &self.key_columns;
        for held in self.batches.values_mut() {
            let chunk = match &held.chunk {
                Some(chunk) => chunk,
                None => {
                    let keys: Vec<ArrayRef> =
                        key_columns.iter().map(|at| Arc::clone(held.rows.column(*at))).collect();
                    let groups = key_groups(&keys, held.rows.num_rows(), self.key_groups)?;
                    held.chunk.insert(StateChunk::new(ROWS, held.rows.clone(), groups))
                }
            };
            snapshot.chunk(chunk);
        }
        Ok(snapshot)
    }

    fn restore(&mut self, restored: Restored) -> Result<()> {
        self.progress.restore(&restored.values)?;
        self.sessions.set_complete(self.progress.fired_ms);
        let width = self.key_columns.len();
        for chunk in restored.chunks.iter().filter(|chunk| chunk.table == SESSIONS) {
            let rows = check_schema(&chunk.rows, &self.session_schema)?;
            let keys = self.keys.number(&rows.columns()[..width], rows.num_rows())?;
            let first = rows.column(width).as_primitive::<Int64Type>();
            let last = rows.column(width + 1).as_primitive::<Int64Type>();
            for ((key, first), last) in keys.into_iter().zip(first.values()).zip(last.values()) {
                let kept = Rows::default();
                self.sessions.open(Session { key, first_ms: *first, last_ms: *last, kept });
            }
        }
        for chunk in restored.chunks.into_iter().filter(|chunk| chunk.table == ROWS) {
            let rows = check_schema(&chunk.rows, &self.input)?.clone();
            let times = times(rows.column(self.time))?;
            let keys = self.keys.number(&self.keys_of(&rows), rows.num_rows())?;
            let mut open = 0;
            for (row, key) in keys.into_iter().enumerate().filter(|(row, _)| times.is_valid(*row)) {
                // Those of sessions that were over are still in batches with others.
                if let Some(session) = self.sessions.at(key, times.value(row)) {
                    session.kept.0.push((self.next_batch, row as u32));
                    open += 1;
                }
            }
            self.hold(Held { bytes: bytes_of(&rows), rows: rows.clone(), open, chunk: Some(chunk) });
        }
        self.account()
    }
}
