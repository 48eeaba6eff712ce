//! How much may wait for a consumer, by how fast it takes: what waits is what a checkpoint's barrier waits behind.
//!
//! The idea is Flink's buffer debloating (FLIP-183). Here the speed is that of the consumer while it has something to do, so that a slow
//! producer does not look like a slow consumer, and the bound holds from one batch to the next.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

/// What waits is taken in about this time.
const TARGET: Duration = Duration::from_millis(500);
/// The speed is that of about the last so much time of work.
const MEMORY: Duration = Duration::from_secs(1);

/// A consumer's speed as its queue sees it.
#[derive(Debug, Default)]
pub struct Pace {
    /// When what it took last was handed out.
    handed_out: Option<Instant>,
    /// Of that.
    last_bytes: usize,
    /// Bytes it took lately, and how long it worked on them.
    bytes: f64,
    worked: Duration,
}

impl Pace {
    /// The consumer comes for more: it is done with what it took last.
    pub fn asked(&mut self, now: Instant) {
        let Some(handed_out) = self.handed_out.take() else { return };
        self.bytes += self.last_bytes as f64;
        self.worked += now.saturating_duration_since(handed_out);
        while self.worked > MEMORY {
            self.bytes /= 2.0;
            self.worked /= 2;
        }
    }

    /// The consumer was given this.
    pub fn handed_out(&mut self, bytes: usize, now: Instant) {
        (self.handed_out, self.last_bytes) = (Some(now), bytes);
    }

    /// How many bytes may wait for it.
    pub fn limit(&self, within: RangeInclusive<usize>) -> usize {
        if self.worked.is_zero() {
            return *within.end();
        }
        let taken = self.bytes / self.worked.as_secs_f64() * TARGET.as_secs_f64();
        // As a float is turned into an integer, what is too large becomes the largest.
        (taken as usize).clamp(*within.start(), *within.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: RangeInclusive<usize> = 1_000..=1_000_000;

    /// Takes batches of so many bytes, works on each for so long, and waits that long for the next.
    fn take(pace: &mut Pace, now: &mut Instant, bytes: usize, work: Duration, wait: Duration, times: usize) {
        for _ in 0..times {
            pace.asked(*now);
            *now += wait;
            pace.handed_out(bytes, *now);
            *now += work;
        }
        pace.asked(*now);
    }

    #[test]
    fn as_much_waits_as_is_taken_in_the_target_time() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        assert_eq!(pace.limit(WITHIN), 1_000_000);
        // 100,000 bytes a second.
        take(&mut pace, &mut now, 10_000, Duration::from_millis(100), Duration::ZERO, 100);
        assert!((49_000..=51_000).contains(&pace.limit(WITHIN)), "{pace:?}");
        // Ten times as fast, after no more than some seconds of it.
        take(&mut pace, &mut now, 10_000, Duration::from_millis(10), Duration::ZERO, 1_000);
        assert!((490_000..=510_000).contains(&pace.limit(WITHIN)), "{pace:?}");
    }

    #[test]
    fn waiting_for_the_producer_is_not_being_slow() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        take(&mut pace, &mut now, 10_000, Duration::from_millis(1), Duration::from_secs(1), 100);
        assert_eq!(pace.limit(WITHIN), 1_000_000);
    }

    #[test]
    fn one_that_takes_next_to_nothing_still_has_something_to_take() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        take(&mut pace, &mut now, 10, Duration::from_secs(10), Duration::ZERO, 10);
        assert_eq!(pace.limit(WITHIN), 1_000);
    }
}
