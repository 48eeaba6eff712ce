//! What rows that come mean for the pairs, and for rows without a partner.

use std::sync::Arc;

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
    },
    compute::{filter_record_batch, prep_null_mask_filter, take},
    datatypes::{Field, Schema, SchemaRef},
};
use datafusion::{
    error::{DataFusionError, Result},
    execution::memory_pool::MemoryReservation,
    physical_expr::PhysicalExpr,
};
use thalweg_plan::stream::{JoinKind, changelog::with_weight};

use super::side::{Incoming, SideRows};
use crate::{
    operator::{
        changelog::{self, Weights},
        expiry::Expiry,
        hot_keys::HotKeys,
        key_table::KeyTable,
        link::{Next, PairOperator, Side},
        marks::Marks,
    },
    state::{Restored, Snapshot, check_schema},
    watermark::Watermark,
};

/// Pairs that go on at once.
const BATCH_ROWS: usize = 8192;

/// Keys without rows are thrown out when they are more than this and than twice the rows.
const DEAD_MAX: usize = 16 << 10;

/// What is joined how.
pub struct JoinPlan {
    /// Which rows are put out.
    pub kind: JoinKind,
    /// What must be equal, of the left and of the right side.
    pub keys: [Vec<Arc<dyn PhysicalExpr>>; 2],
    /// Whether NULL equals NULL.
    pub nulls_equal: bool,
    /// What must hold besides, over both sides' columns.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// The columns put out.
    pub schema: SchemaRef,
}

/// What becomes of a side's rows by whether they have a partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alone {
    /// Nothing: only pairs come out.
    Ignored,
    /// A row without a partner comes out with NULLs in the place of one.
    Padded,
    /// A row with a partner comes out.
    Semi,
    /// A row without a partner comes out.
    Anti,
}

/// A join.
pub struct Join {
    gives_pairs: bool,
    nulls_equal: bool,
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    /// Both sides' columns.
    pair_schema: SchemaRef,
    pub(super) keys: KeyTable,
    pub(super) sides: [SideRows; 2],
    alone: [Alone; 2],
    pub(super) touched: Marks,
    /// Which keys are in memory, where not all are.
    pub(super) hot: Option<HotKeys>,
    pub(super) key_groups: u16,
    pub(super) memory: MemoryReservation,
}

/// Pairs of rows that have come and rows that are there.
#[derive(Default)]
struct Pairs {
    incoming: Vec<u32>,
    kept: Vec<u32>,
    weights: Vec<i64>,
}

impl Pairs {
    fn len(&self) -> usize {
        self.incoming.len()
    }
}

/// How the partners of the other side's rows have changed, and of the rows that have come.
struct Matches {
    /// For each row that has come: the weight of its partners.
    incoming: Vec<i64>,
    /// Rows of the other side, each with the weight that its partners had before.
    before: Vec<(u32, i64)>,
}

impl Join {
    /// A join of rows with these columns, of the left and of the right side.
    pub fn new(
        plan: JoinPlan,
        inputs: &[SchemaRef; 2],
        key_groups: u16,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let JoinPlan { kind, keys: [left_keys, right_keys], nulls_equal, filter, schema } = plan;
        use Alone::{Anti, Ignored, Padded, Semi};
        let alone = match kind {
            JoinKind::Inner => [Ignored, Ignored],
            JoinKind::Left => [Padded, Ignored],
            JoinKind::Right => [Ignored, Padded],
            JoinKind::Full => [Padded, Padded],
            JoinKind::LeftSemi => [Semi, Ignored],
            JoinKind::LeftAnti => [Anti, Ignored],
            JoinKind::RightSemi => [Ignored, Semi],
            JoinKind::RightAnti => [Ignored, Anti],
        };
        let key_fields = left_keys
            .iter()
            .enumerate()
            .map(|(at, key)| Ok(Field::new(format!("key{at}"), key.data_type(&inputs[0])?, true)));
        let key_schema = Arc::new(Schema::new(key_fields.collect::<Result<Vec<_>>>()?));
        let counts = |side: usize| filter.is_some() && alone[side] != Ignored;
        let sides = [
            SideRows::new(0, left_keys, &inputs[0], counts(0)),
            SideRows::new(1, right_keys, &inputs[1], counts(1)),
        ];
        let both = sides.iter().flat_map(|side| side.schema.fields().iter().cloned());
        let pair_schema = Arc::new(Schema::new(both.collect::<Vec<_>>()));
        Ok(Self {
            gives_pairs: kind.gives_pairs(),
            nulls_equal,
            filter,
            schema,
            pair_schema,
            keys: KeyTable::numbering(key_schema)?,
            sides,
            alone,
            touched: Marks::default(),
            hot: None,
            key_groups,
            memory,
        })
    }

    /// Forgets rows of both sides that do not change for long.
    pub fn forget_after(&mut self, expiry: Expiry) {
        self.sides.iter_mut().for_each(|side| side.forget_after(expiry));
    }

    /// Whether rows come out by whether they have a partner.
    pub(super) fn has_alone(&self) -> bool {
        self.alone != [Alone::Ignored; 2]
    }

    /// Takes rows of one side; `next` is not given while state comes back. Returns those that are kept.
    fn take(
        &mut self,
        side: usize,
        batch: &RecordBatch,
        mut next: Option<&mut Next<'_>>,
    ) -> Result<RecordBatch> {
        let incoming = self.sides[side].incoming(batch, self.nulls_equal)?;
        let rows = incoming.rows.num_rows();
        let known = self.keys.count();
        let keys = self.keys.intern(&incoming.keys, rows)?.to_vec();
        let count = self.keys.count();
        self.sides.iter_mut().for_each(|side| side.resize(count));
        let counts_partners = self.filter.is_some() && self.has_alone();
        let gives_pairs = self.gives_pairs && next.is_some();
        let changes_others =
            self.filter.is_none() && self.alone[1 - side] != Alone::Ignored && next.is_some();
        if !self.load(side, &incoming, &keys, known, counts_partners || gives_pairs || changes_others)? {
            let half = batch.num_rows() / 2;
            for part in [batch.slice(0, half), batch.slice(half, batch.num_rows() - half)] {
                self.take(side, &part, next.as_deref_mut())?;
                self.fit()?;
            }
            return Ok(incoming.kept);
        }
        if let (Some((rows, weights)), Some(next)) = (&incoming.without_key, next.as_deref_mut()) {
            self.without_key(side, rows, weights, next)?;
        }
        if rows == 0 {
            return Ok(incoming.kept);
        }
        let mut partners = Vec::new();
        if counts_partners || gives_pairs {
            let matches = self.pairs(side, &incoming, &keys, next.as_deref_mut())?;
            if counts_partners {
                if let Some(next) = next.as_deref_mut() {
                    self.by_partners(side, &incoming, &matches, next)?;
                }
                partners = matches.incoming;
            }
        }
        if self.filter.is_none()
            && let Some(next) = next
        {
            self.by_keys(side, &incoming, &keys, next)?;
        }
        self.sides[side].apply(&incoming, &keys, &partners)?;
        Ok(incoming.kept)
    }

    /// Throws out keys without rows where they are many.
    fn compact(&mut self) -> Result<()> {
        let live: usize = self.sides.iter().map(SideRows::len).sum();
        if self.keys.count() > 2 * live + DEAD_MAX {
            self.keys = KeyTable::numbering(Arc::clone(self.keys.schema()))?;
            for side in &mut self.sides {
                side.renumber(&mut self.keys)?;
            }
            let count = self.keys.count();
            self.sides.iter_mut().for_each(|side| side.resize(count));
        }
        Ok(())
    }

    /// Rows that can have no partner and are not kept.
    fn without_key(
        &self,
        side: usize,
        rows: &RecordBatch,
        weights: &Weights,
        next: &mut Next<'_>,
    ) -> Result<()> {
        if !matches!(self.alone[side], Alone::Padded | Alone::Anti) {
            return Ok(());
        }
        let weights = (0..rows.num_rows()).map(|row| changelog::weight(weights, row)).collect();
        self.emit_alone(side, rows.columns().to_vec(), weights, next)
    }

    /// Pairs rows that have come with those of the other side.
    fn pairs(
        &mut self,
        side: usize,
        incoming: &Incoming,
        keys: &[usize],
        mut next: Option<&mut Next<'_>>,
    ) -> Result<Matches> {
        let mut matches = Matches { incoming: vec![0; keys.len()], before: Vec::new() };
        let mut pairs = Pairs::default();
        for (row, key) in keys.iter().enumerate() {
            let mut from = 0;
            loop {
                let other = &self.sides[1 - side];
                let weight = changelog::weight(&incoming.weights, row);
                let room = BATCH_ROWS - pairs.len();
                let mut taken = 0;
                // A key with many rows gives its pairs a batch at a time.
                for kept in other.with_key(*key).skip(from).take(room) {
                    pairs.incoming.push(row as u32);
                    pairs.kept.push(kept);
                    pairs.weights.push(weight * other.weight(kept));
                    taken += 1;
                }
                from += taken;
                if pairs.len() < BATCH_ROWS {
                    break;
                }
                self.put_together(
                    side,
                    incoming,
                    std::mem::take(&mut pairs),
                    &mut matches,
                    next.as_deref_mut(),
                )?;
            }
        }
        self.put_together(side, incoming, pairs, &mut matches, next)?;
        self.touched.take();
        Ok(matches)
    }

    fn put_together(
        &mut self,
        side: usize,
        incoming: &Incoming,
        pairs: Pairs,
        matches: &mut Matches,
        next: Option<&mut Next<'_>>,
    ) -> Result<()> {
        if pairs.len() == 0 {
            return Ok(());
        }
        let rows = UInt32Array::from(pairs.incoming);
        let own = incoming.rows.columns().iter().map(|column| Ok(take(column, &rows, None)?));
        let mut columns = own.collect::<Result<Vec<_>>>()?;
        let others = self.sides[1 - side].take(&pairs.kept)?;
        match side {
            0 => columns.extend(others),
            _ => columns = others.into_iter().chain(columns).collect(),
        }
        let options = RecordBatchOptions::new().with_row_count(Some(pairs.weights.len()));
        let both = RecordBatch::try_new_with_options(Arc::clone(&self.pair_schema), columns, &options)?;
        let (both, holds) = match &self.filter {
            None => (both, None),
            Some(filter) => {
                let mask = filter.evaluate(&both)?.into_array(both.num_rows())?;
                let mask = mask.as_boolean_opt().ok_or_else(|| {
                    DataFusionError::Internal("the condition of a join is not of type BOOLEAN".to_owned())
                })?;
                let mask = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
                (filter_record_batch(&both, &mask)?, Some(mask))
            }
        };
        let mut weights = pairs.weights;
        if let Some(mask) = holds {
            let held: Vec<usize> = (0..weights.len()).filter(|at| mask.value(*at)).collect();
            self.count_partners(side, incoming, &rows, &pairs.kept, &held, matches);
            weights = held.iter().map(|at| weights[*at]).collect();
        }
        match next {
            Some(next) if self.gives_pairs => {
                next.rows(changelog::batch(&self.schema, both.columns().to_vec(), weights)?)
            }
            _ => Ok(()),
        }
    }

    /// Takes note of pairs for which the condition holds.
    fn count_partners(
        &mut self,
        side: usize,
        incoming: &Incoming,
        rows: &UInt32Array,
        kept: &[u32],
        held: &[usize],
        matches: &mut Matches,
    ) {
        let other = &mut self.sides[1 - side];
        for at in held {
            let (row, kept) = (rows.value(*at), kept[*at]);
            matches.incoming[row as usize] += other.weight(kept);
            let Some(partners) = other.partners.get_mut(kept as usize) else { continue };
            if self.touched.mark(kept as usize) {
                matches.before.push((kept, *partners));
            }
            *partners += changelog::weight(&incoming.weights, row as usize);
            other.partners_changed(kept);
        }
    }

    /// Puts out rows by how many partners each has.
    fn by_partners(
        &self,
        side: usize,
        incoming: &Incoming,
        matches: &Matches,
        next: &mut Next<'_>,
    ) -> Result<()> {
        self.alone_incoming(side, incoming, |row| matches.incoming[row] > 0, next)?;
        let other = &self.sides[1 - side];
        if self.alone[1 - side] == Alone::Ignored {
            return Ok(());
        }
        let changed = matches.before.iter().filter_map(|(row, before)| {
            let sign = self.sign(1 - side, *before, other.partners[*row as usize])?;
            Some((*row, sign * other.weight(*row)))
        });
        let (rows, weights): (Vec<u32>, Vec<i64>) = changed.unzip();
        self.alone_kept(1 - side, &rows, weights, next)
    }

    /// Puts out rows by whether the other side has their key.
    fn by_keys(
        &mut self,
        side: usize,
        incoming: &Incoming,
        keys: &[usize],
        next: &mut Next<'_>,
    ) -> Result<()> {
        let other = &self.sides[1 - side];
        self.alone_incoming(side, incoming, |row| other.total(keys[row]) > 0, next)?;
        if self.alone[1 - side] == Alone::Ignored {
            return Ok(());
        }
        let mut change = Vec::new();
        let mut of_key = std::collections::HashMap::new();
        for (row, key) in keys.iter().enumerate() {
            let at = *of_key.entry(*key).or_insert_with(|| {
                change.push((*key, 0));
                change.len() - 1
            });
            change[at].1 += changelog::weight(&incoming.weights, row);
        }
        let (mut rows, mut weights) = (Vec::new(), Vec::new());
        for (key, more) in change {
            let before = self.sides[side].total(key);
            let Some(sign) = self.sign(1 - side, before, before + more) else { continue };
            for row in other.with_key(key) {
                rows.push(row);
                weights.push(sign * other.weight(row));
            }
            if rows.len() >= BATCH_ROWS {
                self.alone_kept(1 - side, &rows, std::mem::take(&mut weights), next)?;
                rows.clear();
            }
        }
        self.alone_kept(1 - side, &rows, weights, next)
    }

    /// Whether a row comes out, or goes, when the weight of its partners changes so.
    fn sign(&self, side: usize, before: i64, after: i64) -> Option<i64> {
        let gets = match (before > 0, after > 0) {
            (false, true) => 1,
            (true, false) => -1,
            _ => return None,
        };
        match self.alone[side] {
            Alone::Ignored => None,
            Alone::Semi => Some(gets),
            Alone::Padded | Alone::Anti => Some(-gets),
        }
    }

    /// Rows that have come, as far as they come out alone.
    fn alone_incoming(
        &self,
        side: usize,
        incoming: &Incoming,
        has_partner: impl Fn(usize) -> bool,
        next: &mut Next<'_>,
    ) -> Result<()> {
        let wanted = match self.alone[side] {
            Alone::Ignored => return Ok(()),
            Alone::Semi => true,
            Alone::Padded | Alone::Anti => false,
        };
        let rows: Vec<u32> = (0..incoming.rows.num_rows())
            .filter(|row| has_partner(*row) == wanted)
            .map(|row| row as u32)
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let weights = rows.iter().map(|row| changelog::weight(&incoming.weights, *row as usize)).collect();
        let rows = UInt32Array::from(rows);
        let columns = incoming.rows.columns().iter().map(|column| Ok(take(column, &rows, None)?));
        self.emit_alone(side, columns.collect::<Result<_>>()?, weights, next)
    }

    fn alone_kept(&self, side: usize, rows: &[u32], weights: Vec<i64>, next: &mut Next<'_>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.emit_alone(side, self.sides[side].take(rows)?, weights, next)
    }

    fn emit_alone(
        &self,
        side: usize,
        own: Vec<ArrayRef>,
        weights: Vec<i64>,
        next: &mut Next<'_>,
    ) -> Result<()> {
        let mut columns = own;
        if self.alone[side] == Alone::Padded {
            let other = self.sides[1 - side].schema.fields().iter();
            let nulls = other.map(|field| new_null_array(field.data_type(), weights.len()));
            match side {
                0 => columns.extend(nulls),
                _ => columns = nulls.chain(columns).collect(),
            }
        }
        next.rows(changelog::batch(&self.schema, columns, weights)?)
    }

    pub(super) fn bytes(&self) -> usize {
        let hot = self.hot.as_ref().map_or(0, HotKeys::bytes);
        self.keys.bytes() + self.sides.iter().map(SideRows::bytes).sum::<usize>() + hot
    }
}

impl PairOperator for Join {
    fn rows(&mut self, side: Side, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        let side = side as usize;
        self.sides.iter_mut().try_for_each(SideRows::forget_old)?;
        let kept = self.take(side, &batch, Some(next))?;
        self.sides[side].note(kept)?;
        self.fit()
    }

    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        next.watermark(watermark)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        for side in 0..self.sides.len() {
            self.snapshot_side(side, &mut snapshot)?;
        }
        if self.hot.is_none() {
            self.sides.iter_mut().try_for_each(SideRows::compact)?;
            self.compact()?;
        }
        Ok(snapshot)
    }

    fn takes_state_in_parts(&self) -> bool {
        self.hot.is_some()
    }

    fn restore(&mut self, restored: Restored) -> Result<()> {
        for chunk in restored.chunks {
            let side = usize::from(chunk.table.min(1));
            let kept = &self.sides[side];
            let schema = match kept.is_updating() {
                true => with_weight(&kept.schema),
                false => Arc::clone(&kept.schema),
            };
            check_schema(&chunk.rows, &schema)?;
            self.take(side, &chunk.rows, None)?;
            self.sides[side].restored(chunk, restored.unstored);
            self.fit()?;
        }
        self.fit()
    }
}
