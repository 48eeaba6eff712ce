//! Event time by the clock: processing time, and event time as the clocks of a zone show it.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMillisecondArray};
use datafusion::error::Result;
use thalweg_plan::functions::zone::Zone;

use super::link::{Next, Operator};
use crate::{wall_clock::now_ms, watermark::Watermark};

/// Puts the time at which a row comes into a column, as the clocks of a zone show it, and says so how far event time has come.
/// It never goes back, whatever the clock does.
pub struct ProcessingTime {
    column: usize,
    every_ms: i64,
    offset_ms: i64,
    zone: Zone,
    clock: fn() -> i64,
    /// The latest time that was put into a row or told.
    latest_ms: i64,
    /// The time up to which was told, and when that is to happen next by the clock.
    told_ms: i64,
    wake_at_ms: i64,
}

impl ProcessingTime {
    /// Time in `column`, told at each of the times that are a multiple of `every_ms` away from `offset_ms`.
    pub fn new(column: usize, every_ms: i64, offset_ms: i64, zone: Zone) -> Self {
        Self::by_clock(column, every_ms, offset_ms, zone, now_ms)
    }

    /// The same by another clock.
    pub fn by_clock(column: usize, every_ms: i64, offset_ms: i64, zone: Zone, clock: fn() -> i64) -> Self {
        let mut made = Self {
            column,
            every_ms: every_ms.max(1),
            offset_ms,
            zone,
            clock,
            latest_ms: i64::MIN,
            told_ms: i64::MIN,
            wake_at_ms: 0,
        };
        made.wake_at_ms = made.next_ms(clock());
        made
    }

    /// When the clock shows the next time at which to tell.
    fn next_ms(&self, now_ms: i64) -> i64 {
        let shown = self.zone.local_ms(now_ms);
        let next = (shown - self.offset_ms).div_euclid(self.every_ms) + 1;
        now_ms + next * self.every_ms + self.offset_ms - shown
    }

    fn tell(&mut self, now_ms: i64, next: &mut Next<'_>) -> Result<()> {
        self.latest_ms = self.latest_ms.max(self.zone.local_ms(now_ms));
        self.wake_at_ms = self.next_ms(now_ms);
        if self.latest_ms - 1 <= self.told_ms {
            return Ok(());
        }
        self.told_ms = self.latest_ms - 1;
        next.watermark(Watermark(self.told_ms))
    }
}

impl Operator for ProcessingTime {
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        let now_ms = (self.clock)();
        if now_ms >= self.wake_at_ms {
            self.tell(now_ms, next)?;
        }
        self.latest_ms = self.latest_ms.max(self.zone.local_ms(now_ms));
        let mut columns = batch.columns().to_vec();
        let times = TimestampMillisecondArray::from_value(self.latest_ms, batch.num_rows());
        columns[self.column] = Arc::new(times) as ArrayRef;
        next.rows(RecordBatch::try_new(batch.schema(), columns)?)
    }

    /// Event time of the rows is another one; only the end is the same.
    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        if watermark == Watermark::END { next.watermark(watermark) } else { Ok(()) }
    }

    /// The clock goes on when no rows come.
    fn idle(&mut self, _: &mut Next<'_>) -> Result<()> {
        Ok(())
    }

    fn wake_at_ms(&self) -> Option<i64> {
        Some(self.wake_at_ms)
    }

    fn wake(&mut self, now_ms: i64, next: &mut Next<'_>) -> Result<()> {
        self.tell(now_ms, next)
    }
}

/// Says how far event time has come as the clocks of a zone show it. When they are put back, it stands still.
pub struct LocalTime {
    /// The zone.
    pub zone: Zone,
    /// What was told last.
    pub told: Option<Watermark>,
}

impl Operator for LocalTime {
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        next.rows(batch)
    }

    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        let local = match watermark {
            Watermark::END => watermark,
            // All up to the millisecond before the next time that a row may have.
            Watermark(ms) => Watermark(self.zone.local_ms(ms)),
        };
        let told = self.told.max(Some(local));
        self.told = told;
        next.watermark(told.unwrap_or(local))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use arrow::{
        array::AsArray as _,
        datatypes::{DataType, Field, Schema, TimeUnit, TimestampMillisecondType},
    };

    use super::*;
    use crate::operator::link::Element;

    thread_local! {
        static NOW: Cell<i64> = const { Cell::new(0) };
    }

    fn told(elements: &[Element]) -> Vec<i64> {
        let each = elements.iter().map(|element| match element {
            Element::Rows(rows) => rows.column(0).as_primitive::<TimestampMillisecondType>().value(0),
            Element::Watermark(watermark) => -watermark.0,
            Element::Idle => 0,
        });
        each.collect()
    }

    #[test]
    fn rows_have_the_clocks_time_and_it_is_told_at_each_border() {
        NOW.set(12_345);
        let zone = Zone::named("+01:00").unwrap();
        let ahead = 3_600_000;
        let mut chain: [Box<dyn Operator>; 1] =
            [Box::new(ProcessingTime::by_clock(0, 10_000, 0, zone, || NOW.get()))];
        assert_eq!(chain[0].wake_at_ms(), Some(20_000));
        let time = DataType::Timestamp(TimeUnit::Millisecond, None);
        let schema = Arc::new(Schema::new(vec![Field::new("t", time, true)]));
        let rows = RecordBatch::try_new(schema, vec![Arc::new(TimestampMillisecondArray::from(vec![7]))]);
        let rows = rows.unwrap();
        let mut out = Vec::new();
        Next::new(&mut chain, &mut out).rows(rows.clone()).unwrap();
        chain[0].wake(20_001, &mut Next::new(&mut [], &mut out)).unwrap();
        assert_eq!(chain[0].wake_at_ms(), Some(30_000));
        // The clock is put back: time stands still.
        NOW.set(11_000);
        Next::new(&mut chain, &mut out).rows(rows.clone()).unwrap();
        Next::new(&mut chain, &mut out).watermark(Watermark(99)).unwrap();
        // A border has passed, and nobody has woken it.
        NOW.set(30_005);
        Next::new(&mut chain, &mut out).rows(rows).unwrap();
        Next::new(&mut chain, &mut out).watermark(Watermark::END).unwrap();
        let expected = [12_345, -20_000, 20_001, -30_004, 30_005].map(|ms: i64| ms + ms.signum() * ahead);
        assert_eq!(told(&out)[..5], expected);
        assert_eq!(told(&out)[5..], [-i64::MAX]);
    }

    #[test]
    fn local_time_stands_still_when_clocks_are_put_back() {
        let mut local: [Box<dyn Operator>; 1] =
            [Box::new(LocalTime { zone: Zone::named("Europe/Berlin").unwrap(), told: None })];
        let mut out = Vec::new();
        // 2024-10-27 00:59:59, 01:00:00 and 02:00:00 in UTC: 02:59:59, 02:00:00 and 03:00:00 in Berlin.
        for utc_s in [1_729_990_799, 1_729_990_800, 1_729_994_400] {
            Next::new(&mut local, &mut out).watermark(Watermark(utc_s * 1000)).unwrap();
        }
        let expected = [1_729_997_999, 1_729_997_999, 1_729_998_000].map(|local_s| -local_s * 1000);
        assert_eq!(told(&out), expected);
    }
}
