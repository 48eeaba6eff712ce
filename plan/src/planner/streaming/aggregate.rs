//! Aggregations of a stream: by windows, in two phases where several subtasks share the work.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::{DataType, Field, Schema, SchemaRef},
    common::{DFSchema, Result},
    logical_expr::{Aggregate, Expr, physical_planning_context::PhysicalPlanningContext},
    physical_expr::{
        aggregate::{AggregateFunctionExpr, LoweredAggregate, LoweredAggregateBuilder},
        expressions::Column as PhysicalColumn,
    },
    physical_plan::{
        ExecutionPlan, PhysicalExpr,
        aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy},
    },
};
use thalweg_graph::SqlError;

use super::{
    stream::{PendingWindows, QualifiedField, Stream, column_of, fields_of},
    translate::{Translation, unsupported},
    vertex::{columns_plan, encode_columns},
};
use crate::{
    error,
    exec::codec,
    panes::WindowBound,
    stream::{OperatorKind, OutputColumn, Phase, WindowAggregateSpec},
};

/// An aggregation over the rows of a stream.
struct Parts {
    /// Keys, aggregates and filters, over the rows' columns.
    plan: Arc<dyn ExecutionPlan>,
    /// What each column of the result is.
    output: Vec<OutputColumn>,
    /// The columns between the phases.
    states: SchemaRef,
    /// The keys among those.
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// What the query calls them.
    key_names: Vec<String>,
}

impl Translation<'_> {
    /// An aggregation by the windows that are pending.
    pub(super) fn aggregate(&mut self, input: Stream, aggregate: &Aggregate) -> Result<Stream, SqlError> {
        let Some(pending) = input.pending.clone() else {
            return Err(unsupported("an aggregation without windows in streaming mode"));
        };
        let has = |wanted| aggregate.group_expr.iter().any(|expr| pending.bound(expr) == Some(wanted));
        if !has(WindowBound::Start) || !has(WindowBound::End) {
            let what =
                "an aggregation of windows that does not group by both `window_start` and `window_end`";
            return Err(unsupported(&format!("{what} in streaming mode")));
        }
        let used = |expr: &&Expr| pending.bound(expr).is_none() && pending.is_used_by(expr);
        if let Some(expr) = aggregate.group_expr.iter().chain(&aggregate.aggr_expr).find(used) {
            return Err(unsupported(&format!("`{expr}` within the aggregation of its window")));
        }
        let time = self.position(&input, &pending.time)?;
        let parts = self.parts(&input, aggregate, &pending)?;
        let spec = |phase, output, columns: &SchemaRef| -> Result<OperatorKind> {
            Ok(OperatorKind::WindowAggregate(Box::new(WindowAggregateSpec {
                plan: codec::encode(&parts.plan)?,
                windows: pending.windows,
                phase,
                output,
                columns: encode_columns(columns)?,
            })))
        };
        let results = aggregate.schema.inner();
        let shape = format!("{}, keys=[{}]", pending.windows, parts.key_names.join(", "));
        let parallelism = self.parallelism;
        let vertex = if parallelism == 1 && self.draft.vertices[input.vertex].parallelism == 1 {
            let kind = spec(Phase::Single { time }, parts.output, results).map_err(error::from_datafusion)?;
            self.draft.vertices[input.vertex].push(
                "WindowAggregate",
                format!("WindowAggregate: {shape}"),
                kind,
            );
            input.vertex
        } else {
            let kind =
                spec(Phase::Local { time }, Vec::new(), &parts.states).map_err(error::from_datafusion)?;
            let display = format!("LocalWindowAggregate: {shape}");
            self.draft.vertices[input.vertex].push("LocalWindowAggregate", display, kind);
            let (partitioning, parallelism) = self.by_keys(&parts.keys).map_err(error::from_datafusion)?;
            let states = DFSchema::try_from(Arc::clone(&parts.states)).map_err(error::from_datafusion)?;
            let local = Stream { schema: Arc::new(states), times: Vec::new(), pending: None, ..input };
            let vertex = self.draft.exchange(&local, partitioning, parallelism);
            let kind = spec(Phase::Global, parts.output, results).map_err(error::from_datafusion)?;
            let display = format!("GlobalWindowAggregate: {shape}");
            self.draft.vertices[vertex].push("GlobalWindowAggregate", display, kind);
            vertex
        };
        let fields = fields_of(&aggregate.schema);
        let is_time = |(expr, _): &(&Expr, &QualifiedField)| pending.bound(expr) == Some(WindowBound::Time);
        let times = aggregate.group_expr.iter().zip(&fields).filter(is_time);
        let times = times.map(|(_, field)| column_of(field)).collect();
        Ok(Stream { vertex, schema: Arc::clone(&aggregate.schema), times, pending: None })
    }

    fn parts(
        &self,
        input: &Stream,
        aggregate: &Aggregate,
        pending: &PendingWindows,
    ) -> Result<Parts, SqlError> {
        let mut output = Vec::new();
        let mut keys = Vec::new();
        let mut states = Vec::new();
        for (expr, field) in aggregate.group_expr.iter().zip(aggregate.schema.fields()) {
            if matches!(expr, Expr::GroupingSet(_)) {
                return Err(unsupported("`GROUPING SETS` in streaming mode"));
            }
            if let Some(bound) = pending.bound(expr) {
                output.push(OutputColumn::Bound(bound));
                continue;
            }
            output.push(OutputColumn::Key(keys.len() as u32));
            states.push(field.as_ref().clone().with_name(format!("key{}", keys.len())));
            keys.push((self.physical(expr, &input.schema)?, field.name().clone()));
        }
        states.push(Field::new("pane", DataType::Int64, false));
        let rows = input.schema.inner();
        let mut aggregates = Vec::new();
        let mut filters = Vec::new();
        for expr in &aggregate.aggr_expr {
            let (properties, context) = (self.state.execution_props(), PhysicalPlanningContext::default());
            let made = LoweredAggregateBuilder::new(expr, &input.schema, rows, properties, &context).build();
            let LoweredAggregate { aggregate: function, filter, .. } =
                made.map_err(error::from_datafusion)?;
            output.push(OutputColumn::Aggregate(aggregates.len() as u32));
            states.extend(state_fields(&function, states.len()).map_err(error::from_datafusion)?);
            aggregates.push(function);
            filters.push(filter);
        }
        let key_columns = (0..keys.len())
            .map(|at| Arc::new(PhysicalColumn::new(states[at].name(), at)) as Arc<dyn PhysicalExpr>)
            .collect();
        let key_names = keys.iter().map(|(_, name)| name.clone()).collect();
        let plan = AggregateExec::try_new(
            AggregateMode::Single,
            PhysicalGroupBy::new_single(keys),
            aggregates,
            filters,
            columns_plan(rows),
            Arc::clone(rows),
        );
        let plan = Arc::new(plan.map_err(error::from_datafusion)?);
        Ok(Parts { plan, output, states: Arc::new(Schema::new(states)), keys: key_columns, key_names })
    }
}

/// The columns of an aggregate's state, under names that are unique among the others.
fn state_fields(function: &AggregateFunctionExpr, first: usize) -> Result<Vec<Field>> {
    let fields = function.state_fields()?.into_iter().enumerate();
    Ok(fields.map(|(at, field)| field.as_ref().clone().with_name(format!("state{}", first + at))).collect())
}
