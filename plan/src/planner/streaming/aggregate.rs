//! Aggregations of a stream: by windows, in two phases where several subtasks share the work.

use std::{collections::BTreeSet, sync::Arc};

use datafusion::{
    arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    common::{Column, DFSchema, Result, ScalarValue},
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
    Draft,
    stream::{PendingKind, PendingWindows, QualifiedField, Stream, column_of, fields_of},
    translate::{Translation, internal},
    vertex::{columns_plan, encode_columns},
};
use crate::{
    bare_expr::unaliased,
    error,
    exec::codec,
    panes::{Panes, WindowBound, WindowShape},
    stream::{OperatorKind, OutputColumn, Phase, WindowAggregateSpec},
};

/// An aggregation over the rows of a stream.
pub(super) struct Parts {
    /// Keys, aggregates and filters, over the rows' columns.
    pub plan: Arc<dyn ExecutionPlan>,
    /// What each column of the result is.
    pub output: Vec<OutputColumn>,
    /// The columns between the phases.
    states: SchemaRef,
    /// The keys among those.
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The same over the rows' columns.
    pub row_keys: Vec<Arc<dyn PhysicalExpr>>,
    /// What the query calls them.
    pub key_names: Vec<String>,
}

/// The name of the last millisecond of a window that the query does not ask for.
const HIDDEN_WINDOW_TIME: &str = "__window_time";

impl PendingWindows {
    /// Whether an aggregation can take rows whose windows are not assigned: it groups by the windows, uses their borders for
    /// nothing else, and by sessions it groups with exactly the sessions' keys.
    fn take(&self, aggregate: &Aggregate, input: &Stream) -> bool {
        let groups = &aggregate.group_expr;
        let has = |wanted| groups.iter().any(|expr| self.bound(expr) == Some(wanted));
        let mut all = groups.iter().chain(&aggregate.aggr_expr);
        if !has(WindowBound::Start)
            || !has(WindowBound::End)
            || all.any(|expr| self.bound(expr).is_none() && self.is_used_by(expr))
        {
            return false;
        }
        let PendingKind::Session { keys, .. } = &self.windows else { return true };
        let position = |column: &Column| input.schema.maybe_index_of_column(column);
        let wanted: BTreeSet<_> = keys.iter().map(position).collect();
        let others = groups.iter().filter(|expr| self.bound(expr).is_none());
        let grouped = others.map(|expr| match unaliased(expr) {
            Expr::Column(column) => position(column),
            _ => None,
        });
        grouped.collect::<BTreeSet<_>>() == wanted
    }
}

/// The results of an aggregation by windows.
pub(super) fn results_of(
    input: &Stream,
    aggregate: &Aggregate,
    pending: &PendingWindows,
    vertex: usize,
) -> Stream {
    let fields = fields_of(&aggregate.schema);
    let bound = |expr: &Expr| pending.bound(expr).or_else(|| input.border(expr));
    let borders = aggregate.group_expr.iter().zip(&fields);
    let borders: Vec<_> =
        borders.filter_map(|(expr, field)| Some((column_of(field), bound(expr)?))).collect();
    Stream { borders, ..Stream::of(vertex, Arc::clone(&aggregate.schema)) }.timed_by_windows()
}

impl Translation<'_> {
    /// An aggregation: by windows where it groups by them, otherwise of all rows there are.
    pub(super) fn aggregate(&mut self, input: Stream, aggregate: &Aggregate) -> Result<Stream, SqlError> {
        let (input, aggregate) = match &aggregate.group_expr[..] {
            [Expr::GroupingSet(set)] if !input.updating => {
                let (input, plain) = self.expanded(input, aggregate, set)?;
                (input, &plain.clone())
            }
            _ => (input, aggregate),
        };
        let input = match &input.pending {
            Some(pending) if !pending.take(aggregate, &input) => self.assigned(input)?,
            _ => input,
        };
        match input.pending.clone() {
            Some(pending) => match pending.windows {
                PendingKind::Fixed(panes) => self.window_aggregate(input, aggregate, &pending, panes),
                PendingKind::Session { gap_ms, .. } => {
                    self.session_aggregate(input, aggregate, &pending, gap_ms)
                }
            },
            None if input.are_of_one_window(&aggregate.group_expr) => {
                let (input, windows) = self.own_windows(input)?;
                let (pending, panes) = windows;
                self.window_aggregate(input, aggregate, &pending, panes)
            }
            None => self.group_aggregate(input, aggregate),
        }
    }

    /// Rows that are in one window each, as rows whose window begins and ends at its last millisecond: its start is then a key like
    /// others, and all rows of a window are in the same one.
    fn own_windows(&mut self, input: Stream) -> Result<(Stream, (PendingWindows, Panes)), SqlError> {
        let mut input = self.with_window_time(input)?;
        let columns = input.borders.iter().filter(|(_, bound)| *bound != WindowBound::Start);
        let field = |column: &Column| -> Result<QualifiedField, SqlError> {
            let (qualifier, field) = input.schema.qualified_field(self.position(&input, column)? as usize);
            Ok((qualifier.cloned(), Arc::clone(field)))
        };
        let columns =
            columns.map(|(column, bound)| Ok((field(column)?, *bound))).collect::<Result<_, _>>()?;
        let time = input.borders.iter().find(|(_, bound)| *bound == WindowBound::Time);
        let (time, _) = time.ok_or_else(|| internal("a window has no time"))?.clone();
        let panes = Panes { shape: WindowShape::Tumble { size_ms: 1 }, offset_ms: 0 };
        input.times.clear();
        Ok((input, (PendingWindows { windows: PendingKind::Fixed(panes), time, columns }, panes)))
    }

    /// The stream with the last millisecond of each row's window among its columns.
    fn with_window_time(&mut self, input: Stream) -> Result<Stream, SqlError> {
        if input.borders.iter().any(|(_, bound)| *bound == WindowBound::Time) {
            return Ok(input);
        }
        let end = input.borders.iter().find(|(_, bound)| *bound == WindowBound::End);
        let (end, _) = end.ok_or_else(|| internal("a window has no end"))?.clone();
        let mut exprs: Vec<(Expr, QualifiedField)> = fields_of(&input.schema)
            .into_iter()
            .map(|field| (Expr::Column(column_of(&field)), field))
            .collect();
        let millisecond = Expr::Literal(ScalarValue::new_interval_dt(0, 1), None);
        let field = Field::new(HIDDEN_WINDOW_TIME, DataType::Timestamp(TimeUnit::Millisecond, None), true);
        let field = (None, Arc::new(field));
        let time = column_of(&field);
        exprs.push((Expr::Column(end) - millisecond, field));
        let mut made = self.project(input, exprs)?;
        made.borders.push((time, WindowBound::Time));
        Ok(made)
    }

    fn window_aggregate(
        &mut self,
        input: Stream,
        aggregate: &Aggregate,
        pending: &PendingWindows,
        windows: Panes,
    ) -> Result<Stream, SqlError> {
        let time = self.position(&input, &pending.time)?;
        let parts = self.parts(&input, aggregate, pending)?;
        let spec = |phase, output, columns: &SchemaRef| -> Result<OperatorKind> {
            Ok(OperatorKind::WindowAggregate(Box::new(WindowAggregateSpec {
                plan: codec::encode(&parts.plan)?,
                windows,
                phase,
                output,
                columns: encode_columns(columns)?,
            })))
        };
        let results = aggregate.schema.inner();
        let shape = match input.pending {
            Some(_) => format!("{windows}, keys=[{}]", parts.key_names.join(", ")),
            None => format!("windows of the rows, keys=[{}]", parts.key_names.join(", ")),
        };
        let single = |draft: &mut Draft, vertex: usize| -> Result<(), SqlError> {
            let kind = spec(Phase::Single { time }, parts.output.clone(), results);
            let display = format!("WindowAggregate: {shape}");
            draft.vertices[vertex].push("WindowAggregate", display, kind.map_err(error::from_datafusion)?);
            Ok(())
        };
        let vertex = if self.parallelism == 1 && self.draft.vertices[input.vertex].parallelism == 1 {
            single(self.draft, input.vertex)?;
            input.vertex
        } else if self.keeps_late {
            // What a first phase hands on are no rows any more.
            let keys = self.by_keys(&parts.row_keys).map_err(error::from_datafusion)?;
            let vertex = self.draft.exchange(&input, keys.0, keys.1)?;
            single(self.draft, vertex)?;
            vertex
        } else {
            let kind =
                spec(Phase::Local { time }, Vec::new(), &parts.states).map_err(error::from_datafusion)?;
            let display = format!("LocalWindowAggregate: {shape}");
            self.draft.vertices[input.vertex].push("LocalWindowAggregate", display, kind);
            let (partitioning, parallelism) = self.by_keys(&parts.keys).map_err(error::from_datafusion)?;
            let states = DFSchema::try_from(Arc::clone(&parts.states)).map_err(error::from_datafusion)?;
            let local = Stream::of(input.vertex, Arc::new(states));
            let vertex = self.draft.exchange(&local, partitioning, parallelism)?;
            let kind = spec(Phase::Global, parts.output.clone(), results).map_err(error::from_datafusion)?;
            let display = format!("GlobalWindowAggregate: {shape}");
            self.draft.vertices[vertex].push("GlobalWindowAggregate", display, kind);
            vertex
        };
        Ok(results_of(&input, aggregate, pending, vertex))
    }

    pub(super) fn parts(
        &self,
        input: &Stream,
        aggregate: &Aggregate,
        pending: &PendingWindows,
    ) -> Result<Parts, SqlError> {
        let mut output = Vec::new();
        let mut keys = Vec::new();
        let mut states = Vec::new();
        for (expr, field) in aggregate.group_expr.iter().zip(aggregate.schema.fields()) {
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
        let row_keys = keys.iter().map(|(key, _)| Arc::clone(key)).collect();
        let plan = AggregateExec::try_new(
            AggregateMode::Single,
            PhysicalGroupBy::new_single(keys),
            aggregates,
            filters,
            columns_plan(rows),
            Arc::clone(rows),
        );
        let plan = Arc::new(plan.map_err(error::from_datafusion)?);
        Ok(Parts {
            plan,
            output,
            states: Arc::new(Schema::new(states)),
            keys: key_columns,
            row_keys,
            key_names,
        })
    }
}

/// The columns of an aggregate's state, under names that are unique among the others.
fn state_fields(function: &AggregateFunctionExpr, first: usize) -> Result<Vec<Field>> {
    let fields = function.state_fields()?.into_iter().enumerate();
    Ok(fields.map(|(at, field)| field.as_ref().clone().with_name(format!("state{}", first + at))).collect())
}
