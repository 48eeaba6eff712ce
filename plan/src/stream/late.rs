//! Rows that a stream leaves out because they came too late: what is told of each, and the logical node that stands for all of a job's.

use std::{cmp::Ordering, fmt, sync::Arc};

use datafusion::{
    arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    common::{DFSchema, DFSchemaRef, Result, internal_err},
    logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore},
};

/// The columns that late rows have, whichever operator left them out: its name, the row's time, how far event time had come, and the row's
/// own columns as a JSON object.
pub fn late_columns() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    Arc::new(Schema::new(vec![
        Field::new("operator", DataType::Utf8, false),
        Field::new("event_time", time.clone(), false),
        Field::new("watermark", time, true),
        Field::new("content", DataType::Utf8, false),
    ]))
}

/// The late rows of all operators of a job, as a leaf of the plan that puts them into a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LateRowsNode {
    schema: DFSchemaRef,
}

impl LateRowsNode {
    /// The only one of a job.
    pub fn try_new() -> Result<Self> {
        Ok(Self { schema: Arc::new(DFSchema::try_from(late_columns())?) })
    }
}

/// There is nothing by which two would differ.
impl PartialOrd for LateRowsNode {
    fn partial_cmp(&self, _: &Self) -> Option<Ordering> {
        Some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for LateRowsNode {
    fn name(&self) -> &str {
        "LateRows"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        Vec::new()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LateRows")
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        if !exprs.is_empty() || !inputs.is_empty() {
            return internal_err!("late rows are a leaf");
        }
        Ok(self.clone())
    }
}
