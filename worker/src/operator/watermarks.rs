//! Says how far event time has come, by an expression over the rows: `WATERMARK FOR t AS expression`.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{
    array::{Array as _, ArrayRef, RecordBatch},
    compute::max,
};
use datafusion::{
    error::Result,
    logical_expr::Operator as SqlOperator,
    physical_expr::{
        PhysicalExpr,
        expressions::{BinaryExpr, Column, Literal},
    },
};

use super::{
    link::{Next, Operator, SplitChange},
    times::times,
};
use crate::{
    counters::TaskCounters,
    watermark::{AlignedWatermark, TimeChange, Watermark},
};

/// Follows the largest value that the expression has had in each split of a source, and tells the lowest of these at most once in an
/// interval.
pub struct Watermarks {
    expression: Arc<dyn PhysicalExpr>,
    /// The column with which the expression's value rises, if it is that simple: then the row with the latest time decides.
    rises_with: Option<usize>,
    interval: Duration,
    aligned: AlignedWatermark,
    /// By the split's number: its place in `aligned`.
    splits: BTreeMap<u32, usize>,
    /// The split whose rows come, and its place.
    current: Option<(u32, usize)>,
    /// How far ahead of the clock a row may be to count.
    ahead: Option<Ahead>,
    /// Where it is told how far each split has come.
    counters: Arc<TaskCounters>,
    /// What all splits have reached, and when something was told last.
    reached: Option<i64>,
    told: Option<(Instant, i64)>,
}

/// Rows far ahead of the clock do not move event time: one row with a wrong time would make all others late.
pub struct Ahead {
    /// How far is too far.
    pub max_ms: i64,
    /// What the clocks show that the rows' times are of.
    pub now_ms: Box<dyn Fn() -> i64 + Send>,
}

impl Watermarks {
    /// Watermarks by `expression`; with an interval of zero behind every batch.
    pub fn new(
        expression: Arc<dyn PhysicalExpr>,
        interval: Duration,
        ahead: Option<Ahead>,
        counters: Arc<TaskCounters>,
    ) -> Self {
        Self {
            rises_with: rises_with(&expression),
            expression,
            interval,
            aligned: AlignedWatermark::new(0),
            splits: BTreeMap::new(),
            current: None,
            ahead,
            counters,
            reached: None,
            told: None,
        }
    }

    /// The largest value of the expression in a batch.
    fn largest_of(&self, batch: &RecordBatch) -> Result<Option<i64>> {
        let rows = match self.rises_with {
            Some(column) => {
                let Some(row) = latest(batch, column)? else { return Ok(None) };
                &batch.slice(row, 1)
            }
            None => batch,
        };
        let largest = max(times(&self.values(rows)?)?);
        match (&self.ahead, largest) {
            (Some(ahead), Some(largest)) if largest > ahead.latest_ms() => {
                self.largest_upto(batch, ahead.latest_ms())
            }
            _ => Ok(largest),
        }
    }

    /// The same of the rows that are not too far ahead; counts those that are.
    fn largest_upto(&self, batch: &RecordBatch, latest_ms: i64) -> Result<Option<i64>> {
        let values = self.values(batch)?;
        let mut largest = None;
        let mut ahead = 0;
        for value in times(&values)?.iter().flatten() {
            match value <= latest_ms {
                true => largest = largest.max(Some(value)),
                false => ahead += 1,
            }
        }
        self.counters.event_time.records_ahead.add(ahead);
        Ok(largest)
    }

    fn values(&self, rows: &RecordBatch) -> Result<ArrayRef> {
        self.expression.evaluate(rows)?.into_array(rows.num_rows())
    }

    fn due(&self, reached: i64) -> bool {
        match self.told {
            None => true,
            Some((_, told)) if told >= reached => false,
            Some((when, _)) => when.elapsed() >= self.interval,
        }
    }

    /// Follows a change of one split. The end is told by the task, when all of its input has ended.
    fn changed(&mut self, change: Option<TimeChange>, next: &mut Next<'_>) -> Result<()> {
        match change {
            Some(TimeChange::Idle) => {
                self.tell(next)?;
                next.idle()
            }
            Some(TimeChange::Advanced(Watermark(reached))) if reached < Watermark::END.0 => {
                self.reached = Some(reached);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn tell(&mut self, next: &mut Next<'_>) -> Result<()> {
        let Some(reached) = self.reached.filter(|reached| self.due(*reached)) else { return Ok(()) };
        self.told = Some((Instant::now(), reached));
        next.watermark(Watermark(reached))
    }

    fn place_of(&mut self, split: u32) -> usize {
        *self.splits.entry(split).or_insert_with(|| self.aligned.add())
    }
}

impl Operator for Watermarks {
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        let largest = self.largest_of(&batch)?;
        next.rows(batch)?;
        let (split, place) = match self.current {
            Some(current) => current,
            // A source that knows no splits is one.
            None => (0, self.place_of(0)),
        };
        if let Some(largest) = largest {
            self.counters.event_time.change_split(split, |progress| {
                progress.watermark_ms = progress.watermark_ms.max(Some(largest));
            });
            let change = self.aligned.advance(place, Watermark(largest));
            self.changed(change, next)?;
        }
        self.tell(next)
    }

    /// What comes from below says nothing about this column, unless it is the end.
    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        if watermark == Watermark::END { next.watermark(watermark) } else { Ok(()) }
    }

    fn split(&mut self, split: SplitChange, next: &mut Next<'_>) -> Result<()> {
        let change = match split {
            SplitChange::Begin(split) => {
                let place = self.place_of(split);
                self.aligned.active(place);
                None
            }
            SplitChange::Rows(split) => {
                let place = self.place_of(split);
                self.aligned.active(place);
                self.current = Some((split, place));
                self.counters.event_time.change_split(split, |progress| progress.is_idle = false);
                None
            }
            SplitChange::Idle(split) => {
                let place = self.place_of(split);
                self.counters.event_time.change_split(split, |progress| progress.is_idle = true);
                self.aligned.idle(place)
            }
            SplitChange::End(split) => {
                let place = self.place_of(split);
                self.aligned.advance(place, Watermark::END)
            }
        };
        self.changed(change, next)?;
        self.tell(next)
    }
}

impl Ahead {
    fn latest_ms(&self) -> i64 {
        (self.now_ms)().saturating_add(self.max_ms)
    }
}

/// The column of `column` or `column - constant`.
fn rises_with(expression: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    if let Some(column) = expression.downcast_ref::<Column>() {
        return Some(column.index());
    }
    let difference = expression.downcast_ref::<BinaryExpr>()?;
    let constant = difference.op() == &SqlOperator::Minus && difference.right().is::<Literal>();
    difference.left().downcast_ref::<Column>().filter(|_| constant).map(Column::index)
}

/// The row with the latest time.
fn latest(batch: &RecordBatch, column: usize) -> Result<Option<usize>> {
    let times = times(batch.column(column))?;
    let valid = (0..times.len()).filter(|row| times.is_valid(*row));
    Ok(valid.max_by_key(|row| times.value(*row)))
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::TimestampMillisecondArray,
        datatypes::{DataType, Field, Schema, TimeUnit},
    };
    use datafusion::{
        common::ScalarValue,
        physical_expr::expressions::{binary, col, lit},
    };

    use super::*;
    use crate::operator::link::Element;

    const TIME: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

    fn watermarks_of(expression: Arc<dyn PhysicalExpr>, schema: &Arc<Schema>) -> Vec<i64> {
        let mut operator: [Box<dyn Operator>; 1] =
            [Box::new(Watermarks::new(expression, Duration::ZERO, None, Arc::default()))];
        let mut out = Vec::new();
        for times in [
            vec![Some(5_000), None, Some(9_000), Some(7_000)],
            vec![None],
            vec![Some(8_000)],
            vec![Some(9_001)],
        ] {
            let column = Arc::new(TimestampMillisecondArray::from(times));
            let batch = RecordBatch::try_new(Arc::clone(schema), vec![column]).unwrap();
            Next::new(&mut operator, &mut out).rows(batch).unwrap();
        }
        let said = |element: &Element| match element {
            Element::Watermark(watermark) => Some(watermark.0),
            Element::Rows(_) | Element::Idle => None,
        };
        out.iter().filter_map(said).collect()
    }

    #[test]
    fn the_latest_row_decides_and_time_never_goes_back() {
        let schema = Arc::new(Schema::new(vec![Field::new("t", TIME, true)]));
        let t = col("t", &schema).unwrap();
        let second = lit(ScalarValue::new_interval_dt(0, 1_000));
        let simple = binary(Arc::clone(&t), SqlOperator::Minus, Arc::clone(&second), &schema).unwrap();
        let other = binary(Arc::clone(&t), SqlOperator::Plus, second, &schema).unwrap();
        assert!(rises_with(&simple).is_some() && rises_with(&other).is_none());
        assert_eq!(watermarks_of(t, &schema), [9_000, 9_001]);
        assert_eq!(watermarks_of(simple, &schema), [8_000, 8_001]);
        assert_eq!(watermarks_of(other, &schema), [10_000, 10_001]);
    }

    #[test]
    fn a_row_far_ahead_of_the_clock_does_not_move_event_time_and_is_counted() {
        let schema = Arc::new(Schema::new(vec![Field::new("t", TIME, true)]));
        let counters = Arc::<TaskCounters>::default();
        let ahead = Ahead { max_ms: 1_000, now_ms: Box::new(|| 5_000) };
        let t = col("t", &schema).unwrap();
        let watermarks = Watermarks::new(t, Duration::ZERO, Some(ahead), Arc::clone(&counters));
        let mut operator: [Box<dyn Operator>; 1] = [Box::new(watermarks)];
        let mut said = Vec::new();
        for times in [vec![4_000, 99_000, 5_500], vec![6_001], vec![6_000]] {
            let column = Arc::new(TimestampMillisecondArray::from(times));
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
            let mut out = Vec::new();
            Next::new(&mut operator, &mut out).rows(batch).unwrap();
            said.extend(out.iter().filter_map(|element| match element {
                Element::Watermark(watermark) => Some(watermark.0),
                Element::Rows(_) | Element::Idle => None,
            }));
        }
        assert_eq!(said, [5_500, 6_000]);
        assert_eq!(counters.event_time.records_ahead.get(), 2);
    }
}
