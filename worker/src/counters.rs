//! What a task counts while it runs. Written by its streams and channels, read by heartbeats.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use thalweg_graph::task::SplitProgress;

use crate::watermark::Watermark;

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

    /// Raises it to this value.
    pub fn raise_to(&self, value: u64) {
        self.0.fetch_max(value, Relaxed);
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
    /// Nanoseconds of computing.
    pub busy_ns: Counter,
    /// Waiting for consumers.
    pub backpressured: Stopwatch,
    /// All the time that its streams run.
    pub alive: Stopwatch,
    /// Rows that came too late for their windows.
    pub records_late: Counter,
    /// The newest checkpoint whose barrier it has met.
    pub barrier: Counter,
    /// How far event time has come.
    pub event_time: EventTime,
}

/// How far event time has come in a task.
#[derive(Debug)]
pub struct EventTime {
    input_ms: AtomicI64,
    output_ms: AtomicI64,
    is_idle: AtomicBool,
    /// Rows whose time was too far ahead to count.
    pub records_ahead: Counter,
    splits: Mutex<BTreeMap<u32, SplitProgress>>,
}

/// Event time that nobody has told.
const UNKNOWN: i64 = i64::MIN;

impl Default for EventTime {
    fn default() -> Self {
        Self {
            input_ms: AtomicI64::new(UNKNOWN),
            output_ms: AtomicI64::new(UNKNOWN),
            is_idle: AtomicBool::new(false),
            records_ahead: Counter::default(),
            splits: Mutex::default(),
        }
    }
}

impl EventTime {
    /// It has come so far in what the task reads.
    pub fn note_input(&self, watermark: Watermark) {
        self.input_ms.store(watermark.0, Relaxed);
    }

    /// It has come so far in what the task puts out.
    pub fn note_output(&self, watermark: Watermark) {
        self.output_ms.store(watermark.0, Relaxed);
        self.is_idle.store(false, Relaxed);
    }

    /// Nothing is said about it for the time being.
    pub fn note_idle(&self) {
        self.is_idle.store(true, Relaxed);
    }

    /// A split begins.
    pub fn begin_split(&self, number: u32, name: String) {
        let progress = SplitProgress { split: name, watermark_ms: None, is_idle: false };
        self.splits.lock().insert(number, progress);
    }

    /// Something about a split has changed.
    pub fn change_split(&self, number: u32, change: impl FnOnce(&mut SplitProgress)) {
        if let Some(split) = self.splits.lock().get_mut(&number) {
            change(split);
        }
    }

    /// A split has ended.
    pub fn end_split(&self, number: u32) {
        self.splits.lock().remove(&number);
    }

    /// In what the task reads, in what it puts out, and whether nothing is said for the time being.
    pub fn get(&self) -> (Option<i64>, Option<i64>, bool) {
        let known = |time: &AtomicI64| Some(time.load(Relaxed)).filter(|time| *time != UNKNOWN);
        (known(&self.input_ms), known(&self.output_ms), self.is_idle.load(Relaxed))
    }

    /// The splits that are furthest behind; those that nobody waits for last.
    pub fn slowest_splits(&self, most: usize) -> Vec<SplitProgress> {
        let splits = self.splits.lock();
        let mut order: Vec<&SplitProgress> = splits.values().collect();
        order.sort_by_key(|split| (split.is_idle, split.watermark_ms));
        order.into_iter().take(most).cloned().collect()
    }
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
