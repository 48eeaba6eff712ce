//! When what an operator keeps of a key and nobody has changed for long is forgotten (`table.exec.state.ttl`).
//!
//! It is kept for at least that time by the clock, and goes with the first rows that come a part of that time later. The times of changes are
//! not in checkpoints: what comes back from one counts as changed then.

use std::time::Duration;

use crate::wall_clock::now_ms;

/// What is too old is looked for so often in the time that things are kept.
const LOOKS: i64 = 4;

/// How long things are kept, and when to look for those that are too old.
#[derive(Debug, Clone, Copy)]
pub struct Expiry {
    ttl_ms: i64,
    clock: fn() -> i64,
    look_at_ms: i64,
}

impl Expiry {
    /// For things that are kept so long; `None` where that is for ever.
    pub fn after(ttl: Duration) -> Option<Self> {
        (!ttl.is_zero()).then(|| Self::by_clock(ttl, now_ms))
    }

    /// The same by another clock, which tells milliseconds.
    pub fn by_clock(ttl: Duration, clock: fn() -> i64) -> Self {
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).max(1);
        Self { ttl_ms, clock, look_at_ms: 0 }
    }

    /// What changes now changes at this time.
    pub fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    /// What changed last at this time or before is too old.
    pub fn oldest_ms(&self) -> i64 {
        self.now_ms().saturating_sub(self.ttl_ms)
    }

    /// That time, when it is time to look for what is too old.
    pub fn look(&mut self) -> Option<i64> {
        let now_ms = self.now_ms();
        if now_ms < self.look_at_ms {
            return None;
        }
        self.look_at_ms = now_ms.saturating_add((self.ttl_ms / LOOKS).max(1));
        Some(now_ms.saturating_sub(self.ttl_ms))
    }
}
