//! `OVER` in the order of event time.

use std::sync::Arc;

use datafusion::logical_expr::{
    Expr, LogicalPlan, Window, WindowFrameBound, WindowFunctionDefinition, expr::WindowFunctionParams,
};
use thalweg_graph::SqlError;

use super::{
    stream::Stream,
    translate::{Translation, internal},
    vertex::encode_columns,
    within::stand_in,
};
use crate::{
    bare_expr::unaliased,
    error,
    exec::codec,
    stream::{OperatorKind, OverAggregateSpec},
};

impl Translation<'_> {
    /// Aggregates over the rows before each row, in the order of event time.
    pub(super) async fn over(&mut self, window: &Window, input: Stream) -> Result<Stream, SqlError> {
        let params = window.window_expr.iter().map(|expr| aggregate_params(expr, &input));
        let Some(params) = params.collect::<Option<Vec<_>>>() else {
            return self.over_partitions(window, input).await;
        };
        let [first, others @ ..] = &params[..] else { return Err(internal("there is no window function")) };
        if others.iter().any(|params| params.partition_by != first.partition_by) {
            return self.over_partitions(window, input).await;
        }
        let Some(time) = first.order_by.first().and_then(|sort| sort.expr.try_as_col()) else {
            return Err(internal("`OVER` lost its time column"));
        };
        let all = LogicalPlan::Window(Window {
            input: stand_in(window.input.schema()),
            window_expr: window.window_expr.clone(),
            schema: Arc::clone(&window.schema),
        });
        let plan = self.plan_of(&all).await?;
        let keys = self.physical_all(&first.partition_by, &input)?;
        let encoded = keys.iter().map(codec::encode_expr).collect::<datafusion::error::Result<_>>();
        let spec = OverAggregateSpec {
            plan: codec::encode(&plan).map_err(error::from_datafusion)?,
            time: self.position(&input, time)?,
            keys: encoded.map_err(error::from_datafusion)?,
            columns: encode_columns(window.schema.inner()).map_err(error::from_datafusion)?,
        };
        let vertex = self.keyed(&input, &keys)?;
        let exprs: Vec<String> = window.window_expr.iter().map(ToString::to_string).collect();
        let display = format!("OverAggregate: [{}]", exprs.join(", "));
        self.draft.vertices[vertex].push(
            "OverAggregate",
            display,
            OperatorKind::OverAggregate(Box::new(spec)),
        );
        let (times, borders) = (vec![time.clone()], input.borders);
        Ok(Stream { times, borders, ..Stream::of(vertex, Arc::clone(&window.schema)) })
    }
}

/// The description of a window function, if what it gives for a row is known when event time has passed the row.
fn aggregate_params<'e>(expr: &'e Expr, input: &Stream) -> Option<&'e WindowFunctionParams> {
    let Expr::WindowFunction(function) = unaliased(expr) else { return None };
    let params = &function.params;
    let by_time = match &params.order_by[..] {
        [sort] => sort.asc && matches!(&sort.expr, Expr::Column(column) if input.is_time(column)),
        _ => false,
    };
    let is_known = by_time
        && !input.updating
        && matches!(function.fun, WindowFunctionDefinition::AggregateUDF(_))
        && params.filter.is_none()
        && !params.distinct
        && matches!(params.window_frame.end_bound, WindowFrameBound::CurrentRow);
    is_known.then_some(params)
}
