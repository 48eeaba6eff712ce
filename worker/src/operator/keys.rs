//! What rows are keyed by.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use datafusion::{error::Result, physical_expr::PhysicalExpr};

/// The values of key expressions.
pub fn evaluated(keys: &[Arc<dyn PhysicalExpr>], rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
    keys.iter().map(|key| key.evaluate(rows)?.into_array(rows.num_rows())).collect()
}
