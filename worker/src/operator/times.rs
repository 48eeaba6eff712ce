//! The event times of rows.

use arrow::{
    array::{Array, ArrayRef, AsArray as _, TimestampMillisecondArray},
    datatypes::TimestampMillisecondType,
};
use datafusion::error::{DataFusionError, Result};

/// A column of times in milliseconds.
pub fn times(column: &ArrayRef) -> Result<&TimestampMillisecondArray> {
    column.as_primitive_opt::<TimestampMillisecondType>().ok_or_else(|| {
        let data_type = column.data_type();
        DataFusionError::Plan(format!("event time must be TIMESTAMP(3) or TIMESTAMP_LTZ(3), not {data_type}"))
    })
}
