//! What a task counts while it runs. Written by its streams and channels, read by heartbeats.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

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
    /// Nanoseconds of waiting for consumers.
    pub backpressured_ns: Counter,
}
