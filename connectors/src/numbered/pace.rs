//! When a number is due, where they come at a rate.

use std::time::Duration;

use tokio::time::Instant;

/// Readers wake up no more often than this.
const TICK: Duration = Duration::from_millis(5);

/// Numbers come evenly from the first one on.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    rate: u64,
    begun: Instant,
    first: u64,
    woken: Instant,
}

impl Pace {
    /// So many numbers a second; this one is due now.
    pub fn new(rate: u64, first: u64) -> Self {
        let now = Instant::now();
        Self { rate: rate.max(1), begun: now, first, woken: now }
    }

    /// The numbers below this are due.
    pub fn due(&self) -> u64 {
        let passed = self.begun.elapsed().as_nanos() * u128::from(self.rate) / 1_000_000_000;
        self.first.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)).saturating_add(1)
    }

    /// Waits until a number is due.
    pub async fn wait(&mut self, number: u64) {
        let after = u128::from(number.saturating_sub(self.first)) * 1_000_000_000 / u128::from(self.rate);
        let after = Duration::from_nanos(u64::try_from(after).unwrap_or(u64::MAX));
        if after > self.begun.elapsed() {
            tokio::time::sleep_until((self.begun + after).max(self.woken + TICK)).await;
            self.woken = Instant::now();
        }
    }
}
