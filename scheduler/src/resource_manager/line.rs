//! The jobs of one queue, in the order in which they come to slots.

use std::collections::BTreeSet;

use thalweg_graph::{JobId, job_queues::Limits};

/// Position in the order of arrival.
pub(super) type Ticket = u64;

/// A job that waits for slots. The least comes first: those of a higher priority; of these the one that holds the fewest slots; of these the
/// one with the oldest request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    /// The lower the higher its priority.
    pub(super) before: i64,
    /// The slots that it holds.
    pub(super) held: u32,
    /// Its oldest request that can be granted.
    pub(super) ticket: Ticket,
    /// Which.
    pub(super) job: JobId,
}

/// One queue.
#[derive(Debug)]
pub(super) struct Line {
    limits: Limits,
    /// Slots that its jobs hold.
    held: u32,
    /// Jobs that have begun and are not over.
    begun: u32,
    /// Of jobs that have begun.
    turns: BTreeSet<Turn>,
    /// Of jobs that have not.
    new: BTreeSet<Turn>,
}

impl Line {
    /// Without jobs.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, held: 0, begun: 0, turns: BTreeSet::new(), new: BTreeSet::new() }
    }

    /// Whether nobody waits here or holds anything.
    pub(super) fn is_empty(&self) -> bool {
        self.held == 0 && self.begun == 0 && self.turns.is_empty() && self.new.is_empty()
    }

    /// Slots that are held and jobs that have begun.
    pub(super) fn in_use(&self) -> (u32, u32) {
        (self.held, self.begun)
    }

    /// Takes a job in, with what it holds.
    pub(super) fn add(&mut self, turn: Option<Turn>, has_begun: bool, held: u32) {
        self.held += held;
        self.begun += u32::from(has_begun);
        let turns = if has_begun { &mut self.turns } else { &mut self.new };
        turns.extend(turn);
    }

    /// Takes a job out, as it was taken in.
    pub(super) fn remove(&mut self, turn: Option<Turn>, has_begun: bool, held: u32) {
        self.held -= held;
        self.begun -= u32::from(has_begun);
        let turns = if has_begun { &mut self.turns } else { &mut self.new };
        if let Some(turn) = turn {
            turns.remove(&turn);
        }
    }

    /// Whose turn it is, if the queue has room for it. While it has none nobody else of the queue passes: wide requests are not starved by
    /// narrow ones.
    pub(super) fn next(&self, width: impl Fn(Ticket) -> usize) -> Option<Turn> {
        let may_begin = self.limits.jobs.is_none_or(|max| self.begun < max);
        let new = self.new.first().filter(|_| may_begin);
        let turn = self.turns.first().into_iter().chain(new).min()?;
        let is_room =
            self.limits.slots.is_none_or(|max| self.held as usize + width(turn.ticket) <= max as usize);
        is_room.then_some(*turn)
    }
}
