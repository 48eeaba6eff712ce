//! Aggregations without windows: a result for each key, which changes with every row.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::SchemaRef,
    common::DFSchema,
    logical_expr::{Aggregate, Expr, physical_planning_context::PhysicalPlanningContext},
    physical_expr::{
        PhysicalExpr,
        aggregate::{AggregateFunctionExpr, LoweredAggregate, LoweredAggregateBuilder},
        expressions::Column as PhysicalColumn,
    },
    physical_plan::{
        ExecutionPlan,
        aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy},
    },
};
use thalweg_graph::{
    Options, SqlError,
    options::{self, AggPhaseStrategy, InvalidValue},
};

use super::{
    stream::Stream,
    translate::{Translation, unsupported},
    vertex::{columns_plan, encode_columns},
};
use crate::{
    error,
    exec::codec,
    stream::{GroupAggregateSpec, GroupPhase, MiniBatch, OperatorKind, partial},
};

/// How rows are gathered before they are aggregated.
#[derive(Debug, Clone, Copy)]
pub struct Gathering {
    /// How many.
    pub mini_batch: MiniBatch,
    /// Whether before the exchange by key, or behind it.
    pub before_exchange: bool,
}

impl Gathering {
    /// As options say: `table.exec.mini-batch.*`.
    pub fn of(options: &Options) -> Result<Option<Self>, InvalidValue> {
        if !options.get(&options::MINI_BATCH)? {
            return Ok(None);
        }
        let wait = options.get(&options::MINI_BATCH_LATENCY)?;
        let mini_batch = MiniBatch {
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            rows: options.get(&options::MINI_BATCH_SIZE)?.max(1),
        };
        let before_exchange = options.get(&options::AGG_PHASE_STRATEGY)? != AggPhaseStrategy::OnePhase;
        Ok(Some(Self { mini_batch, before_exchange }))
    }
}

/// An aggregation, and how people see it.
struct Aggregation {
    plan: Arc<AggregateExec>,
    shape: String,
}

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
        let plan = Arc::new(plan.map_err(error::from_datafusion)?);
        let partial = match self.mini_batch {
            Some(_) => partial::columns(&plan, input.updating).map_err(error::from_datafusion)?,
            None => None,
        };
        let aggregation =
            Aggregation { plan, shape: format!("keys=[{}], calls=[{}]", names.join(", "), calls.join(", ")) };
        let (vertex, phase) = match (self.mini_batch, partial) {
            (Some(gathering), Some(partial)) => (
                self.gathered(&input, &key_exprs, &aggregation, gathering, &partial)?,
                GroupPhase::Global { updating: input.updating },
            ),
            _ => (self.keyed(&input, &key_exprs)?, GroupPhase::Single),
        };
        let updating = input.updating || !aggregate.aggr_expr.is_empty();
        let stream = Stream { updating, ..Stream::of(vertex, Arc::clone(&aggregate.schema)) };
        let columns = stream.columns().map_err(error::from_datafusion)?;
        self.push_group_aggregate(vertex, &aggregation, phase, columns.inner())?;
        Ok(stream)
    }

    /// The vertex in which partial aggregates of gathered rows meet, by their keys.
    fn gathered(
        &mut self,
        input: &Stream,
        keys: &[Arc<dyn PhysicalExpr>],
        aggregation: &Aggregation,
        Gathering { mini_batch, before_exchange }: Gathering,
        partial: &SchemaRef,
    ) -> Result<usize, SqlError> {
        let phase = GroupPhase::Local(mini_batch);
        let in_one = self.parallelism == 1 && self.draft.vertices[input.vertex].parallelism == 1;
        if in_one || !before_exchange {
            let vertex = self.keyed(input, keys)?;
            self.push_group_aggregate(vertex, aggregation, phase, partial)?;
            return Ok(vertex);
        }
        self.push_group_aggregate(input.vertex, aggregation, phase, partial)?;
        let keys = partial.fields().iter().take(keys.len()).enumerate();
        let keys: Vec<_> = keys
            .map(|(at, field)| Arc::new(PhysicalColumn::new(field.name(), at)) as Arc<dyn PhysicalExpr>)
            .collect();
        let columns = DFSchema::try_from(Arc::clone(partial)).map_err(error::from_datafusion)?;
        self.keyed(&Stream::of(input.vertex, Arc::new(columns)), &keys)
    }

    fn push_group_aggregate(
        &mut self,
        vertex: usize,
        aggregation: &Aggregation,
        phase: GroupPhase,
        columns: &SchemaRef,
    ) -> Result<(), SqlError> {
        let name = match phase {
            GroupPhase::Single => "GroupAggregate",
            GroupPhase::Local(_) => "LocalGroupAggregate",
            GroupPhase::Global { .. } => "GlobalGroupAggregate",
        };
        let plan: Arc<dyn ExecutionPlan> = Arc::clone(&aggregation.plan) as _;
        let spec = || -> datafusion::error::Result<GroupAggregateSpec> {
            Ok(GroupAggregateSpec { plan: codec::encode(&plan)?, phase, columns: encode_columns(columns)? })
        };
        let kind = OperatorKind::GroupAggregate(Box::new(spec().map_err(error::from_datafusion)?));
        self.draft.vertices[vertex].push(name, format!("{name}: {}", aggregation.shape), kind);
        Ok(())
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
