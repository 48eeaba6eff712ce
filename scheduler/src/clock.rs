//! Time as the pure machines see it: milliseconds since the Unix epoch that never run backwards.
//!
//! The dispatcher reads it from tokio's clock (so that tests can pause it) counted from the wall clock at its start.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A point in time, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The wall clock's time, for what is shown to people. Decisions read a [`Clock`].
    pub fn wall() -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(since_epoch.as_millis() as u64)
    }

    /// This time and a while.
    pub fn after(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(duration.as_millis().try_into().unwrap_or(u64::MAX)))
    }

    /// Milliseconds from `earlier` to this time.
    pub fn since_ms(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Reads the time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    /// A clock that starts at the wall clock's time.
    pub fn start() -> Self {
        Self::start_at(Timestamp::wall())
    }

    /// A clock that starts at this time.
    pub fn start_at(time: Timestamp) -> Self {
        Self { started: Instant::now(), started_ms: time.0 }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.started_ms).after(self.started.elapsed())
    }

    /// The instant at which this clock will show `time`: late by less than a millisecond, never early.
    pub fn instant_of(&self, time: Timestamp) -> Instant {
        self.started + Duration::from_millis(time.0.saturating_sub(self.started_ms))
    }
}
