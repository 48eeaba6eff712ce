//! What a simulated sink stages: some rows of one shard, counted, by one attempt. Shards are to a simulated job what key groups are to a
//! real one: they are dealt to subtasks, and go to others when there are more or fewer of those.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use thalweg_graph::{Attempt, JobId, SubtaskId, VertexId, table::Committable};

/// Shards of a stream.
pub const SHARDS: u32 = 6;

/// Rows `from..to` of the `total` of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rows {
    /// Who made them.
    pub attempt: Attempt,
    /// Of which shard.
    pub shard: u32,
    /// How many shards the job has.
    pub shards: u32,
    /// The first.
    pub from: u64,
    /// The one behind the last.
    pub to: u64,
    /// How many the shard has in all.
    pub total: u64,
}

impl Rows {
    /// As a sink's committer gets them.
    pub fn committable(&self) -> Committable {
        let Attempt { job, subtask, number } = self.attempt;
        let SubtaskId { vertex, index } = subtask;
        let Self { shard, shards, from, to, total, .. } = self;
        let text = format!("{:x} {} {index} {number} {shard} {shards} {from} {to} {total}", job.0, vertex.0);
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
        let (shard, shards) = (next()? as u32, next()? as u32);
        Some(Self { attempt, shard, shards, from: next()?, to: next()?, total: next()? })
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} shard {} {}..{} of {}", self.attempt, self.shard, self.from, self.to, self.total)
    }
}
