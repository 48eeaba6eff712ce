//! The rows for which a condition holds.

use std::sync::Arc;

use arrow::{
    array::{Array as _, AsArray as _, BooleanArray, RecordBatch},
    compute::prep_null_mask_filter,
};
use datafusion::{
    error::{DataFusionError, Result},
    physical_expr::PhysicalExpr,
};

/// For each row whether the predicate is true; one that is unknown is not.
pub fn mask(predicate: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<BooleanArray> {
    let values = predicate.evaluate(batch)?.into_array(batch.num_rows())?;
    let values = values.as_boolean_opt().ok_or_else(|| {
        DataFusionError::Internal(format!("the predicate {predicate} is not of type BOOLEAN"))
    })?;
    Ok(if values.null_count() > 0 { prep_null_mask_filter(values) } else { values.clone() })
}
