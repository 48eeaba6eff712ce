//! From numbers of events to the events of each kind.

use std::ops::Range;

use super::{
    kind::{KINDS, Kind},
    options::Proportions,
};

/// Events of one kind that follow each other in one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The number of the first one.
    pub event: u64,
    /// How many there are.
    pub len: u64,
    /// The round they are in.
    pub round: u64,
    /// How many of their kind are before them in the round.
    pub place: u64,
}

/// The events of some numbers.
#[derive(Debug, Default)]
pub struct Runs {
    /// Those of each kind, by the kind's number.
    pub of: [Vec<Run>; 3],
    /// All of them, in order: of which kind, and how many.
    pub order: Vec<(Kind, usize)>,
    /// How many there are in all.
    pub rows: usize,
}

impl Runs {
    /// The events of these numbers that are of these kinds.
    pub fn new(proportions: &Proportions, numbers: &[Range<u64>], kinds: [bool; 3]) -> Self {
        let mut runs = Self::default();
        for range in numbers {
            let mut event = range.start;
            while event < range.end {
                let (round, within) = (event / proportions.total, event % proportions.total);
                event += runs.add(proportions, kinds, round, within, range.end - event);
            }
        }
        runs
    }

    /// Adds what follows a place of a round within its kind; says how many events that are.
    fn add(
        &mut self,
        proportions: &Proportions,
        kinds: [bool; 3],
        round: u64,
        within: u64,
        most: u64,
    ) -> u64 {
        let mut begin = 0;
        for kind in KINDS {
            let count = proportions.of[kind as usize];
            if within < begin + count {
                let len = (begin + count - within).min(most);
                if kinds[kind as usize] {
                    let event = round * proportions.total + within;
                    self.of[kind as usize].push(Run { event, len, round, place: within - begin });
                    self.order.push((kind, len as usize));
                    self.rows += len as usize;
                }
                return len;
            }
            begin += count;
        }
        most
    }
}

/// One value for each event of some runs: `of_run` prepares what is the same for all events of a run.
pub fn each<T, F: FnMut(u64) -> T>(runs: &[Run], mut of_run: impl FnMut(&Run) -> F) -> Vec<T> {
    let mut values = Vec::with_capacity(runs.iter().map(|run| run.len as usize).sum());
    for run in runs {
        values.extend((run.event..run.event + run.len).map(of_run(run)));
    }
    values
}

/// The numbers of all events of some runs.
pub fn events(runs: &[Run]) -> impl Iterator<Item = u64> {
    runs.iter().flat_map(|run| run.event..run.event + run.len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Proportions = Proportions { total: 50, of: [1, 3, 46] };

    #[test]
    fn a_round_has_its_kinds_in_order() {
        let runs = Runs::new(&ALL, &[48..55], [true; 3]);
        assert_eq!(runs.order, [(Kind::Bid, 2), (Kind::Person, 1), (Kind::Auction, 3), (Kind::Bid, 1)]);
        assert_eq!(runs.of[2][0], Run { event: 48, len: 2, round: 0, place: 44 });
        assert_eq!(runs.of[1], [Run { event: 51, len: 3, round: 1, place: 0 }]);
        assert_eq!(runs.rows, 7);
    }

    #[test]
    fn other_kinds_are_left_out() {
        let runs = Runs::new(&ALL, &[0..100, 200..202], [true, false, false]);
        let persons: Vec<u64> = events(&runs.of[0]).collect();
        assert_eq!(persons, [0, 50, 200]);
        assert_eq!(runs.rows, 3);
    }
}
