//! An order of rows.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch},
    compute::{SortColumn, SortOptions},
    row::{RowConverter, Rows, SortField},
};
use datafusion::{error::Result, physical_expr::PhysicalExpr};

/// What rows are ordered by, the first part first.
pub struct SortOrder {
    parts: Vec<(Arc<dyn PhysicalExpr>, SortOptions)>,
}

impl SortOrder {
    /// An order by these.
    pub fn new(parts: Vec<(Arc<dyn PhysicalExpr>, SortOptions)>) -> Self {
        Self { parts }
    }

    /// Whether all rows are equal in it.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What turns rows' values into bytes with this order.
    pub fn converter(&self, schema: &arrow::datatypes::Schema) -> Result<Option<RowConverter>> {
        if self.is_empty() {
            return Ok(None);
        }
        let field = |(expr, options): &(Arc<dyn PhysicalExpr>, SortOptions)| {
            Ok(SortField::new_with_options(expr.data_type(schema)?, *options))
        };
        Ok(Some(RowConverter::new(self.parts.iter().map(field).collect::<Result<_>>()?)?))
    }

    /// The bytes of each row.
    pub fn keys(&self, converter: &mut Option<RowConverter>, rows: &RecordBatch) -> Result<Option<Rows>> {
        let Some(converter) = converter else { return Ok(None) };
        let columns = self.parts.iter().map(|(expr, _)| expr.evaluate(rows)?.into_array(rows.num_rows()));
        Ok(Some(converter.convert_columns(&columns.collect::<Result<Vec<ArrayRef>>>()?)?))
    }

    /// The columns to sort rows by.
    pub fn columns(&self, rows: &RecordBatch) -> Result<Vec<SortColumn>> {
        let column = |(expr, options): &(Arc<dyn PhysicalExpr>, SortOptions)| {
            let values = expr.evaluate(rows)?.into_array(rows.num_rows())?;
            Ok(SortColumn { values, options: Some(*options) })
        };
        self.parts.iter().map(column).collect()
    }
}
