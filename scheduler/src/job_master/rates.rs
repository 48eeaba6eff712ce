//! What a task does in a second, from what it has done at two moments.

use thalweg_graph::TaskMetrics;

use crate::{clock::Timestamp, view::TaskRates};

/// The least time between two moments: shorter ones would make the rates jump.
const INTERVAL_MS_MIN: u64 = 1_000;

/// Follows what one attempt of a task has done.
#[derive(Debug, Clone, Default)]
pub struct RateMeter {
    since: Option<(Timestamp, TaskMetrics)>,
    rates: TaskRates,
}

impl RateMeter {
    /// The task has done so much by now.
    pub fn note(&mut self, metrics: &TaskMetrics, now: Timestamp) {
        let (since, before) = *self.since.get_or_insert((now, TaskMetrics::default()));
        let passed_ms = now.since_ms(since);
        if passed_ms < INTERVAL_MS_MIN {
            return;
        }
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 * 1_000.0 / passed_ms as f64;
        let of = |what: fn(&TaskMetrics) -> u64| rate(what(metrics), what(&before));
        let (busy, idle, backpressured) = (of(|m| m.busy_ms), of(|m| m.idle_ms), of(|m| m.backpressured_ms));
        // What runs side by side in one task spends more than a second in a second.
        let share = 1_000.0 / (busy + idle + backpressured).max(1_000.0);
        self.rates = TaskRates {
            records_in: of(|m| m.records_in),
            records_out: of(|m| m.records_out),
            bytes_in: of(|m| m.bytes_in),
            bytes_out: of(|m| m.bytes_out),
            busy_ms: busy * share,
            idle_ms: idle * share,
            backpressured_ms: backpressured * share,
        };
        self.since = Some((now, *metrics));
    }

    /// The newest rates.
    pub fn rates(&self) -> TaskRates {
        self.rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_last_second_and_times_are_shares_of_it() {
        let mut meter = RateMeter::default();
        let at =
            |records_in, busy_ms, idle_ms| TaskMetrics { records_in, busy_ms, idle_ms, ..Default::default() };
        meter.note(&at(0, 0, 0), Timestamp(10_000));
        meter.note(&at(900, 100, 100), Timestamp(10_500));
        assert_eq!(meter.rates(), TaskRates::default(), "half a second says nothing");
        meter.note(&at(4_000, 500, 1_500), Timestamp(12_000));
        let rates = meter.rates();
        assert_eq!((rates.records_in, rates.busy_ms, rates.idle_ms), (2_000.0, 250.0, 750.0));
        meter.note(&at(4_000, 3_500, 2_500), Timestamp(13_000));
        let rates = meter.rates();
        assert_eq!((rates.records_in, rates.busy_ms, rates.idle_ms), (0.0, 750.0, 250.0), "four threads");
    }
}
