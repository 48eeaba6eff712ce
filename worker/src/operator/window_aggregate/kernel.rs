//! The keys and aggregates of an aggregation, and how they read rows or states.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch},
    compute::{filter_record_batch, prep_null_mask_filter},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    error::{DataFusionError, Result},
    logical_expr::GroupsAccumulator,
    physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr, aggregate::AggregateFunctionExpr},
    physical_plan::{
        ExecutionPlan,
        aggregates::{AggregateExec, AggregateMode, aggregate_expressions},
    },
};

/// What is computed for each key.
pub struct Kernel {
    row_schema: SchemaRef,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    key_schema: SchemaRef,
    functions: Vec<Arc<AggregateFunctionExpr>>,
    arguments: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    /// The number of columns that each aggregate's state takes.
    state_widths: Vec<usize>,
    /// The columns of states: keys, the start of the pane, the states of each aggregate.
    state_schema: SchemaRef,
}

/// A batch as a table takes it: evaluated over rows, or taken out of states.
pub struct Input {
    /// The keys.
    pub keys: Vec<ArrayRef>,
    /// The columns of each aggregate.
    pub values: Vec<Vec<ArrayRef>>,
    /// Which rows each aggregate takes; of states all.
    pub filters: Vec<Option<BooleanArray>>,
    /// The number of rows.
    pub rows: usize,
}

impl Kernel {
    /// The kernel that a plan describes.
    pub fn of(plan: &Arc<dyn ExecutionPlan>) -> Result<Self> {
        let aggregate = plan
            .downcast_ref::<AggregateExec>()
            .ok_or_else(|| DataFusionError::Plan(format!("{} is no aggregation", plan.name())))?;
        let functions = aggregate.aggr_expr().to_vec();
        let groups = aggregate.group_expr();
        let rows = aggregate.input_schema();
        let mut fields = Vec::with_capacity(groups.expr().len());
        for (expr, name) in groups.expr() {
            fields.push(Field::new(name, expr.data_type(&rows)?, expr.nullable(&rows)?));
        }
        let mut states = fields.clone();
        states.push(Field::new("pane", DataType::Int64, false));
        let mut state_widths = Vec::with_capacity(functions.len());
        for function in &functions {
            let own = function.state_fields()?;
            state_widths.push(own.len());
            states.extend(own.iter().map(|field| field.as_ref().clone()));
        }
        Ok(Self {
            keys: groups.expr().iter().map(|(expr, _)| Arc::clone(expr)).collect(),
            key_schema: Arc::new(Schema::new(fields)),
            arguments: aggregate_expressions(&functions, &AggregateMode::Single, 0)?,
            filters: aggregate.filter_expr().to_vec(),
            state_widths,
            functions,
            row_schema: rows,
            state_schema: Arc::new(Schema::new(states)),
        })
    }

    /// The aggregates.
    pub fn functions(&self) -> &[Arc<AggregateFunctionExpr>] {
        &self.functions
    }

    /// The types of an aggregate's arguments.
    pub fn argument_types(&self, at: usize) -> Result<Vec<DataType>> {
        self.arguments[at].iter().map(|argument| argument.data_type(&self.row_schema)).collect()
    }

    /// The types of the keys.
    pub fn key_schema(&self) -> &SchemaRef {
        &self.key_schema
    }

    /// The columns of a batch of states.
    pub fn state_schema(&self) -> &SchemaRef {
        &self.state_schema
    }

    /// Where the start of the pane stands in a batch of states: behind the keys.
    pub fn pane_column(&self) -> usize {
        self.keys.len()
    }

    /// Accumulators without any groups.
    pub fn accumulators(&self) -> Result<Vec<Box<dyn GroupsAccumulator>>> {
        self.functions.iter().map(accumulator).collect()
    }

    /// Reads rows.
    pub fn rows(&self, batch: &RecordBatch) -> Result<Input> {
        let rows = batch.num_rows();
        let evaluate = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(batch)?.into_array(rows);
        let values = self.arguments.iter().map(|exprs| exprs.iter().map(evaluate).collect());
        let filters = self
            .filters
            .iter()
            .map(|filter| filter.as_ref().map(|expr| is_true(&evaluate(expr)?)).transpose());
        Ok(Input {
            keys: self.keys.iter().map(evaluate).collect::<Result<_>>()?,
            values: values.collect::<Result<_>>()?,
            filters: filters.collect::<Result<_>>()?,
            rows,
        })
    }

    /// Reads states: keys, the start of the pane, the states of each aggregate.
    pub fn states(&self, batch: &RecordBatch) -> Input {
        let mut at = self.keys.len() + 1;
        let values = self.state_widths.iter().map(|width| {
            at += width;
            batch.columns()[at - width..at].to_vec()
        });
        Input {
            keys: batch.columns()[..self.keys.len()].to_vec(),
            values: values.collect(),
            filters: vec![None; self.functions.len()],
            rows: batch.num_rows(),
        }
    }
}

fn is_true(values: &ArrayRef) -> Result<BooleanArray> {
    let values = values
        .as_boolean_opt()
        .ok_or_else(|| DataFusionError::Internal("a FILTER clause is not of type BOOLEAN".to_owned()))?;
    Ok(if values.null_count() > 0 { prep_null_mask_filter(values) } else { values.clone() })
}

fn accumulator(function: &Arc<AggregateFunctionExpr>) -> Result<Box<dyn GroupsAccumulator>> {
    if function.groups_accumulator_supported() {
        return function.create_groups_accumulator();
    }
    let function = Arc::clone(function);
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
}

/// The rows of a batch in runs of the same pane: each run's pane and its rows. Rows for which `pane_of` knows none are left out.
pub fn by_pane(
    batch: RecordBatch,
    pane_of: impl Fn(usize) -> Option<i64>,
) -> Result<Vec<(i64, RecordBatch)>> {
    let panes: Vec<Option<i64>> = (0..batch.num_rows()).map(pane_of).collect();
    let mut distinct: Vec<i64> = Vec::new();
    for pane in panes.iter().flatten() {
        // Neighbours are mostly in the same pane.
        if distinct.last() != Some(pane) && !distinct.contains(pane) {
            distinct.push(*pane);
        }
    }
    if let [only] = distinct[..]
        && panes.iter().all(Option::is_some)
    {
        return Ok(vec![(only, batch)]);
    }
    distinct.sort_unstable();
    let part = |pane: i64| {
        let mask: BooleanArray = panes.iter().map(|at| Some(*at == Some(pane))).collect();
        Ok((pane, filter_record_batch(&batch, &mask)?))
    };
    distinct.into_iter().map(part).collect()
}
