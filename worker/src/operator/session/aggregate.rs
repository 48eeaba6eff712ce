//! Aggregates sessions.
//!
//! Rows go to accumulators in which a session has one group at most. From time to time these are drained to a block of states, which
//! never changes; a session knows its rows in the blocks, and when it is over they are merged. So two sessions become one by putting
//! two lists together, and a block is a checkpoint's chunk.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions,
        TimestampMillisecondArray, UInt32Array,
    },
    compute::{concat, filter, interleave, take, take_record_batch},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
};
use datafusion::{
    error::{DataFusionError, Result},
    execution::memory_pool::MemoryReservation,
    logical_expr::{EmitTo, GroupsAccumulator},
};
use thalweg_plan::{panes::WindowBound, stream::OutputColumn};

use super::{
    held_back,
    keys::Keys,
    sessions::{Kept, Session, Sessions},
};
use crate::{
    operator::{
        late_rows::LateRows,
        link::{Next, Operator},
        progress::Progress,
        times::times,
        window_aggregate::{Input, Kernel},
    },
    state::{Restored, Snapshot, StateChunk, check_schema, encode_value, key_group::key_groups},
    watermark::Watermark,
};

/// Rows that go on at once.
const BATCH_ROWS: usize = 8192;

/// Blocks in more number than this are put together.
const BLOCKS_MAX: usize = 6;

/// The table of open sessions in its state, and that of their parts.
const SESSIONS: u16 = 0;
const PARTS: u16 = 1;

/// An aggregation by sessions.
pub struct SessionAggregate {
    kernel: Kernel,
    gap_ms: i64,
    time: usize,
    output: Vec<OutputColumn>,
    schema: SchemaRef,
    /// Keys, first and last time of a session.
    session_schema: SchemaRef,
    keys: Keys,
    sessions: Sessions<Parts>,
    live: Live,
    blocks: BTreeMap<u64, Arc<StateChunk>>,
    /// Event time when the accumulators were drained last.
    drained_ms: i64,
    progress: Progress,
    key_groups: u16,
    memory: MemoryReservation,
}

/// Where the aggregates of a session are.
#[derive(Debug, Default)]
struct Parts(Vec<Part>);

/// A row of a block; of the one that is to come, its group in the accumulators.
#[derive(Debug, Clone, Copy)]
struct Part {
    block: u64,
    row: u32,
}

impl Parts {
    fn in_block(&self, block: u64) -> Option<Part> {
        self.0.iter().rev().find(|part| part.block == block).copied()
    }
}

impl Kept for Parts {
    fn merge(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }
}

/// The accumulators of the next block.
struct Live {
    block: u64,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// The keys of its groups, batch by batch.
    keys: Vec<Vec<ArrayRef>>,
    /// A time within the session of each group.
    times: Vec<i64>,
}

impl Live {
    fn new(block: u64, kernel: &Kernel) -> Result<Self> {
        Ok(Self { block, accumulators: kernel.accumulators()?, keys: Vec::new(), times: Vec::new() })
    }
}

impl SessionAggregate {
    /// An aggregation of rows whose time is in the column `time`. Its columns are those of `schema`.
    pub fn new(
        kernel: Kernel,
        gap_ms: i64,
        time: usize,
        output: Vec<OutputColumn>,
        schema: SchemaRef,
        key_groups: u16,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let mut fields: Vec<_> = kernel.key_schema().fields().iter().cloned().collect();
        fields.extend(["first", "last"].map(|name| Arc::new(Field::new(name, DataType::Int64, false))));
        Ok(Self {
            gap_ms,
            time,
            output,
            schema,
            session_schema: Arc::new(Schema::new(fields)),
            keys: Keys::new(kernel.key_schema().clone())?,
            sessions: Sessions::new(gap_ms),
            live: Live::new(0, &kernel)?,
            blocks: BTreeMap::new(),
            drained_ms: i64::MIN,
            progress: Progress::default(),
            key_groups,
            memory,
            kernel,
        })
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let times = times(batch.column(self.time))?;
        let mut input = self.kernel.rows(batch)?;
        let keys = self.keys.number(&input.keys, input.rows)?;
        let first_group = self.live.times.len();
        let mut groups = Vec::with_capacity(input.rows);
        let mut opened = Vec::new();
        let mut left_out = Vec::new();
        let mut late = Vec::new();
        for (row, key) in keys.iter().enumerate() {
            let session = match times.is_valid(row) {
                true => self.sessions.of_row(*key, times.value(row)),
                false => None,
            };
            let Some(session) = session else {
                left_out.push(row);
                if times.is_valid(row) {
                    late.push(row as u32);
                }
                continue;
            };
            let group = match session.kept.in_block(self.live.block) {
                Some(part) => part.row,
                None => {
                    let group = self.live.times.len() as u32;
                    session.kept.0.push(Part { block: self.live.block, row: group });
                    self.live.times.push(times.value(row));
                    opened.push(row as u32);
                    group
                }
            };
            groups.push(group as usize);
        }
        if self.live.times.len() > first_group {
            let rows = UInt32Array::from(opened);
            let keys = input.keys.iter().map(|column| Ok(take(column, &rows, None)?));
            self.live.keys.push(keys.collect::<Result<_>>()?);
        }
        if !late.is_empty() {
            self.progress.leave_out(&take_record_batch(batch, &UInt32Array::from(late))?, self.time)?;
        }
        if !left_out.is_empty() {
            input = without(&input, &left_out)?;
        }
        self.update(&input, &groups)
    }

    fn update(&mut self, input: &Input, groups: &[usize]) -> Result<()> {
        let total = self.live.times.len();
        let each = self.live.accumulators.iter_mut().zip(&input.values).zip(&input.filters);
        for ((accumulator, values), filter) in each {
            accumulator.update_batch(values, groups, filter.as_ref(), total)?;
        }
        Ok(())
    }

    /// Makes a block of what the accumulators have.
    fn drain(&mut self) -> Result<()> {
        if self.live.times.is_empty() {
            return Ok(());
        }
        let next = Live::new(self.live.block + 1, &self.kernel)?;
        let Live { block, accumulators, keys, times } = std::mem::replace(&mut self.live, next);
        let column = |at: usize| -> Result<ArrayRef> {
            let parts: Vec<&dyn arrow::array::Array> =
                keys.iter().map(|columns| columns[at].as_ref()).collect();
            Ok(concat(&parts)?)
        };
        let keys = (0..self.kernel.pane_column()).map(column).collect::<Result<_>>()?;
        self.add_block(block, keys, times, accumulators)
    }

    fn add_block(
        &mut self,
        block: u64,
        mut columns: Vec<ArrayRef>,
        times: Vec<i64>,
        mut accumulators: Vec<Box<dyn GroupsAccumulator>>,
    ) -> Result<()> {
        let key_groups = key_groups(&columns, times.len(), self.key_groups)?;
        columns.push(Arc::new(Int64Array::from(times)));
        for accumulator in &mut accumulators {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        let rows = RecordBatch::try_new(Arc::clone(self.kernel.state_schema()), columns)?;
        self.blocks.insert(block, StateChunk::new(PARTS, rows, key_groups));
        Ok(())
    }

    /// The aggregates of sessions, merged of their parts, a group for each.
    fn merged<'s>(
        &self,
        sessions: impl Iterator<Item = &'s Session<Parts>>,
    ) -> Result<Vec<Box<dyn GroupsAccumulator>>> {
        let mut parts: BTreeMap<u64, (Vec<u32>, Vec<usize>)> = BTreeMap::new();
        let mut total = 0;
        for (group, session) in sessions.enumerate() {
            total += 1;
            for part in &session.kept.0 {
                let (rows, groups) = parts.entry(part.block).or_default();
                rows.push(part.row);
                groups.push(group);
            }
        }
        let mut accumulators = self.kernel.accumulators()?;
        for (block, (rows, groups)) in parts {
            let states = take_record_batch(&self.block(block)?.rows, &UInt32Array::from(rows))?;
            let states = self.kernel.states(&states);
            for (accumulator, values) in accumulators.iter_mut().zip(&states.values) {
                accumulator.merge_batch(values, &groups, total)?;
            }
        }
        Ok(accumulators)
    }

    fn block(&self, block: u64) -> Result<&Arc<StateChunk>> {
        let found = self.blocks.get(&block);
        found.ok_or_else(|| DataFusionError::Internal("a session's part is lost".to_owned()))
    }

    /// The keys of sessions, each out of one of its parts.
    fn keys_of<'s>(&self, sessions: impl Iterator<Item = &'s Session<Parts>>) -> Result<Vec<ArrayRef>> {
        let blocks: Vec<(&u64, &Arc<StateChunk>)> = self.blocks.iter().collect();
        let mut places = Vec::new();
        for session in sessions {
            let part = session.kept.0.first();
            let place = part.and_then(|part| {
                Some((
                    blocks.binary_search_by_key(&part.block, |(block, _)| **block).ok()?,
                    part.row as usize,
                ))
            });
            let lost = || DataFusionError::Internal("a session has no parts".to_owned());
            places.push(place.ok_or_else(lost)?);
        }
        let column = |at: usize| -> Result<ArrayRef> {
            let columns: Vec<&dyn arrow::array::Array> =
                blocks.iter().map(|(_, chunk)| chunk.rows.column(at).as_ref()).collect();
            Ok(interleave(&columns, &places)?)
        };
        (0..self.kernel.pane_column()).map(column).collect()
    }

    /// Puts out the sessions that are over.
    fn fire(&mut self, until_ms: i64, next: &mut Next<'_>) -> Result<()> {
        let over = self.sessions.complete(until_ms);
        self.progress.fired_ms = self.sessions.complete_ms();
        if over.is_empty() {
            return Ok(());
        }
        let is_live = |session: &Session<Parts>| session.kept.in_block(self.live.block).is_some();
        if over.iter().any(is_live) {
            self.drain()?;
        }
        let keys = self.keys_of(over.iter())?;
        let results = self.merged(over.iter())?.into_iter();
        let results = results.map(|mut accumulator| accumulator.evaluate(EmitTo::All));
        let results = results.collect::<Result<Vec<_>>>()?;
        let column = |(output, field): (&OutputColumn, &Arc<Field>)| -> Option<ArrayRef> {
            match output {
                OutputColumn::Key(at) => keys.get(*at as usize).cloned(),
                OutputColumn::Aggregate(at) => results.get(*at as usize).cloned(),
                OutputColumn::Bound(bound) => {
                    let times = over.iter().map(|session| border(session, *bound, self.gap_ms));
                    let times = TimestampMillisecondArray::from_iter_values(times);
                    Some(Arc::new(times.with_data_type(field.data_type().clone())))
                }
            }
        };
        let columns: Option<Vec<ArrayRef>> =
            self.output.iter().zip(self.schema.fields()).map(column).collect();
        let columns =
            columns.ok_or_else(|| DataFusionError::Internal("a session lacks a column".to_owned()))?;
        let options = RecordBatchOptions::new().with_row_count(Some(over.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        for offset in (0..over.len()).step_by(BATCH_ROWS) {
            next.rows(batch.slice(offset, BATCH_ROWS.min(over.len() - offset)))?;
        }
        Ok(())
    }

    /// Drains the accumulators twice in a gap, so that those of a session that is over are in blocks already.
    fn age(&mut self, watermark_ms: i64) -> Result<()> {
        if watermark_ms.saturating_sub(self.drained_ms) < self.gap_ms / 2 {
            return Ok(());
        }
        self.drained_ms = watermark_ms;
        self.drain()?;
        if self.blocks.len() > BLOCKS_MAX { self.compact() } else { Ok(()) }
    }

    /// One block of what is open, in place of all; the keys of no open session are forgotten.
    fn compact(&mut self) -> Result<()> {
        self.drain()?;
        let keys = self.keys_of(self.sessions.iter())?;
        let accumulators = self.merged(self.sessions.iter())?;
        let times: Vec<i64> = self.sessions.iter().map(|session| session.first_ms).collect();
        let open = times.len();
        self.keys.clear()?;
        let numbers = self.keys.number(&keys, open)?;
        self.sessions.number_keys(&numbers);
        self.blocks.clear();
        let block = self.live.block;
        self.live = Live::new(block + 1, &self.kernel)?;
        for (row, session) in self.sessions.iter_mut().enumerate() {
            session.kept.0 = vec![Part { block, row: row as u32 }];
        }
        match open {
            0 => Ok(()),
            _ => self.add_block(block, keys, times, accumulators),
        }
    }

    fn account(&mut self) -> Result<()> {
        let accumulators: usize = self.live.accumulators.iter().map(|accumulator| accumulator.size()).sum();
        let blocks: usize = self.blocks.values().map(|block| block.bytes()).sum();
        let keys = self.keys.bytes() + self.live.times.len() * size_of::<i64>();
        self.memory.try_resize(accumulators + blocks + keys + self.sessions.bytes())
    }
}

/// A border of a session.
pub(super) fn border<P>(session: &Session<P>, bound: WindowBound, gap_ms: i64) -> i64 {
    match bound {
        WindowBound::Start => session.first_ms,
        WindowBound::End => session.last_ms + gap_ms,
        WindowBound::Time => session.last_ms + gap_ms - 1,
    }
}

/// The input without some of its rows, of which there are few.
fn without(input: &Input, rows: &[usize]) -> Result<Input> {
    let kept: BooleanArray = (0..input.rows).map(|row| Some(rows.binary_search(&row).is_err())).collect();
    let keep = |column: &ArrayRef| -> Result<ArrayRef> { Ok(filter(column, &kept)?) };
    let values = input.values.iter().map(|columns| columns.iter().map(keep).collect());
    let filters = input.filters.iter().map(|mask| {
        let mask = mask.as_ref().map(|mask| filter(mask, &kept)).transpose()?;
        Ok(mask.map(|mask| mask.as_boolean().clone()))
    });
    Ok(Input {
        keys: input.keys.iter().map(keep).collect::<Result<_>>()?,
        values: values.collect::<Result<_>>()?,
        filters: filters.collect::<Result<_>>()?,
        rows: kept.true_count(),
    })
}

impl Operator for SessionAggregate {
    fn rows(&mut self, batch: RecordBatch, _: &mut Next<'_>) -> Result<()> {
        self.add(&batch)?;
        self.account()
    }

    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        self.fire(watermark.0, next)?;
        self.age(watermark.0)?;
        if watermark == Watermark::END {
            self.progress.tell_late();
        }
        next.watermark(held_back(watermark))
    }

    fn hand_on_late(&mut self, to: LateRows) {
        self.progress.hand_on_late(to);
    }

    fn late_rows(&self) -> u64 {
        self.progress.late_rows()
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        self.drain()?;
        let mut snapshot = Snapshot { value: Some(encode_value(&self.progress)), ..Snapshot::default() };
        if self.sessions.len() > 0 {
            let mut columns = self.keys_of(self.sessions.iter())?;
            let key_groups = key_groups(&columns, self.sessions.len(), self.key_groups)?;
            let first = Int64Array::from_iter_values(self.sessions.iter().map(|session| session.first_ms));
            let last = Int64Array::from_iter_values(self.sessions.iter().map(|session| session.last_ms));
            columns.extend([Arc::new(first) as ArrayRef, Arc::new(last)]);
            let rows = RecordBatch::try_new(Arc::clone(&self.session_schema), columns)?;
            snapshot.chunk(&StateChunk::new(SESSIONS, rows, key_groups));
        }
        self.blocks.values().for_each(|block| snapshot.chunk(block));
        Ok(snapshot)
    }

    fn restore(&mut self, restored: Restored) -> Result<()> {
        self.progress.restore(&restored.values)?;
        self.sessions.set_complete(self.progress.fired_ms);
        let key_columns = self.kernel.pane_column();
        for chunk in restored.chunks.iter().filter(|chunk| chunk.table == SESSIONS) {
            let rows = check_schema(&chunk.rows, &self.session_schema)?;
            let keys = self.keys.number(&rows.columns()[..key_columns], rows.num_rows())?;
            let first = rows.column(key_columns).as_primitive::<Int64Type>();
            let last = rows.column(key_columns + 1).as_primitive::<Int64Type>();
            for ((key, first), last) in keys.into_iter().zip(first.values()).zip(last.values()) {
                let kept = Parts::default();
                self.sessions.open(Session { key, first_ms: *first, last_ms: *last, kept });
            }
        }
        for chunk in restored.chunks.into_iter().filter(|chunk| chunk.table == PARTS) {
            let rows = check_schema(&chunk.rows, self.kernel.state_schema())?;
            let keys = self.keys.number(&rows.columns()[..key_columns], rows.num_rows())?;
            let times = rows.column(key_columns).as_primitive::<Int64Type>();
            let block = self.live.block;
            for (row, (key, time)) in keys.into_iter().zip(times.values()).enumerate() {
                // Those of sessions that were over are still in blocks of others.
                if let Some(session) = self.sessions.at(key, *time) {
                    session.kept.0.push(Part { block, row: row as u32 });
                }
            }
            self.blocks.insert(block, chunk);
            self.live = Live::new(block + 1, &self.kernel)?;
        }
        self.account()
    }
}
