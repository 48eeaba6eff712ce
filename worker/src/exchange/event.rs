//! What moves from task to task in order.

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use thalweg_graph::checkpoint::Barrier;

use crate::watermark::Watermark;

/// Rows, or what is said between them.
#[derive(Debug, Clone)]
pub enum Event {
    /// Rows.
    Rows(RecordBatch),
    /// What is said between them.
    Signal(Signal),
}

/// What a stream says between rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    /// How far event time has come at the producer.
    Watermark(Watermark),
    /// The producer says nothing about event time for the time being.
    Idle,
    /// What came before belongs to a checkpoint.
    Barrier(Barrier),
}
