//! Filters and computed columns, row by row.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    compute::filter_record_batch,
    datatypes::SchemaRef,
};
use datafusion::{
    common::tree_node::{Transformed, TransformedResult as _, TreeNode as _},
    error::{DataFusionError, Result},
    physical_expr::{PhysicalExpr, expressions::Column, utils::collect_columns},
    physical_plan::{ExecutionPlan, empty::EmptyExec, filter::FilterExec, projection::ProjectionExec},
};

use super::{
    link::{Next, Operator},
    predicate::mask,
};

/// Some steps, the first one first.
pub struct Calc {
    steps: Vec<Step>,
}

enum Step {
    /// Keeps the rows for which the predicate is true, and of these the columns that are used after it.
    Filter { predicate: Arc<dyn PhysicalExpr>, kept: Option<Vec<usize>> },
    /// Computes columns.
    Project { exprs: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef },
}

impl Calc {
    /// The filters and projections of a plan that ends in an empty input.
    pub fn of(plan: &Arc<dyn ExecutionPlan>) -> Result<Self> {
        let mut steps = Vec::new();
        collect(plan, &mut steps)?;
        for at in 1..steps.len() {
            let (before, rest) = steps.split_at_mut(at);
            if let (Some(Step::Filter { kept, .. }), Step::Project { exprs, .. }) =
                (before.last_mut(), &mut rest[0])
            {
                *kept = Some(narrow(exprs)?);
            }
        }
        Ok(Self { steps })
    }
}

fn collect(plan: &Arc<dyn ExecutionPlan>, steps: &mut Vec<Step>) -> Result<()> {
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        collect(filter.input(), steps)?;
        steps.push(Step::Filter { predicate: Arc::clone(filter.predicate()), kept: None });
        return Ok(());
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        collect(projection.input(), steps)?;
        let exprs = projection.expr().iter().map(|column| Arc::clone(&column.expr)).collect();
        steps.push(Step::Project { exprs, schema: projection.schema() });
        return Ok(());
    }
    match plan.is::<EmptyExec>() {
        true => Ok(()),
        false => Err(DataFusionError::Plan(format!("operator {} is no part of a calc", plan.name()))),
    }
}

/// The columns that expressions use, to which they are then made to point.
fn narrow(exprs: &mut [Arc<dyn PhysicalExpr>]) -> Result<Vec<usize>> {
    let mut kept: Vec<usize> = exprs.iter().flat_map(collect_columns).map(|column| column.index()).collect();
    kept.sort_unstable();
    kept.dedup();
    for expr in exprs {
        *expr = Arc::clone(expr)
            .transform(|node| {
                let Some(column) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
                let index = kept.binary_search(&column.index()).unwrap_or_default();
                Ok(Transformed::yes(Arc::new(Column::new(column.name(), index)) as _))
            })
            .data()?;
    }
    Ok(kept)
}

impl Calc {
    /// What is made of rows; `None` where none is left.
    pub fn apply(&self, mut batch: RecordBatch) -> Result<Option<RecordBatch>> {
        for step in &self.steps {
            batch = match step {
                Step::Filter { predicate, kept } => {
                    let mask = mask(predicate, &batch)?;
                    let batch = match kept {
                        Some(kept) => batch.project(kept)?,
                        None => batch,
                    };
                    match mask.true_count() {
                        0 => return Ok(None),
                        all if all == batch.num_rows() => batch,
                        _ => filter_record_batch(&batch, &mask)?,
                    }
                }
                Step::Project { exprs, schema } => {
                    let rows = batch.num_rows();
                    let columns = exprs.iter().map(|expr| expr.evaluate(&batch)?.into_array(rows));
                    let columns = columns.collect::<Result<Vec<_>>>()?;
                    let options = RecordBatchOptions::new().with_row_count(Some(rows));
                    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?
                }
            };
        }
        Ok(Some(batch))
    }
}

impl Operator for Calc {
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        match self.apply(batch)? {
            Some(batch) => next.rows(batch),
            None => Ok(()),
        }
    }
}
