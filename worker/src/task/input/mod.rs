//! What comes into a streaming vertex's chain, in order: from a source, or over edges.

mod alignment;
mod edges;
mod plan_reader;
mod source;

use std::time::Duration;

use arrow::array::RecordBatch;
use thalweg_graph::checkpoint::Barrier;

pub use self::{
    alignment::Alignment,
    edges::EdgeInput,
    plan_reader::{PlanReader, PlannedSplit},
    source::{SourceInput, Timing},
};
use super::ended::Ended;
use crate::{
    operator::link::{Side, SplitChange},
    watermark::TimeChange,
};

/// Something that came.
#[derive(Debug)]
pub enum Arrival {
    /// Rows.
    Rows(Side, RecordBatch),
    /// How event time moved on, over all inputs.
    Time(TimeChange),
    /// A change of a source's splits.
    Split(SplitChange),
    /// All that comes before a barrier has come, on every input.
    Barrier {
        /// The barrier.
        barrier: Barrier,
        /// How long the first inputs to reach it have waited for the others.
        alignment: Duration,
    },
}

/// A chain's input.
pub enum TaskInput {
    /// A source.
    Source(SourceInput),
    /// Edges.
    Edges(EdgeInput),
}

impl TaskInput {
    /// Waits for what comes next; `None` when all has come. A call that is dropped while it waits loses nothing.
    pub async fn next(&mut self) -> Result<Option<Arrival>, Ended> {
        match self {
            TaskInput::Source(source) => source.next().await,
            TaskInput::Edges(edges) => edges.next().await,
        }
    }
}
