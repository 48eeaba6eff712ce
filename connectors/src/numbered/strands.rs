//! The numbers of some strands, merged.

use std::{cmp::Reverse, collections::BinaryHeap, ops::Range};

/// How many strands there are. It has many divisors, so that most parallelisms have an equal share.
pub const STRANDS: u32 = 120;

/// What is left of some strands. Strand `s` has the blocks `s`, `s + STRANDS`, `s + 2 * STRANDS` and so on.
#[derive(Debug, Clone)]
pub struct Strands {
    /// The next number of each strand that has one, the smallest first.
    heads: BinaryHeap<Reverse<(u64, u32)>>,
    /// The strands without, and where they ended.
    ended: Vec<(u64, u32)>,
    block: u64,
    limit: u64,
}

impl Strands {
    /// Strands with the next number of each, cut into blocks, up to a last number exclusively.
    pub fn new(nexts: impl IntoIterator<Item = (u64, u32)>, block: u64, limit: u64) -> Self {
        let mut strands = Self { heads: BinaryHeap::new(), ended: Vec::new(), block, limit };
        nexts.into_iter().for_each(|(next, strand)| strands.put(next, strand));
        strands
    }

    /// The first number of a strand.
    pub fn start(strand: u32, block: u64) -> u64 {
        u64::from(strand) * block
    }

    fn put(&mut self, next: u64, strand: u32) {
        match next < self.limit {
            true => self.heads.push(Reverse((next, strand))),
            false => self.ended.push((next, strand)),
        }
    }

    /// The smallest number left.
    pub fn next(&self) -> Option<u64> {
        self.heads.peek().map(|Reverse((next, _))| *next)
    }

    /// The numbers of a block.
    pub fn block(&self) -> u64 {
        self.block
    }

    /// Takes the smallest numbers: at most so many, and none at or above `bound`.
    pub fn take(&mut self, mut count: u64, bound: u64) -> Vec<Range<u64>> {
        let mut taken: Vec<Range<u64>> = Vec::new();
        while count > 0 {
            let Some(Reverse((start, strand))) = self.heads.peek().copied() else { break };
            let of_block = (start / self.block + 1) * self.block;
            let end = of_block.min(self.limit).min(bound).min(start.saturating_add(count));
            if end <= start {
                break;
            }
            count -= end - start;
            self.heads.pop();
            let next = if end == of_block { end + u64::from(STRANDS - 1) * self.block } else { end };
            self.put(next, strand);
            match taken.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => taken.push(start..end),
            }
        }
        taken
    }

    /// Each strand with its next number.
    pub fn positions(&self) -> impl Iterator<Item = (u64, u32)> {
        self.heads.iter().map(|Reverse(head)| *head).chain(self.ended.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(block: u64, limit: u64, strands: Range<u32>) -> Strands {
        Strands::new(strands.map(|strand| (Strands::start(strand, block), strand)), block, limit)
    }

    #[test]
    fn all_strands_together_have_every_number_in_order() {
        let mut strands = all(10, 5_003, 0..STRANDS);
        assert_eq!(strands.take(25, u64::MAX), [0..25]);
        assert_eq!(strands.take(u64::MAX, 40), [25..40]);
        assert_eq!(strands.take(u64::MAX, u64::MAX), [40..5_003]);
        assert_eq!(strands.next(), None);
        assert_eq!(strands.positions().count(), STRANDS as usize);
    }

    #[test]
    fn one_strand_has_every_120th_block() {
        let mut strands = all(10, 3_000, 1..2);
        assert_eq!(strands.take(12, u64::MAX), [10..20, 1_210..1_212]);
        assert_eq!(strands.next(), Some(1_212));
        assert_eq!(strands.take(100, u64::MAX), [1_212..1_220, 2_410..2_420]);
    }
}
