//! The first rows in an order: of each partition where a query filters `ROW_NUMBER()`, of all rows where it has a `LIMIT`.

use std::sync::Arc;

use datafusion::{
    common::{Column, DFSchema, ScalarValue},
    logical_expr::{
        BinaryExpr, Expr, FetchType, Filter, Limit, LogicalPlan, Operator, Projection, SkipType, Sort,
        SortExpr, SubqueryAlias, Window, WindowFunctionDefinition,
        expr::WindowFunction,
        lit,
        utils::{conjunction, split_conjunction},
    },
    physical_expr::PhysicalExpr,
};
use thalweg_graph::{SqlError, sql_error::SqlErrorCode};

use super::{
    result::display,
    stream::{QualifiedField, Stream, column_of, fields_of},
    translate::{Translation, internal, unsupported},
    vertex::encode_columns,
};
use crate::{
    bare_expr::{unaliased, uncast},
    error,
    exec::codec,
    stream::{OperatorKind, SortKey, TopNSpec},
};

/// Places in an order: so many are left out, so many behind them are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub skip: u64,
    pub fetch: u64,
}

/// Rows that a filter keeps by their place in their partition.
pub(super) struct Ranked<'a> {
    filter: &'a Filter,
    found: Found<'a>,
    place: Place,
    /// What the filter asks besides.
    rest: Vec<Expr>,
    /// Whether anything needs the place itself.
    with_rank: bool,
}

/// `ROW_NUMBER()` below a filter.
struct Found<'a> {
    window: &'a Window,
    function: &'a WindowFunction,
    /// What stands between, the lowest first.
    steps: Vec<Step<'a>>,
    /// The column with the number, above all steps.
    column: Column,
    /// Whether a step computes with it.
    is_used: bool,
}

enum Step<'a> {
    Project(&'a Projection),
    Alias(&'a SubqueryAlias),
}

/// The filter below a projection, if it keeps rows by their place. The place is needed only if the projection does.
pub(super) fn ranked_below(projection: &Projection) -> Result<Option<Ranked<'_>>, SqlError> {
    let LogicalPlan::Filter(filter) = projection.input.as_ref() else { return Ok(None) };
    let Some(mut ranked) = ranked(filter)? else { return Ok(None) };
    let column = &ranked.found.column;
    let used = |expr: &Expr| expr.column_refs().contains(column);
    ranked.with_rank =
        ranked.found.is_used || projection.expr.iter().any(used) || ranked.rest.iter().any(used);
    Ok(Some(ranked))
}

/// What a filter keeps, if it keeps rows by their place.
pub(super) fn ranked(filter: &Filter) -> Result<Option<Ranked<'_>>, SqlError> {
    let Some(found) = find(&filter.input) else { return Ok(None) };
    let (mut low, mut high) = (1u64, None::<u64>);
    let mut rest = Vec::new();
    for condition in split_conjunction(&filter.predicate) {
        match place(condition, &found.column) {
            Some((Operator::LtEq, number)) => high = Some(high.map_or(number, |high| high.min(number))),
            Some((Operator::GtEq, number)) => low = low.max(number),
            Some((_, number)) => {
                low = low.max(number);
                high = Some(high.map_or(number, |high| high.min(number)));
            }
            None => rest.push(condition.clone()),
        }
    }
    let Some(high) = high else { return Ok(None) };
    let place = Place { skip: low - 1, fetch: (high + 1).saturating_sub(low) };
    Ok(Some(Ranked { filter, found, place, rest, with_rank: true }))
}

fn find(plan: &LogicalPlan) -> Option<Found<'_>> {
    match plan {
        LogicalPlan::Window(window) => {
            let [expr] = window.window_expr.as_slice() else { return None };
            let Expr::WindowFunction(function) = unaliased(expr) else { return None };
            let WindowFunctionDefinition::WindowUDF(udf) = &function.fun else { return None };
            if udf.name() != "row_number" {
                return None;
            }
            let column = column_of(fields_of(&window.schema).last()?);
            Some(Found { window, function, steps: Vec::new(), column, is_used: false })
        }
        LogicalPlan::Projection(projection) => {
            let mut found = find(&projection.input)?;
            let is_number =
                |expr: &Expr| matches!(uncast(expr), Expr::Column(column) if *column == found.column);
            let at = projection.expr.iter().position(is_number)?;
            let uses =
                |(place, expr): (usize, &Expr)| place != at && expr.column_refs().contains(&found.column);
            found.is_used |= projection.expr.iter().enumerate().any(uses);
            found.column = Column::from(projection.schema.qualified_field(at));
            found.steps.push(Step::Project(projection));
            Some(found)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let mut found = find(&alias.input)?;
            let at = alias.input.schema().maybe_index_of_column(&found.column)?;
            found.column = Column::from(alias.schema.qualified_field(at));
            found.steps.push(Step::Alias(alias));
            Some(found)
        }
        _ => None,
    }
}

/// A condition on the place: at most, at least or exactly this number.
fn place(condition: &Expr, column: &Column) -> Option<(Operator, u64)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
    let is_number = |expr: &Expr| matches!(uncast(expr), Expr::Column(found) if found == column);
    let (op, literal) = match (uncast(left), uncast(right)) {
        (_, Expr::Literal(value, _)) if is_number(left) => (*op, value),
        (Expr::Literal(value, _), _) if is_number(right) => (op.swap()?, value),
        _ => return None,
    };
    let ScalarValue::Int64(Some(number)) =
        literal.cast_to(&datafusion::arrow::datatypes::DataType::Int64).ok()?
    else {
        return None;
    };
    let number = u64::try_from(number.max(0)).ok()?;
    match op {
        Operator::LtEq => Some((Operator::LtEq, number)),
        Operator::Lt => Some((Operator::LtEq, number.saturating_sub(1))),
        Operator::GtEq => Some((Operator::GtEq, number)),
        Operator::Gt => Some((Operator::GtEq, number + 1)),
        Operator::Eq => Some((Operator::Eq, number)),
        _ => None,
    }
}

/// What a `LIMIT` keeps.
pub(super) fn bounds(limit: &Limit) -> Result<Place, SqlError> {
    let not_constant = || SqlError::new(SqlErrorCode::Unsupported, "`LIMIT` and `OFFSET` must be numbers");
    let SkipType::Literal(skip) = limit.get_skip_type().map_err(error::from_datafusion)? else {
        return Err(not_constant());
    };
    let FetchType::Literal(fetch) = limit.get_fetch_type().map_err(error::from_datafusion)? else {
        return Err(not_constant());
    };
    Ok(Place { skip: skip as u64, fetch: fetch.map_or(u64::MAX, |fetch| fetch as u64) })
}

impl Translation<'_> {
    /// Rows by their place in their partition.
    pub(super) async fn ranked(&mut self, ranked: &Ranked<'_>) -> Result<Stream, SqlError> {
        let Ranked { filter, found, place, rest, with_rank } = ranked;
        let input = self.root(&found.window.input).await?;
        let params = &found.function.params;
        if input.are_of_one_window(&params.partition_by) {
            let numbered = self.within_windows(found.window, input).await?;
            let stream = self.steps(numbered, &found.steps)?;
            return self.filter(stream, filter);
        }
        let fields = fields_of(&found.window.schema);
        let rank = fields.last().cloned().ok_or_else(|| internal("a window function has no column"))?;
        let given = with_rank.then_some(&rank);
        let mut stream = self.top_n(input, &params.partition_by, &params.order_by, *place, given)?;
        if !with_rank {
            // Nobody looks at it.
            let one =
                ScalarValue::Int64(Some(1)).cast_to(rank.1.data_type()).map_err(error::from_datafusion)?;
            let columns = fields.into_iter().map(|field| match field == rank {
                true => (lit(one.clone()), field),
                false => (Expr::Column(column_of(&field)), field),
            });
            stream = self.project(stream, columns.collect())?;
        }
        stream = self.steps(stream, &found.steps)?;
        match conjunction(rest.iter().cloned()) {
            Some(rest) => {
                let rest =
                    Filter::try_new(rest, Arc::clone(&filter.input)).map_err(error::from_datafusion)?;
                self.filter(stream, &rest)
            }
            None => Ok(stream),
        }
    }

    fn steps(&mut self, mut stream: Stream, steps: &[Step<'_>]) -> Result<Stream, SqlError> {
        for step in steps {
            stream = match step {
                Step::Project(projection) => self.projection(stream, projection)?,
                Step::Alias(alias) => stream.aliased(&alias.alias).map_err(error::from_datafusion)?,
            };
        }
        Ok(stream)
    }

    /// `LIMIT` within a query, by the order below it where there is one.
    pub(super) async fn limit(&mut self, limit: &Limit) -> Result<Stream, SqlError> {
        let place = bounds(limit)?;
        match limit.input.as_ref() {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                let input = self.root(&sort.input).await?;
                self.top_n(input, &[], &sort.expr, place, None)
            }
            LogicalPlan::Projection(projection)
                if matches!(projection.input.as_ref(), LogicalPlan::Sort(_)) =>
            {
                let below = Limit { input: Arc::clone(&projection.input), ..limit.clone() };
                let input = Box::pin(self.limit(&below)).await?;
                self.projection(input, projection)
            }
            input => {
                let input = self.root(input).await?;
                self.top_n(input, &[], &[], place, None)
            }
        }
    }

    /// `ORDER BY` means something only where a number of rows is asked for, or where the rows leave.
    pub(super) async fn sort(&mut self, sort: &Sort) -> Result<Stream, SqlError> {
        let Some(fetch) = sort.fetch else {
            return Err(unsupported("`ORDER BY` without `LIMIT` in streaming mode"));
        };
        let input = self.root(&sort.input).await?;
        self.top_n(input, &[], &sort.expr, Place { skip: 0, fetch: fetch as u64 }, None)
    }

    /// Keeps the rows at these places of each partition, and puts out their place as the column `rank` if that is given.
    pub(super) fn top_n(
        &mut self,
        input: Stream,
        partition_by: &[Expr],
        order_by: &[SortExpr],
        place: Place,
        rank: Option<&QualifiedField>,
    ) -> Result<Stream, SqlError> {
        let mut keys: Vec<Arc<dyn PhysicalExpr>> = Vec::with_capacity(partition_by.len());
        for expr in partition_by {
            keys.push(self.physical(expr, &input.schema)?);
        }
        let vertex = self.keyed(&input, &keys)?;
        let mut fields = fields_of(&input.schema);
        fields.extend(rank.cloned());
        let schema = super::stream::schema_of(fields).map_err(error::from_datafusion)?;
        // Without an order nothing that comes later takes a place.
        let updating = input.updating || !order_by.is_empty();
        let order = self.sort_keys(order_by, &input.schema)?;
        let stream = Stream { updating, ..Stream::of(vertex, schema) };
        let spec = || -> datafusion::error::Result<TopNSpec> {
            Ok(TopNSpec {
                partition_by: keys
                    .iter()
                    .map(codec::encode_expr)
                    .collect::<datafusion::error::Result<_>>()?,
                order_by: order,
                skip: place.skip,
                fetch: place.fetch,
                with_rank: rank.is_some(),
                columns: encode_columns(stream.columns()?.inner())?,
            })
        };
        let spec = spec().map_err(error::from_datafusion)?;
        let name = if order_by.is_empty() { "Limit" } else { "Rank" };
        let partitions = keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let upto = place.skip.saturating_add(place.fetch);
        let display = format!(
            "{name}: places=[{}, {upto}], partitionBy=[{partitions}], orderBy=[{}]",
            place.skip + 1,
            display(order_by)
        );
        self.draft.vertices[vertex].push(name, display, OperatorKind::TopN(Box::new(spec)));
        Ok(stream)
    }

    pub(super) fn sort_keys(&self, sort: &[SortExpr], schema: &DFSchema) -> Result<Vec<SortKey>, SqlError> {
        let key = |key: &SortExpr| {
            let expression = self.physical(&key.expr, schema)?;
            let expression = codec::encode_expr(&expression).map_err(error::from_datafusion)?;
            Ok(SortKey { expression, descending: !key.asc, nulls_first: key.nulls_first })
        };
        sort.iter().map(key).collect()
    }
}
