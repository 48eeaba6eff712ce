//! Ids of jobs, vertices, subtasks, attempts and workers. Newtypes, so that two numbers cannot be swapped.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A job's id: 128 bits, written as 32 lower-case hex digits as Flink does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u128);

/// The text is not 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a job id: expected 32 hexadecimal digits")]
pub struct InvalidJobId(pub String);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = valid.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(JobId).ok_or_else(|| InvalidJobId(text.chars().take(64).collect()))
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => serializer.serialize_u128(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.is_human_readable() {
            true => String::deserialize(deserializer)?.parse().map_err(D::Error::custom),
            false => u128::deserialize(deserializer).map(JobId),
        }
    }
}

/// A vertex of a job graph: its position in [`JobGraph::vertices`](crate::JobGraph::vertices).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VertexId(pub u32);

impl VertexId {
    /// The position as an index into the graph's vertices.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Flink's REST API writes vertex ids as 32 hex digits; ours are the position counted from one.
impl fmt::Display for VertexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from(self.0) + 1)
    }
}

impl FromStr for VertexId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let JobId(number) = text.parse()?;
        let position = number.checked_sub(1).and_then(|n| u32::try_from(n).ok());
        position.map(VertexId).ok_or_else(|| InvalidJobId(text.to_owned()))
    }
}

/// An edge of a job graph: its position in [`JobGraph::edges`](crate::JobGraph::edges).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EdgeId(pub u32);

impl EdgeId {
    /// The position as an index into the graph's edges.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for EdgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// One parallel part of a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubtaskId {
    /// The vertex it is a part of.
    pub vertex: VertexId,
    /// Counted from zero, below the vertex's parallelism.
    pub index: u32,
}

/// One try at running one subtask of one job. Unique in the life of the cluster: an attempt number is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attempt {
    /// The job it belongs to.
    pub job: JobId,
    /// The subtask it tries.
    pub subtask: SubtaskId,
    /// Counted from zero.
    pub number: u32,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attempt { job, subtask, number } = self;
        write!(f, "{job}_{}_{}_{number}", subtask.vertex.0, subtask.index)
    }
}

/// A worker process, named by itself at its start: `host:port-random`, as Flink's TaskManagers are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerId(pub String);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The leadership term of the JobManager that gave an order. Orders of a lower term than one already seen are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Term(pub u64);

/// Counts the whole-job restarts of one job. Tasks of an older epoch are strays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct JobEpoch(pub u64);

/// A consistent cut through a job: counted from one, and never used twice in the life of a job, whatever becomes of the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CheckpointId(pub u64);

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_are_32_hex_digits_both_ways() {
        let id = JobId(0xab);
        assert_eq!(id.to_string(), "000000000000000000000000000000ab");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("ab".parse::<JobId>().is_err());
        assert!("+00000000000000000000000000000ab".parse::<JobId>().is_err());
    }

    #[test]
    fn vertex_ids_count_from_one_in_text() {
        assert_eq!(VertexId(0).to_string().parse(), Ok(VertexId(0)));
        assert!(JobId(0).to_string().parse::<VertexId>().is_err());
    }
}
