//! What tests of operators have in common: rows, runs of one operator, and its state divided among two.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array as _, AsArray as _, Int64Array, RecordBatch, TimestampMillisecondArray},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMillisecondType},
};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryPool, MemoryReservation, UnboundedMemoryPool,
};

use super::link::{Element, Next, Operator, PairOperator, Side};
use crate::{
    state::{Restored, Snapshot, key_group::KeyGroup},
    watermark::Watermark,
};

/// How many key groups tests have.
pub const KEY_GROUPS: u16 = 128;

/// The type of times.
pub const TIME: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// Memory without a limit.
pub fn memory() -> MemoryReservation {
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    MemoryConsumer::new("test").register(&pool)
}

/// Columns of numbers, then a time.
pub fn schema(numbers: &[&str], time: &str) -> SchemaRef {
    let numbers = numbers.iter().map(|name| Field::new(*name, DataType::Int64, true));
    Arc::new(Schema::new(numbers.chain([Field::new(time, TIME, true)]).collect::<Vec<_>>()))
}

/// Rows of such columns.
pub fn batch<const N: usize>(schema: &SchemaRef, rows: &[[i64; N]]) -> RecordBatch {
    let column = |at: usize| -> Arc<dyn arrow::array::Array> {
        let values = rows.iter().map(|row| row[at]);
        match schema.field(at).data_type() {
            DataType::Int64 => Arc::new(Int64Array::from_iter_values(values)),
            _ => Arc::new(TimestampMillisecondArray::from_iter_values(values)),
        }
    };
    RecordBatch::try_new(Arc::clone(schema), (0..N).map(column).collect()).unwrap()
}

/// The rows that came out, sorted; NULL as `None`.
pub fn rows_of(elements: &[Element]) -> Vec<Vec<Option<i64>>> {
    let mut rows = Vec::new();
    for element in elements {
        let Element::Rows(batch) = element else { continue };
        for row in 0..batch.num_rows() {
            let value = |column: &Arc<dyn arrow::array::Array>| match column.data_type() {
                _ if column.is_null(row) => None,
                DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(row)),
                _ => Some(column.as_primitive::<TimestampMillisecondType>().value(row)),
            };
            rows.push(batch.columns().iter().map(value).collect());
        }
    }
    rows.sort();
    rows
}

/// An operator of one or of two inputs.
pub enum Any {
    /// Of one.
    One(Box<dyn Operator>),
    /// Of two.
    Two(Box<dyn PairOperator>),
}

impl Any {
    /// What comes out for rows.
    pub fn rows(&mut self, side: Side, batch: RecordBatch) -> Vec<Element> {
        let mut out = Vec::new();
        let mut next = Next::new(&mut [], &mut out);
        match self {
            Any::One(operator) => operator.rows(batch, &mut next),
            Any::Two(operator) => operator.rows(side, batch, &mut next),
        }
        .unwrap();
        out
    }

    /// What comes out for a watermark.
    pub fn watermark(&mut self, watermark: Watermark) -> Vec<Element> {
        let mut out = Vec::new();
        let mut next = Next::new(&mut [], &mut out);
        match self {
            Any::One(operator) => operator.watermark(watermark, &mut next),
            Any::Two(operator) => operator.watermark(watermark, &mut next),
        }
        .unwrap();
        out
    }

    fn snapshot(&mut self) -> Snapshot {
        match self {
            Any::One(operator) => operator.snapshot(),
            Any::Two(operator) => operator.snapshot(),
        }
        .unwrap()
    }

    fn restore(&mut self, restored: Restored) {
        match self {
            Any::One(operator) => operator.restore(restored),
            Any::Two(operator) => operator.restore(restored),
        }
        .unwrap();
    }
}

/// Something that comes to an operator.
#[derive(Debug, Clone)]
pub enum Input {
    /// Rows of one side.
    Rows(Side, RecordBatch),
    /// A watermark.
    Watermark(i64),
}

/// All rows that come out of an operator, to the end of event time.
pub fn run(make: impl Fn() -> Any, inputs: &[Input]) -> Vec<Vec<Option<i64>>> {
    let mut operators = vec![make()];
    rows_of(&go_on(&mut operators, inputs, |_| 0))
}

/// The same with a barrier before each of the inputs, from which two subtasks go on with half of the key groups each.
pub fn run_restored(
    make: impl Fn() -> Any,
    inputs: &[Input],
    group_of: impl Fn(Side, &RecordBatch, usize) -> KeyGroup + Copy,
) -> Vec<Vec<Vec<Option<i64>>>> {
    let from = |at: usize| {
        let (before, after) = inputs.split_at(at);
        let mut whole = make();
        let mut out = Vec::new();
        for input in before {
            out.extend(put(&mut whole, input));
        }
        let snapshot = whole.snapshot();
        let halves = [0..KEY_GROUPS / 2, KEY_GROUPS / 2..KEY_GROUPS];
        let mut operators: Vec<Any> = Vec::new();
        for half in &halves {
            let mut operator = make();
            let chunks = snapshot.chunks.iter().map(|chunk| chunk.restricted(half).unwrap());
            let chunks = chunks.filter(|chunk| chunk.rows.num_rows() > 0).collect();
            operator.restore(Restored {
                chunks,
                unstored: false,
                values: snapshot.value.clone().into_iter().collect(),
            });
            operators.push(operator);
        }
        let side_of = move |(side, batch, row): (Side, &RecordBatch, usize)| {
            usize::from(group_of(side, batch, row) >= KEY_GROUPS / 2)
        };
        out.extend(go_on(&mut operators, after, side_of));
        rows_of(&out)
    };
    (0..=inputs.len()).map(from).collect()
}

fn put(operator: &mut Any, input: &Input) -> Vec<Element> {
    match input {
        Input::Rows(side, batch) => operator.rows(*side, batch.clone()),
        Input::Watermark(ms) => operator.watermark(Watermark(*ms)),
    }
}

fn go_on(
    operators: &mut [Any],
    inputs: &[Input],
    subtask_of: impl Fn((Side, &RecordBatch, usize)) -> usize,
) -> Vec<Element> {
    let mut out = Vec::new();
    for input in inputs {
        match input {
            Input::Watermark(_) => operators.iter_mut().for_each(|operator| out.extend(put(operator, input))),
            Input::Rows(side, batch) => {
                let mut parts: BTreeMap<usize, Vec<RecordBatch>> = BTreeMap::new();
                for row in 0..batch.num_rows() {
                    let subtask = subtask_of((*side, batch, row));
                    parts.entry(subtask).or_default().push(batch.slice(row, 1));
                }
                for (subtask, rows) in parts {
                    let rows = arrow::compute::concat_batches(&batch.schema(), &rows).unwrap();
                    out.extend(operators[subtask].rows(*side, rows));
                }
            }
        }
    }
    operators.iter_mut().for_each(|operator| out.extend(operator.watermark(Watermark::END)));
    out
}
