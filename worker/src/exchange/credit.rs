//! How much credit a consumer gives back: what it has taken, as far as what is under way then is not too much for its speed.

use std::time::Instant;

use super::pace::Pace;

/// However slow the consumer is, so many bytes may be under way to it.
const WINDOW_BYTES_MIN: usize = 16 << 10;

/// One channel's credit, as its consumer sees it.
#[derive(Debug)]
pub struct Credit {
    /// The most that may be under way.
    window_bytes: usize,
    /// Consumed and not given back.
    owed_bytes: usize,
    /// The largest block so far.
    largest_bytes: usize,
    pace: Pace,
}

impl Credit {
    /// A channel that began with credit for this window.
    pub fn new(window_bytes: u32) -> Self {
        let pace = Pace::default();
        Self { window_bytes: window_bytes as usize, owed_bytes: 0, largest_bytes: 0, pace }
    }

    /// The consumer comes for more: it is done with what it took last.
    pub fn asked(&mut self, now: Instant) {
        self.pace.asked(now);
    }

    /// The consumer takes a block; `is_last`: nothing else has come yet. How many bytes of credit are given back, in larger parts.
    pub fn taken(&mut self, block_bytes: usize, is_last: bool, now: Instant) -> u32 {
        self.pace.handed_out(block_bytes, now);
        let block_bytes = block_bytes.min(self.window_bytes);
        self.owed_bytes += block_bytes;
        self.largest_bytes = self.largest_bytes.max(block_bytes);
        // One block is on its way while the consumer works on another.
        let least = WINDOW_BYTES_MIN.max(2 * self.largest_bytes).min(self.window_bytes);
        let window_bytes = self.pace.limit(least..=self.window_bytes);
        let due_bytes = self.owed_bytes.saturating_sub(self.window_bytes - window_bytes);
        let is_due = due_bytes >= window_bytes / 4 || is_last;
        self.give(if is_due { due_bytes } else { 0 })
    }

    /// Whether credit is held back.
    pub fn is_held_back(&self) -> bool {
        self.owed_bytes > 0
    }

    /// Nothing has come for a while: the next block may need all of it.
    pub fn all(&mut self) -> u32 {
        self.give(self.owed_bytes)
    }

    fn give(&mut self, bytes: usize) -> u32 {
        self.owed_bytes -= bytes;
        // No more than the window, which came as 32 bits.
        bytes as u32
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const WINDOW: u32 = 1 << 20;
    const BLOCK: usize = 20 << 10;

    /// Takes blocks and works on each for so long; how much is under way in the end, where a producer sends what it may.
    fn under_way(credit: &mut Credit, work: Duration, is_last: bool) -> usize {
        let mut now = Instant::now();
        let mut under_way = WINDOW as usize;
        for _ in 0..100 {
            credit.asked(now);
            under_way -= BLOCK;
            under_way += credit.taken(BLOCK, is_last, now) as usize;
            now += work;
        }
        under_way
    }

    #[test]
    fn as_much_is_under_way_as_is_taken_in_the_target_time() {
        let mut fast = Credit::new(WINDOW);
        assert!(under_way(&mut fast, Duration::from_micros(10), false) > WINDOW as usize / 2);
        // 200 KiB a second, of which half a second's are 100; a quarter of that is given back at once.
        let mut slow = Credit::new(WINDOW);
        let bytes = under_way(&mut slow, Duration::from_millis(100), false);
        assert!((60 << 10..=110 << 10).contains(&bytes), "{bytes}");
        assert!(slow.is_held_back());
    }

    #[test]
    fn all_is_given_back_at_once_to_one_who_has_waited() {
        let mut fast = Credit::new(WINDOW);
        assert_eq!(under_way(&mut fast, Duration::from_micros(10), true), WINDOW as usize);
        assert!(!fast.is_held_back());
        let mut slow = Credit::new(WINDOW);
        let bytes = under_way(&mut slow, Duration::from_secs(1), false);
        // A block larger than what is under way could not come otherwise.
        assert_eq!(bytes + slow.all() as usize, WINDOW as usize);
        assert!(!slow.is_held_back());
    }
}
