//! What a simulated sink stages: some rows of one subtask, counted, by one attempt.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use thalweg_graph::{Attempt, JobId, SubtaskId, VertexId, table::Committable};

/// Rows `from..to` of the `total` that a subtask makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rows {
    /// Who made them.
    pub attempt: Attempt,
    /// The first.
    pub from: u64,
    /// The one behind the last.
    pub to: u64,
    /// How many the subtask makes in all.
    pub total: u64,
}

impl Rows {
    /// As a sink's committer gets them.
    pub fn committable(&self) -> Committable {
        let Attempt { job, subtask, number } = self.attempt;
        let SubtaskId { vertex, index } = subtask;
        let text =
            format!("{:x} {} {index} {number} {} {} {}", job.0, vertex.0, self.from, self.to, self.total);
        Committable(Bytes::from(text))
    }

    /// What a committer was given.
    pub fn of(committable: &Committable) -> Option<Self> {
        let text = std::str::from_utf8(&committable.0).ok()?;
        let mut parts = text.split(' ');
        let job = JobId(u128::from_str_radix(parts.next()?, 16).ok()?);
        let mut next = || u64::from_str(parts.next()?).ok();
        let subtask = SubtaskId { vertex: VertexId(next()? as u32), index: next()? as u32 };
        let attempt = Attempt { job, subtask, number: next()? as u32 };
        Some(Self { attempt, from: next()?, to: next()?, total: next()? })
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}..{} of {}", self.attempt, self.from, self.to, self.total)
    }
}
