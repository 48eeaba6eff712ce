//! Which sessions are open.

use std::{cmp::Reverse, collections::BinaryHeap};

/// The open sessions of all keys, each with what its operator keeps for it.
pub struct Sessions<P> {
    gap_ms: i64,
    /// By number. `None` where a session is over and its number free.
    all: Vec<Option<Session<P>>>,
    free: Vec<usize>,
    /// The numbers of each key's sessions.
    of_key: Vec<Vec<usize>>,
    /// When sessions end, as far as known when they were put here: a session that has grown since is put back.
    ends: BinaryHeap<Reverse<(i64, usize)>>,
    /// Sessions that end here or before are over.
    complete_ms: i64,
}

/// A session.
#[derive(Debug)]
pub struct Session<P> {
    /// The number of its key.
    pub key: usize,
    /// The time of its first row.
    pub first_ms: i64,
    /// The time of its last row.
    pub last_ms: i64,
    /// What its operator keeps for it.
    pub kept: P,
}

/// What an operator keeps for a session.
pub trait Kept: Default {
    /// Takes over that of another session, which has become part of this one.
    fn merge(&mut self, other: Self);
}

impl<P: Kept> Sessions<P> {
    /// None are open.
    pub fn new(gap_ms: i64) -> Self {
        Self {
            gap_ms,
            all: Vec::new(),
            free: Vec::new(),
            of_key: Vec::new(),
            ends: BinaryHeap::new(),
            complete_ms: i64::MIN,
        }
    }

    /// The number of sessions.
    pub fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// The bytes it holds, about.
    pub fn bytes(&self) -> usize {
        self.all.capacity() * size_of::<Option<Session<P>>>()
            + self.ends.len() * size_of::<(i64, usize)>()
            + self.of_key.capacity() * (size_of::<Vec<usize>>() + size_of::<usize>())
    }

    /// The session of a row, which makes it longer; none where it would be over already.
    pub fn of_row(&mut self, key: usize, time_ms: i64) -> Option<&mut Session<P>> {
        if self.of_key.len() <= key {
            self.of_key.resize_with(key + 1, Vec::new);
        }
        let joins = |session: &Session<P>| {
            session.first_ms.saturating_sub(self.gap_ms) <= time_ms
                && time_ms <= session.last_ms.saturating_add(self.gap_ms)
        };
        let open = &self.of_key[key];
        let mut joined = open.iter().copied().filter(|at| self.all[*at].as_ref().is_some_and(joins));
        let (first, second) = (joined.next(), joined.next());
        let Some(at) = first else {
            if time_ms.saturating_add(self.gap_ms) <= self.complete_ms {
                return None;
            }
            let session = Session { key, first_ms: time_ms, last_ms: time_ms, kept: P::default() };
            return self.open(session);
        };
        if let Some(other) = second {
            self.merge(at, other, key);
        }
        let session = self.all[at].as_mut()?;
        session.first_ms = session.first_ms.min(time_ms);
        session.last_ms = session.last_ms.max(time_ms);
        Some(session)
    }

    /// A row can be between two sessions, and no more.
    fn merge(&mut self, into: usize, other: usize, key: usize) {
        self.of_key[key].retain(|at| *at != other);
        self.free.push(other);
        if let (Some(other), Some(into)) = (self.all[other].take(), self.all[into].as_mut()) {
            into.first_ms = into.first_ms.min(other.first_ms);
            into.last_ms = into.last_ms.max(other.last_ms);
            into.kept.merge(other.kept);
        }
    }

    /// Adds a session.
    pub fn open(&mut self, session: Session<P>) -> Option<&mut Session<P>> {
        let at = self.free.pop().unwrap_or(self.all.len());
        if at == self.all.len() {
            self.all.push(None);
        }
        if self.of_key.len() <= session.key {
            self.of_key.resize_with(session.key + 1, Vec::new);
        }
        self.of_key[session.key].push(at);
        self.ends.push(Reverse((session.last_ms.saturating_add(self.gap_ms), at)));
        self.all[at] = Some(session);
        self.all[at].as_mut()
    }

    /// The open session of a key at a time.
    pub fn at(&mut self, key: usize, time_ms: i64) -> Option<&mut Session<P>> {
        let open = self.of_key.get(key)?;
        let has = |session: &Session<P>| session.first_ms <= time_ms && time_ms <= session.last_ms;
        let at = open.iter().copied().find(|at| self.all[*at].as_ref().is_some_and(has))?;
        self.all[at].as_mut()
    }

    /// Closes the sessions that end at this time or before, the first one first.
    pub fn complete(&mut self, until_ms: i64) -> Vec<Session<P>> {
        let mut over = Vec::new();
        self.complete_ms = self.complete_ms.max(until_ms);
        while let Some(Reverse((end_ms, at))) = self.ends.peek().copied()
            && end_ms <= until_ms
        {
            self.ends.pop();
            let Some(session) = &self.all[at] else { continue };
            let end_now_ms = session.last_ms.saturating_add(self.gap_ms);
            if end_now_ms > end_ms {
                self.ends.push(Reverse((end_now_ms, at)));
                continue;
            }
            self.of_key[session.key].retain(|other| *other != at);
            self.free.push(at);
            over.extend(self.all[at].take());
        }
        over
    }

    /// The open sessions, in an order that stays as long as none is opened or closed.
    pub fn iter(&self) -> impl Iterator<Item = &Session<P>> {
        self.all.iter().flatten()
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session<P>> {
        self.all.iter_mut().flatten()
    }

    /// Gives all sessions, in the order of [`Self::iter`], the keys of these numbers.
    pub fn number_keys(&mut self, keys: &[usize]) {
        self.of_key.clear();
        self.of_key.resize_with(keys.iter().max().map_or(0, |max| max + 1), Vec::new);
        let open = self.all.iter_mut().enumerate().filter_map(|(at, session)| Some((at, session.as_mut()?)));
        for ((at, session), key) in open.zip(keys) {
            session.key = *key;
            self.of_key[*key].push(at);
        }
    }

    /// The time up to which sessions are over.
    pub fn complete_ms(&self) -> i64 {
        self.complete_ms
    }

    /// Sessions that end here or before were over in a job that goes on.
    pub fn set_complete(&mut self, complete_ms: i64) {
        self.complete_ms = self.complete_ms.max(complete_ms);
    }
}
