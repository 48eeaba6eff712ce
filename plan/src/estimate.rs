//! What statistics say: the size of a plan's output, and how many values a column can have.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::{DataType, Schema},
    common::ScalarValue,
    physical_plan::{
        ExecutionPlan,
        statistics::{StatisticsArgs, StatisticsContext},
    },
};

/// Bytes that a column of strings or nested values is taken for, a row.
const VARIABLE_WIDTH_BYTES: u64 = 24;

/// The estimated bytes of all rows of a plan; `None` where nothing is known about their number.
pub(crate) fn estimated_bytes(plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).ok()?;
    let rows = statistics.num_rows.get_value().map(|rows| *rows as u64);
    let by_rows = rows.map(|rows| rows.saturating_mul(row_bytes(&plan.schema())));
    by_rows.or_else(|| statistics.total_byte_size.get_value().map(|bytes| *bytes as u64))
}

/// The number of whole values from `min` to `max`; `None` where they are no whole numbers or days.
pub(crate) fn value_range(min: &ScalarValue, max: &ScalarValue) -> Option<f64> {
    let whole = |value: &ScalarValue| -> Option<f64> {
        Some(match value {
            ScalarValue::Int8(value) => f64::from((*value)?),
            ScalarValue::Int16(value) => f64::from((*value)?),
            ScalarValue::Int32(value) | ScalarValue::Date32(value) => f64::from((*value)?),
            ScalarValue::Int64(value) => (*value)? as f64,
            ScalarValue::UInt32(value) => f64::from((*value)?),
            ScalarValue::UInt64(value) => (*value)? as f64,
            _ => return None,
        })
    };
    Some(whole(max)? - whole(min)? + 1.0)
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
