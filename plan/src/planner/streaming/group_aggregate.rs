//! Aggregations without windows: a result for each key, which changes with every row.

use std::sync::Arc;

use datafusion::{
    logical_expr::{Aggregate, Expr, physical_planning_context::PhysicalPlanningContext},
    physical_expr::{
        PhysicalExpr,
        aggregate::{AggregateFunctionExpr, LoweredAggregate, LoweredAggregateBuilder},
    },
    physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy},
};
use thalweg_graph::SqlError;

use super::{
    stream::Stream,
    translate::{Translation, unsupported},
    vertex::{columns_plan, encode_columns},
};
use crate::{
    error,
    exec::codec,
    stream::{GroupAggregateSpec, OperatorKind},
};

/// What can take a row back that it has counted. Every other aggregate that the SQL has is made of these, or of all values.
const TAKES_BACK: &[&str] = &["count", "sum", "min", "max"];

impl Translation<'_> {
    /// An aggregation of all rows that there are. Keys alone, of rows that are only added, are only added themselves.
    pub(super) fn group_aggregate(
        &mut self,
        input: Stream,
        aggregate: &Aggregate,
    ) -> Result<Stream, SqlError> {
        let mut keys = Vec::with_capacity(aggregate.group_expr.len());
        for (expr, field) in aggregate.group_expr.iter().zip(aggregate.schema.fields()) {
            if matches!(expr, Expr::GroupingSet(_)) {
                return Err(unsupported("`GROUPING SETS` of rows that change in streaming mode"));
            }
            keys.push((self.physical(expr, &input.schema)?, field.name().clone()));
        }
        let rows = input.schema.inner();
        let mut aggregates = Vec::new();
        let mut filters = Vec::new();
        for expr in &aggregate.aggr_expr {
            let (properties, context) = (self.state.execution_props(), PhysicalPlanningContext::default());
            let made = LoweredAggregateBuilder::new(expr, &input.schema, rows, properties, &context).build();
            let LoweredAggregate { aggregate: function, filter, .. } =
                made.map_err(error::from_datafusion)?;
            check(&function, input.updating)?;
            aggregates.push(function);
            filters.push(filter);
        }
        let key_exprs: Vec<Arc<dyn PhysicalExpr>> = keys.iter().map(|(expr, _)| Arc::clone(expr)).collect();
        let names: Vec<String> = keys.iter().map(|(_, name)| name.clone()).collect();
        let calls: Vec<String> = aggregates.iter().map(|function| function.name().to_owned()).collect();
        let plan = AggregateExec::try_new(
            AggregateMode::Single,
            PhysicalGroupBy::new_single(keys),
            aggregates,
            filters,
            columns_plan(rows),
            Arc::clone(rows),
        );
        let updating = input.updating || !aggregate.aggr_expr.is_empty();
        let vertex = self.keyed(&input, &key_exprs)?;
        let schema = Arc::clone(&aggregate.schema);
        let stream = Stream { updating, ..Stream::of(vertex, schema) };
        let spec = || -> datafusion::error::Result<GroupAggregateSpec> {
            let plan: Arc<dyn datafusion::physical_plan::ExecutionPlan> = Arc::new(plan?);
            Ok(GroupAggregateSpec {
                plan: codec::encode(&plan)?,
                columns: encode_columns(stream.columns()?.inner())?,
            })
        };
        let kind = OperatorKind::GroupAggregate(Box::new(spec().map_err(error::from_datafusion)?));
        let display = format!("GroupAggregate: keys=[{}], calls=[{}]", names.join(", "), calls.join(", "));
        self.draft.vertices[vertex].push("GroupAggregate", display, kind);
        Ok(stream)
    }

    /// The vertex in which rows that are equal in these keys meet: that of the rows where it has but one subtask.
    pub(super) fn keyed(
        &mut self,
        input: &Stream,
        keys: &[Arc<dyn PhysicalExpr>],
    ) -> Result<usize, SqlError> {
        if self.parallelism == 1 && self.draft.vertices[input.vertex].parallelism == 1 {
            return Ok(input.vertex);
        }
        let (partitioning, parallelism) = self.by_keys(keys).map_err(error::from_datafusion)?;
        self.draft.exchange(input, partitioning, parallelism)
    }
}

fn check(function: &AggregateFunctionExpr, updating: bool) -> Result<(), SqlError> {
    let name = function.fun().name();
    if updating && !TAKES_BACK.contains(&name) {
        let name = name.to_ascii_uppercase();
        return Err(unsupported(&format!(
            "`{name}` over rows that change (of an aggregation, an outer join or a top N) in streaming mode"
        )));
    }
    Ok(())
}
