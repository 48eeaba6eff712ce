//! What moves from task to task in order.

use arrow::array::RecordBatch;

use crate::watermark::Watermark;

/// Rows, or what is said between them.
#[derive(Debug, Clone)]
pub enum Event {
    /// Rows.
    Rows(RecordBatch),
    /// How far event time has come at the producer.
    Watermark(Watermark),
}
