//! What a task counts while it runs. Written by its streams and channels, read by heartbeats.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// Adds nanoseconds to it.
    pub fn add_time(&self, time: Duration) {
        self.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Time that is counted while it passes, of several waits side by side.
#[derive(Debug, Default)]
pub struct Stopwatch(Mutex<Passed>);

#[derive(Debug, Default)]
struct Passed {
    total: Duration,
    /// How many run, and since when that is counted.
    running: u32,
    since: Option<Instant>,
}

impl Stopwatch {
    /// Runs until what is returned is dropped.
    pub fn start(&self) -> Running<'_> {
        self.0.lock().change(1);
        Running(self)
    }

    /// What has passed so far.
    pub fn get(&self) -> Duration {
        let mut passed = self.0.lock();
        passed.change(0);
        passed.total
    }
}

impl Passed {
    fn change(&mut self, by: i32) {
        let now = Instant::now();
        if let Some(since) = self.since {
            self.total += now.duration_since(since) * self.running;
        }
        self.since = Some(now);
        self.running = self.running.saturating_add_signed(by);
    }
}

/// One wait that a [`Stopwatch`] counts.
pub struct Running<'a>(&'a Stopwatch);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.0.lock().change(-1);
    }
}

/// The counters of one task.
#[derive(Debug, Default)]
pub struct TaskCounters {
    /// Rows read from other tasks.
    pub records_in: Counter,
    /// Bytes read from other tasks.
    pub bytes_in: Counter,
    /// Rows written.
    pub records_out: Counter,
    /// Bytes written.
    pub bytes_out: Counter,
    /// Nanoseconds in operators.
    pub busy_ns: Counter,
    /// Waiting for consumers.
    pub backpressured: Stopwatch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_counts_while_it_lasts_and_each_of_several() {
        let watch = Stopwatch::default();
        let first = watch.start();
        while watch.get().is_zero() {
            std::hint::spin_loop();
        }
        let second = watch.start();
        drop((first, second));
        let stopped = watch.get();
        assert!(!stopped.is_zero());
        assert_eq!(watch.get(), stopped);
    }
}
