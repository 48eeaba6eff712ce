//! Rows with weights, as [`thalweg_plan::stream::changelog`] describes them.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray as _, Int64Array, RecordBatch, RecordBatchOptions},
    datatypes::{Int64Type, SchemaRef},
};
use datafusion::error::{DataFusionError, Result};
use thalweg_plan::stream::changelog::is_updating;

use super::link::{Next, Operator};

/// The weights of a batch's rows; `None` where each is one.
pub type Weights = Option<Int64Array>;

/// The rows of a batch and their weights.
pub fn split(batch: &RecordBatch) -> Result<(RecordBatch, Weights)> {
    if !is_updating(batch.schema_ref()) {
        return Ok((batch.clone(), None));
    }
    let last = batch.num_columns() - 1;
    let weights = batch.column(last).as_primitive_opt::<Int64Type>().cloned();
    let weights = weights
        .ok_or_else(|| DataFusionError::Internal("a row's weight is not of type BIGINT".to_owned()))?;
    let columns: Vec<usize> = (0..last).collect();
    Ok((batch.project(&columns)?, Some(weights)))
}

/// A row's weight.
pub fn weight(weights: &Weights, row: usize) -> i64 {
    weights.as_ref().map_or(1, |weights| weights.value(row))
}

/// Rows of these columns, with their weights where the columns have one.
pub fn batch(schema: &SchemaRef, mut columns: Vec<ArrayRef>, weights: Vec<i64>) -> Result<RecordBatch> {
    let rows = weights.len();
    if is_updating(schema) {
        columns.push(Arc::new(Int64Array::from(weights)));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Gives rows that are only added the weight one.
pub struct AddWeights {
    /// The columns put out.
    pub schema: SchemaRef,
}

impl Operator for AddWeights {
    fn rows(&mut self, rows: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        let weights = vec![1; rows.num_rows()];
        next.rows(batch(&self.schema, rows.columns().to_vec(), weights)?)
    }
}
