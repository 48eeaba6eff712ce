//! For tests: operators as subtasks that are stopped and go on from their state, and what all that they put out adds up to.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::Arc,
};

use arrow::{
    array::{AsArray as _, BooleanArray, Int64Array, RecordBatch},
    compute::filter_record_batch,
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
};
use datafusion::execution::memory_pool::{
    GreedyMemoryPool, MemoryConsumer, MemoryPool, MemoryReservation, UnboundedMemoryPool,
};
use proptest::test_runner::{RngAlgorithm, TestRng};
use thalweg_plan::stream::changelog::{is_updating, with_weight};

use super::{
    changelog,
    link::{Element, Next, Operator, PairOperator, Side},
};
use crate::{
    state::{
        ChunkId, Restored, StateChunk,
        key_group::{KeyGroup, key_groups},
    },
    watermark::Watermark,
};

/// The key groups of a test.
pub const KEY_GROUPS: u16 = 128;

/// The values of a row.
pub type Row = Vec<Option<i64>>;

/// How often each row is there.
pub type ZSet = BTreeMap<Row, i64>;

/// Columns of numbers with these names, and a weight.
pub fn schema(names: &[&str], updating: bool) -> SchemaRef {
    let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    if updating { with_weight(&schema) } else { schema }
}

/// Rows with their weights.
pub fn batch(schema: &SchemaRef, rows: &[(Row, i64)]) -> RecordBatch {
    let columns = schema.fields().len() - usize::from(is_updating(schema));
    let column = |at: usize| -> arrow::array::ArrayRef {
        Arc::new(Int64Array::from_iter(rows.iter().map(|(row, _)| row[at])))
    };
    let weights = rows.iter().map(|(_, weight)| *weight).collect();
    changelog::batch(schema, (0..columns).map(column).collect(), weights).unwrap()
}

/// Memory without a bound.
pub fn memory() -> MemoryReservation {
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    MemoryConsumer::new("test").register(&pool)
}

/// Memory of so many bytes.
pub fn pool(bytes: usize) -> Arc<dyn MemoryPool> {
    Arc::new(GreedyMemoryPool::new(bytes))
}

/// A part of that.
pub fn memory_of(pool: &Arc<dyn MemoryPool>) -> MemoryReservation {
    MemoryConsumer::new("test").register(pool)
}

/// Numbers that are the same in each run.
pub fn random() -> TestRng {
    TestRng::deterministic_rng(RngAlgorithm::ChaCha)
}

/// An operator of one or of two inputs.
pub enum Any {
    One(Box<dyn Operator>),
    Pair(Box<dyn PairOperator>),
}

/// Subtasks of an operator, each with its key groups.
pub struct Run<F> {
    make: F,
    subtasks: Vec<(Range<KeyGroup>, Any)>,
    /// The column by which the rows of each side are divided; without one there is one subtask.
    keys: [Option<usize>; 2],
    /// What earlier snapshots had, which operators may not have any more.
    stored: HashMap<ChunkId, Vec<Arc<StateChunk>>>,
    /// The sum of all that came out.
    pub total: ZSet,
}

impl<F: Fn() -> Any> Run<F> {
    /// One subtask.
    pub fn new(keys: [Option<usize>; 2], make: F) -> Self {
        let subtasks = vec![(0..KEY_GROUPS, make())];
        Self { make, subtasks, keys, stored: HashMap::new(), total: ZSet::new() }
    }

    /// Takes rows.
    pub fn rows(&mut self, side: Side, batch: &RecordBatch) {
        let mut out = Vec::new();
        for (range, operator) in &mut self.subtasks {
            let own = match self.keys[side as usize] {
                None => batch.clone(),
                Some(key) => {
                    let groups = key_groups(&[batch.column(key).clone()], batch.num_rows(), KEY_GROUPS);
                    let mask: BooleanArray =
                        groups.unwrap().iter().map(|group| Some(range.contains(group))).collect();
                    filter_record_batch(batch, &mask).unwrap()
                }
            };
            let mut next = Next::new(&mut [], &mut out);
            match operator {
                Any::One(operator) => operator.rows(own, &mut next).unwrap(),
                Any::Pair(operator) => operator.rows(side, own, &mut next).unwrap(),
            }
        }
        self.add(&out);
    }

    /// The input has ended.
    pub fn end(&mut self) {
        let mut out = Vec::new();
        for (_, operator) in &mut self.subtasks {
            let mut next = Next::new(&mut [], &mut out);
            match operator {
                Any::One(operator) => operator.watermark(Watermark::END, &mut next).unwrap(),
                Any::Pair(operator) => operator.watermark(Watermark::END, &mut next).unwrap(),
            }
        }
        self.add(&out);
    }

    fn add(&mut self, out: &[Element]) {
        for element in out {
            let Element::Rows(batch) = element else { continue };
            let (rows, weights) = changelog::split(batch).unwrap();
            for row in 0..rows.num_rows() {
                let value = |column: &arrow::array::ArrayRef| {
                    let column = column.as_primitive::<Int64Type>();
                    arrow::array::Array::is_valid(column, row).then(|| column.value(row))
                };
                let values: Row = rows.columns().iter().map(value).collect();
                *self.total.entry(values).or_default() += changelog::weight(&weights, row);
            }
        }
        self.total.retain(|_, weight| *weight != 0);
    }

    /// A barrier, after which all go on.
    pub fn checkpoint(&mut self) {
        for (_, operator) in &mut self.subtasks {
            store(&mut self.stored, snapshot(operator));
        }
    }

    /// Stops all and goes on from their state, in two subtasks where there was one, and the other way round.
    pub fn restart(&mut self) {
        let mut chunks = Vec::new();
        for (_, operator) in &mut self.subtasks {
            chunks.extend(store(&mut self.stored, snapshot(operator)));
        }
        // Each is known by itself from now on, also one that was stored as a part of what was on disk.
        self.stored.extend(chunks.iter().map(|chunk| (chunk.id(), vec![Arc::clone(chunk)])));
        let ranges = match self.subtasks.len() {
            1 if self.keys[0].is_some() => vec![0..KEY_GROUPS / 2, KEY_GROUPS / 2..KEY_GROUPS],
            _ => std::iter::once(0..KEY_GROUPS).collect(),
        };
        self.subtasks.clear();
        for range in ranges {
            let mut operator = (self.make)();
            let own: Vec<_> = chunks.iter().map(|chunk| chunk.restricted(&range).unwrap()).collect();
            let unstored = own.iter().zip(&chunks).any(|(own, whole)| own.id() != whole.id());
            let restored = Restored { chunks: own, unstored, values: Vec::new() };
            match &mut operator {
                Any::One(operator) => operator.restore(restored).unwrap(),
                Any::Pair(operator) => operator.restore(restored).unwrap(),
            }
            self.subtasks.push((range, operator));
        }
    }
}

/// The chunks of a snapshot, those included that only earlier ones had.
fn store(
    stored: &mut HashMap<ChunkId, Vec<Arc<StateChunk>>>,
    snapshot: crate::state::Snapshot,
) -> Vec<Arc<StateChunk>> {
    let mut parts = snapshot.kept;
    for rows in snapshot.on_disk {
        parts.push(rows.id());
        let chunks: Vec<_> = rows.chunks().collect::<Result<_, _>>().unwrap();
        // One that goes on from here knows each of them.
        chunks.iter().for_each(|chunk| _ = stored.insert(chunk.id(), vec![Arc::clone(chunk)]));
        stored.insert(rows.id(), chunks);
    }
    for chunk in snapshot.chunks {
        parts.push(chunk.id());
        stored.insert(chunk.id(), vec![chunk]);
    }
    parts.iter().flat_map(|id| stored[id].clone()).collect()
}

fn snapshot(operator: &mut Any) -> crate::state::Snapshot {
    match operator {
        Any::One(operator) => operator.snapshot().unwrap(),
        Any::Pair(operator) => operator.snapshot().unwrap(),
    }
}

/// An operator with all of its state in memory, and the same with most of it on the disk: they give the same.
pub struct Both<F, G> {
    in_memory: Run<F>,
    on_disk: Run<G>,
}

impl<F: Fn() -> Any, G: Fn() -> Any> Both<F, G> {
    /// One subtask of each, whose rows are divided by these columns.
    pub fn new(keys: [Option<usize>; 2], in_memory: F, on_disk: G) -> Self {
        Self { in_memory: Run::new(keys, in_memory), on_disk: Run::new(keys, on_disk) }
    }

    /// Takes rows, and lets something happen then. `what` says which rows those are.
    pub fn rows(&mut self, side: Side, batch: &RecordBatch, event: Event, what: &str) {
        self.in_memory.rows(side, batch);
        self.on_disk.rows(side, batch);
        self.in_memory.happen(event);
        self.on_disk.happen(event);
        assert!(self.in_memory.total == self.on_disk.total, "{what}");
    }
}

/// Two subtasks whose state is on the disk have held to their shares of `small`, and to one cache for both; in memory it is far more.
pub fn assert_shares_of_two(small: &Arc<dyn MemoryPool>, memory_bytes: usize, large: &Arc<dyn MemoryPool>) {
    let shares = 2 * memory_bytes / 8 + memory_bytes / 8;
    assert!(small.reserved() <= shares, "{} bytes", small.reserved());
    assert!(large.reserved() > 8 * shares, "{} bytes", large.reserved());
}

/// What happens to a run between its batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Nothing,
    Checkpoint,
    Restart,
}

impl<F: Fn() -> Any> Run<F> {
    /// Lets it happen.
    pub fn happen(&mut self, event: Event) {
        match event {
            Event::Nothing => {}
            Event::Checkpoint => self.checkpoint(),
            Event::Restart => self.restart(),
        }
    }
}

/// Rows of a table that changes: a wish to remove one that is not there adds it instead, where rows are taken back at all.
#[derive(Default)]
pub struct Table {
    /// What is there.
    pub rows: ZSet,
}

impl Table {
    /// The change that a wish becomes.
    pub fn change(&mut self, row: Row, remove: bool) -> (Row, i64) {
        let count = self.rows.entry(row.clone()).or_default();
        let weight = if remove && *count > 0 { -1 } else { 1 };
        *count += weight;
        if *count == 0 {
            self.rows.remove(&row);
        }
        (row, weight)
    }
}
