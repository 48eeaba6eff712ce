//! Node by node from the logical plan to operators.

use std::{future::Future, pin::Pin, sync::Arc};

use datafusion::{
    common::{Column, DFSchema},
    datasource::source_as_provider,
    execution::SessionState,
    logical_expr::{
        Expr, Extension, Filter, LogicalPlan, Projection, TableType, Union,
        physical_planning_context::PhysicalPlanningContext,
    },
    physical_expr::{PhysicalExpr, create_physical_expr, expressions::Column as PhysicalColumn},
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties as _,
        coop::CooperativeExec,
        filter::FilterExec,
        projection::{ProjectionExec, ProjectionExpr},
    },
};
use thalweg_graph::{
    SqlError, VertexOutput, exchange::Partitioning, sql_error::SqlErrorCode, table::SinkDescriptor,
};

use super::{
    Draft,
    group_aggregate::Gathering,
    shared::Shared,
    stream::{PendingKind, PendingWindows, QualifiedField, Stream, column_of, fields_of, schema_of},
    top_n,
    vertex::{StreamVertex, VertexHead, encode_columns},
};
use crate::{
    bare_expr::unaliased,
    changes::Changes,
    connect::Connectors,
    error,
    exec::{ConnectorSourceExec, codec},
    panes::WindowBound,
    stream::{ChangelogNormalizeNode, LateRowsNode, OperatorKind, WatermarkNode, changelog::WEIGHT},
    window::{LOCAL_TIME, WindowKind, WindowTableFunction},
    words::NOT_YET,
};

/// Begins the names of columns that only pending windows need.
const HIDDEN: &str = "__of_row_";

/// How often in a session's gap time is told by the clock: a session comes out so much later than it could.
const CLOCK_TICKS_IN_GAP: i64 = 10;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One root's way into the draft of a job.
pub(super) struct Translation<'a> {
    /// Functions and settings.
    pub state: &'a SessionState,
    /// Subtasks of a vertex.
    pub parallelism: u32,
    /// How many key groups the keys of the job are divided into.
    pub key_groups: u16,
    /// How rows are gathered before they are aggregated, if they are.
    pub mini_batch: Option<Gathering>,
    /// Whether somebody wants the rows that come too late.
    pub keeps_late: bool,
    /// Whether the job may go on from a checkpoint of its own.
    pub takes_checkpoints: bool,
    /// What tables are.
    pub connectors: &'a dyn Connectors,
    /// What stands in the job more than once.
    pub shared: &'a mut Shared,
    /// What has come about so far.
    pub draft: &'a mut Draft,
}

impl Translation<'_> {
    /// A whole plan, with exactly its columns.
    pub async fn root(&mut self, plan: &LogicalPlan) -> Result<Stream, SqlError> {
        let stream = self.node(plan).await?;
        self.settled(stream, plan)
    }

    pub(super) fn node<'b>(&'b mut self, plan: &'b LogicalPlan) -> BoxFuture<'b, Result<Stream, SqlError>> {
        Box::pin(async move {
            let Some(class) = self.shared.class(plan) else { return self.translated(plan).await };
            if self.shared.made(class).is_none() {
                let stream = self.translated(plan).await?;
                self.shared.keep(class, stream);
            }
            match self.shared.made(class) {
                Some(stream) => self.draft.forward(stream),
                None => Err(internal("a shared part of the plan is lost")),
            }
        })
    }

    fn translated<'b>(&'b mut self, plan: &'b LogicalPlan) -> BoxFuture<'b, Result<Stream, SqlError>> {
        Box::pin(async move {
            match plan {
                LogicalPlan::TableScan(_) | LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => {
                    self.source(plan).await
                }
                LogicalPlan::SubqueryAlias(alias) => {
                    let input = self.node(&alias.input).await?;
                    input.aliased(&alias.alias).map_err(error::from_datafusion)
                }
                LogicalPlan::Projection(projection) => {
                    if let Some(ranked) = top_n::ranked_below(projection)? {
                        let input = self.ranked(&ranked).await?;
                        return self.projection(input, projection);
                    }
                    let input = self.node(&projection.input).await?;
                    self.projection(input, projection)
                }
                LogicalPlan::Filter(filter) => {
                    if let Some(ranked) = top_n::ranked(filter)? {
                        return self.ranked(&ranked).await;
                    }
                    let input = self.node(&filter.input).await?;
                    self.filter(input, filter)
                }
                LogicalPlan::Union(union) => self.union(union).await,
                LogicalPlan::Extension(extension) => self.extension(extension).await,
                LogicalPlan::Aggregate(aggregate) => {
                    let input = self.node(&aggregate.input).await?;
                    self.aggregate(input, aggregate)
                }
                LogicalPlan::Join(join) => self.join(join).await,
                LogicalPlan::Window(window) => {
                    let input = self.root(&window.input).await?;
                    self.within_windows(window, input).await
                }
                LogicalPlan::Unnest(unnest) => self.unnest(unnest).await,
                LogicalPlan::Limit(limit) => self.limit(limit).await,
                LogicalPlan::Sort(sort) => self.sort(sort).await,
                other => Err(not_yet(other)),
            }
        })
    }

    /// A scan, or rows that stand in the query.
    async fn source(&mut self, leaf: &LogicalPlan) -> Result<Stream, SqlError> {
        let plan = match self.shared.scan(leaf) {
            Some(plan) => plan,
            None => {
                let plan = self.state.query_planner().create_physical_plan(leaf, self.state).await;
                plan.map_err(error::from_datafusion)?
            }
        };
        let plan = spread(plan, self.parallelism, self.state)?;
        let updating = self.is_changelog(&plan)?;
        let vertex = self.draft.vertices.len();
        self.draft.vertices.push(StreamVertex {
            parallelism: plan.output_partitioning().partition_count() as u32,
            head: VertexHead::Source { plan, name: source_name(leaf), updating },
            chain: Vec::new(),
            updating: false,
            late: None,
            output: VertexOutput::Edges,
        });
        Ok(Stream { updating, ..Stream::of(vertex, Arc::clone(leaf.schema())) })
    }

    /// Whether a scan's rows come with weights.
    fn is_changelog(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<bool, SqlError> {
        let leaf = plan.downcast_ref::<CooperativeExec>().map_or(plan, |cooperative| cooperative.input());
        let Some(source) = leaf.downcast_ref::<ConnectorSourceExec>() else { return Ok(false) };
        Ok(self.connectors.source_changes(&source.scan.table)? != Changes::Append)
    }

    async fn extension(&mut self, extension: &Extension) -> Result<Stream, SqlError> {
        let node = extension.node.as_any();
        if let Some(watermark) = node.downcast_ref::<WatermarkNode>() {
            let input = self.node(&watermark.input).await?;
            return self.watermark(input, watermark);
        }
        if let Some(upserts) = node.downcast_ref::<ChangelogNormalizeNode>() {
            return self.normalize(upserts).await;
        }
        if let Some(function) = node.downcast_ref::<WindowTableFunction>() {
            let input = self.node(&function.input).await?;
            return self.window_function(input, function);
        }
        if node.is::<LateRowsNode>() {
            return self.late_rows();
        }
        Err(not_yet(&LogicalPlan::Extension(extension.clone())))
    }

    fn watermark(&mut self, input: Stream, node: &WatermarkNode) -> Result<Stream, SqlError> {
        let mut input = self.assigned(input)?;
        let expression = self.physical(&node.expression, &input.schema)?;
        let kind = OperatorKind::Watermarks {
            expression: codec::encode_expr(&expression).map_err(error::from_datafusion)?,
            options: node.options.clone(),
        };
        let display = format!("Watermarks: {} AS {expression}", node.time.name);
        self.draft.vertices[input.vertex].push("WatermarkAssigner", display, kind);
        input.times.push(node.time.clone());
        Ok(input)
    }

    /// Windows wait until somebody needs them.
    fn window_function(&mut self, input: Stream, function: &WindowTableFunction) -> Result<Stream, SqlError> {
        let input = self.assigned(input)?;
        if input.updating {
            return Err(unsupported("a window function over rows that change in streaming mode"));
        }
        let input = self.timed_for(input, function)?;
        if !input.is_time(&function.time) {
            let (column, named) = match function.time.name.as_str() {
                LOCAL_TIME => ("its time column".to_owned(), "..."),
                name => (format!("`{name}`"), name),
            };
            let message = format!(
                "a window function on a stream needs an event time column, and {column} is none: declare `WATERMARK FOR {named} AS ...` on its table"
            );
            return Err(SqlError::new(SqlErrorCode::Invalid, message));
        }
        // The function's own columns have other qualifiers than its input's.
        let all = fields_of(&function.schema);
        let (made, added) = all.split_at(all.len() - 3);
        let renamed = |column: &Column| -> Option<Column> {
            made.get(input.schema.maybe_index_of_column(column)?).map(column_of)
        };
        let needed = |column: &Column| {
            renamed(column).ok_or_else(|| internal("a window function lost its time column or its keys"))
        };
        let windows = match &function.kind {
            WindowKind::Fixed(panes) => PendingKind::Fixed(*panes),
            WindowKind::Session { gap_ms, partition_by } => PendingKind::Session {
                gap_ms: *gap_ms,
                keys: partition_by.iter().map(needed).collect::<Result<_, _>>()?,
            },
        };
        let pending = PendingWindows {
            windows,
            time: needed(&function.time)?,
            columns: added
                .iter()
                .cloned()
                .zip([WindowBound::Start, WindowBound::End, WindowBound::Time])
                .collect(),
        };
        let times = input.times.iter().filter_map(renamed).collect();
        let schema = schema_of(made.to_vec()).map_err(error::from_datafusion)?;
        Ok(Stream { times, pending: Some(pending), ..Stream::of(input.vertex, schema) })
    }

    /// The stream with event time as the function's windows are closed by it: that of the session's zone, or the clock's.
    fn timed_for(&mut self, mut input: Stream, function: &WindowTableFunction) -> Result<Stream, SqlError> {
        let is_clock = input.is_clock(&function.time);
        if !is_clock && (function.time.name != LOCAL_TIME || !input.is_time(&function.time)) {
            return Ok(input);
        }
        let column = self.position(&input, &function.time)?;
        let vertex = &mut self.draft.vertices[input.vertex];
        if is_clock {
            let (every_ms, offset_ms) = match &function.kind {
                WindowKind::Fixed(panes) => (panes.pane_ms(), panes.offset_ms),
                WindowKind::Session { gap_ms, .. } => ((gap_ms / CLOCK_TICKS_IN_GAP).max(1), 0),
            };
            let kind = OperatorKind::ProcessingTime { column, every_ms, offset_ms };
            vertex.push("ProcessingTime", format!("ProcessingTime: every {every_ms} ms"), kind);
        } else {
            vertex.push("LocalTime", "LocalTime".to_owned(), OperatorKind::LocalTime);
        }
        // Others are not of the same clock.
        input.times = vec![function.time.clone()];
        Ok(input)
    }

    pub(super) fn filter(&mut self, input: Stream, filter: &Filter) -> Result<Stream, SqlError> {
        let input = self.assigned_for(input, std::slice::from_ref(&filter.predicate))?;
        let input = match &input.pending {
            // Less rows would make other sessions.
            Some(PendingWindows { windows: PendingKind::Session { .. }, .. }) => self.assigned(input)?,
            _ => input,
        };
        let predicate = self.physical(&filter.predicate, &input.schema)?;
        let columns = input.columns().map_err(error::from_datafusion)?;
        let vertex = &mut self.draft.vertices[input.vertex];
        let added = vertex.calc(&columns, |below| Ok(Arc::new(FilterExec::try_new(predicate, below)?)));
        added.map_err(error::from_datafusion)?;
        Ok(input)
    }

    pub(super) fn projection(&mut self, input: Stream, projection: &Projection) -> Result<Stream, SqlError> {
        self.project(input, projection.expr.iter().cloned().zip(fields_of(&projection.schema)).collect())
    }

    /// Computes columns. Borders of pending windows that are only passed on stay pending.
    pub(super) fn project(
        &mut self,
        input: Stream,
        exprs: Vec<(Expr, QualifiedField)>,
    ) -> Result<Stream, SqlError> {
        let computed: Vec<Expr> = match &input.pending {
            Some(pending) => {
                let exprs = exprs.iter().map(|(expr, _)| expr);
                exprs.filter(|expr| pending.bound(expr).is_none()).cloned().collect()
            }
            None => Vec::new(),
        };
        let input = self.assigned_for(input, &computed)?;
        let mut pending = None;
        let mut made = exprs;
        if let Some(windows) = &input.pending {
            let mut columns = Vec::new();
            made.retain(|(expr, field)| match windows.bound(expr) {
                Some(bound) => {
                    columns.push((field.clone(), bound));
                    false
                }
                None => true,
            });
            let kept = windows.clone().renamed(|column| self.keep(&input, column, &mut made))?;
            pending = Some(PendingWindows { columns, ..kept });
        }
        let mut physical = Vec::with_capacity(made.len());
        for (expr, (_, field)) in &made {
            let expr = self.physical(unaliased(expr), &input.schema)?;
            physical.push(ProjectionExpr { expr, alias: field.name().clone() });
        }
        if input.updating {
            let weight = Arc::new(PhysicalColumn::new(WEIGHT, input.schema.fields().len()));
            physical.push(ProjectionExpr { expr: weight, alias: WEIGHT.to_owned() });
        }
        let columns = input.columns().map_err(error::from_datafusion)?;
        let vertex = &mut self.draft.vertices[input.vertex];
        let added = vertex.calc(&columns, |below| Ok(Arc::new(ProjectionExec::try_new(physical, below)?)));
        added.map_err(error::from_datafusion)?;
        let (times, borders) = (input.times_through(&made), input.borders_through(&made));
        let clocks = input.clocks_through(&made);
        let schema = schema_of(made.into_iter().map(|(_, field)| field).collect());
        let schema = schema.map_err(error::from_datafusion)?;
        let (vertex, updating) = (input.vertex, input.updating);
        Ok(Stream { vertex, schema, updating, times, pending, borders, clocks })
    }

    /// A column that pending windows need, among those made; added, hidden, where it is not there.
    fn keep(
        &self,
        input: &Stream,
        needed: &Column,
        made: &mut Vec<(Expr, QualifiedField)>,
    ) -> Result<Column, SqlError> {
        let position = input.schema.maybe_index_of_column(needed);
        let is_it = |expr: &Expr| match unaliased(expr) {
            Expr::Column(column) => input.schema.maybe_index_of_column(column) == position,
            _ => false,
        };
        if let Some((_, field)) = made.iter().find(|(expr, _)| is_it(expr)) {
            return Ok(column_of(field));
        }
        let (_, field) = position
            .map(|position| input.schema.qualified_field(position))
            .ok_or_else(|| internal("pending windows lost a column"))?;
        let hidden = format!("{HIDDEN}{}", field.name().trim_start_matches(HIDDEN));
        let field = (None, Arc::new(field.as_ref().clone().with_name(hidden)));
        let column = column_of(&field);
        made.push((Expr::Column(needed.clone()), field));
        Ok(column)
    }

    /// All inputs into one vertex, in whatever order their rows come.
    async fn union(&mut self, union: &Union) -> Result<Stream, SqlError> {
        let mut inputs = Vec::with_capacity(union.inputs.len());
        for input in &union.inputs {
            inputs.push(self.root(input).await?);
        }
        let target = self.draft.vertices.len();
        let updating = inputs.iter().any(|input| input.updating);
        let mut edges = Vec::with_capacity(inputs.len());
        for input in &mut inputs {
            if updating && !input.updating {
                let (name, kind) = ("AddWeights", OperatorKind::AddWeights);
                self.draft.vertices[input.vertex].push(name, name.to_owned(), kind);
                input.updating = true;
            }
            edges.push(self.draft.edge(input, target, Partitioning::RoundRobin));
        }
        let parallelism =
            inputs.iter().map(|input| self.draft.vertices[input.vertex].parallelism).max().unwrap_or(1);
        let fields = fields_of(&union.schema);
        // A column is event time where it is in all inputs.
        let is_time = |position: usize| {
            inputs.iter().all(|input| input.is_time(&input.schema.qualified_field(position).into()))
        };
        let times = fields.iter().enumerate().filter(|(position, _)| is_time(*position));
        let times = times.map(|(_, field)| column_of(field)).collect();
        let schema = Arc::clone(&union.schema);
        let stream = Stream { updating, times, ..Stream::of(target, schema) };
        let columns = stream.columns().map_err(error::from_datafusion)?;
        self.draft.vertices.push(StreamVertex {
            parallelism,
            head: VertexHead::Edges { edges, schema: columns.inner().clone() },
            chain: Vec::new(),
            updating: false,
            late: None,
            output: VertexOutput::Edges,
        });
        Ok(stream)
    }

    /// The stream with its windows assigned if any of these expressions needs a border.
    pub(super) fn assigned_for(&mut self, input: Stream, exprs: &[Expr]) -> Result<Stream, SqlError> {
        let needed = |pending: &PendingWindows| exprs.iter().any(|expr| pending.is_used_by(expr));
        if input.pending.as_ref().is_some_and(needed) { self.assigned(input) } else { Ok(input) }
    }

    /// The stream with each row once for each of its windows, whose borders are columns behind the row's own.
    pub(super) fn assigned(&mut self, input: Stream) -> Result<Stream, SqlError> {
        let Some(pending) = input.pending.clone() else { return Ok(input) };
        let mut fields = fields_of(&input.schema);
        fields.extend(pending.columns.iter().map(|(field, _)| field.clone()));
        let schema = schema_of(fields).map_err(error::from_datafusion)?;
        let borders: Vec<(Column, WindowBound)> =
            pending.columns.iter().map(|(field, bound)| (column_of(field), *bound)).collect();
        let panes = match pending.windows {
            PendingKind::Fixed(panes) => panes,
            PendingKind::Session { gap_ms, ref keys } => {
                let vertex = self.assign_sessions(&input, &pending, gap_ms, keys, &schema)?;
                return Ok(Stream { borders, ..Stream::of(vertex, schema) }.timed_by_windows());
            }
        };
        let kind = OperatorKind::AssignWindows {
            time: self.position(&input, &pending.time)?,
            windows: panes,
            bounds: borders.iter().map(|(_, bound)| *bound).collect(),
            columns: encode_columns(schema.inner()).map_err(error::from_datafusion)?,
        };
        let display = format!("WindowTableFunction: {panes}");
        self.draft.vertices[input.vertex].push("WindowTableFunction", display, kind);
        let mut times = input.times;
        let ends = borders.iter().filter(|(_, bound)| *bound == WindowBound::Time);
        times.extend(ends.map(|(column, _)| column.clone()));
        Ok(Stream { times, borders, ..Stream::of(input.vertex, schema) })
    }

    /// The stream with exactly the columns of a plan, in its order.
    pub(super) fn settled(&mut self, stream: Stream, plan: &LogicalPlan) -> Result<Stream, SqlError> {
        let stream = self.assigned(stream)?;
        let fields = fields_of(plan.schema());
        let in_order = fields.len() == stream.schema.fields().len()
            && fields
                .iter()
                .zip(stream.schema.iter())
                .all(|(field, (_, made))| field.1.name() == made.name());
        if in_order {
            return Ok(stream);
        }
        let exprs = fields.into_iter().map(|field| (Expr::Column(column_of(&field)), field)).collect();
        self.project(stream, exprs)
    }

    /// An expression over the columns of a stream.
    pub(super) fn physical(&self, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>, SqlError> {
        let context = PhysicalPlanningContext::default();
        create_physical_expr(expr, schema, self.state.execution_props(), &context)
            .map_err(error::from_datafusion)
    }

    /// Equal keys to the same subtask, which has their key group; without keys all to one.
    pub(super) fn by_keys(
        &self,
        keys: &[Arc<dyn PhysicalExpr>],
    ) -> datafusion::error::Result<(Partitioning, u32)> {
        if keys.is_empty() || self.parallelism == 1 {
            return Ok((Partitioning::Single, 1));
        }
        let partitioning = Partitioning::KeyGroups {
            expressions: keys.iter().map(codec::encode_expr).collect::<datafusion::error::Result<_>>()?,
            display: keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            groups: self.key_groups,
        };
        Ok((partitioning, self.parallelism))
    }

    /// The place of a column among those of a stream.
    pub(super) fn position(&self, stream: &Stream, column: &Column) -> Result<u32, SqlError> {
        let position = stream.schema.maybe_index_of_column(column);
        position.map(|position| position as u32).ok_or_else(|| internal("a column is lost"))
    }
}

/// The scan with as many partitions as there are to be subtasks, if it can have them.
fn spread(
    plan: Arc<dyn ExecutionPlan>,
    parallelism: u32,
    state: &SessionState,
) -> Result<Arc<dyn ExecutionPlan>, SqlError> {
    let spread = plan.repartitioned(parallelism as usize, state.config_options());
    Ok(spread.map_err(error::from_datafusion)?.unwrap_or(plan))
}

fn source_name(leaf: &LogicalPlan) -> String {
    match leaf {
        LogicalPlan::TableScan(scan) => match source_as_provider(&scan.source) {
            Ok(provider) if provider.table_type() == TableType::Base => scan.table_name.table().to_owned(),
            _ => scan.table_name.to_string(),
        },
        _ => "Values".to_owned(),
    }
}

fn not_yet(plan: &LogicalPlan) -> SqlError {
    unsupported(&match plan {
        LogicalPlan::Distinct(_) => "`DISTINCT` in streaming mode".to_owned(),
        other => format!("`{}` in streaming mode", other.display()),
    })
}

/// The refusal of what a stream cannot do yet.
pub(super) fn unsupported(what: &str) -> SqlError {
    let message = format!("{what} {NOT_YET}; where the input ends, set `execution.runtime-mode` to `BATCH`");
    SqlError::new(SqlErrorCode::Unsupported, message)
}

/// The refusal of a stream that replaces what is there: it would do so again with each checkpoint.
pub(super) fn overwrite(sink: &SinkDescriptor) -> SqlError {
    let message = format!(
        "a stream cannot overwrite `{}`: use `INSERT INTO`, or set `execution.runtime-mode` to `BATCH` where the input ends",
        sink.table.path
    );
    SqlError::new(SqlErrorCode::Unsupported, message)
}

pub(super) fn internal(message: &str) -> SqlError {
    SqlError::new(SqlErrorCode::Internal, message)
}
