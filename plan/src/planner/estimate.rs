//! What statistics say about the size of a plan's output.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::{DataType, Schema},
    physical_plan::{
        ExecutionPlan,
        statistics::{StatisticsArgs, StatisticsContext},
    },
};

/// Bytes that a column of strings or nested values is taken for, a row.
const VARIABLE_WIDTH_BYTES: u64 = 24;

/// The estimated bytes of all rows of a plan; `None` where nothing is known about their number.
pub(super) fn estimated_bytes(plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).ok()?;
    let rows = statistics.num_rows.get_value().map(|rows| *rows as u64);
    let by_rows = rows.map(|rows| rows.saturating_mul(row_bytes(&plan.schema())));
    by_rows.or_else(|| statistics.total_byte_size.get_value().map(|bytes| *bytes as u64))
}

fn row_bytes(schema: &Schema) -> u64 {
    schema.fields().iter().map(|field| column_bytes(field.data_type())).sum()
}

fn column_bytes(data_type: &DataType) -> u64 {
    match data_type {
        DataType::Boolean => 1,
        other => other.primitive_width().map_or(VARIABLE_WIDTH_BYTES, |width| width as u64),
    }
}
