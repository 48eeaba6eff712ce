//! Where a stream leaves the job: what a query answers when its input ends, and which sinks take rows that change.

use datafusion::logical_expr::{LogicalPlan, Projection, SortExpr};
use thalweg_graph::{SqlError, sql_error::SqlErrorCode, table::SinkDescriptor};

use super::{
    stream::Stream,
    top_n::{Place, bounds},
    translate::Translation,
    vertex::encode_columns,
};
use crate::{
    changes::Changes,
    connect::Connectors,
    error,
    stream::{FinalResultSpec, OperatorKind},
};

/// Refuses to put rows that change into a table that cannot take them back.
pub(super) fn check_sink(
    stream: &Stream,
    sink: &SinkDescriptor,
    connectors: &dyn Connectors,
) -> Result<(), SqlError> {
    if !stream.updating || connectors.sink_changes(sink)? != Changes::Append {
        return Ok(());
    }
    let message = format!(
        "`{}` takes only new rows (connector `{}`), and this query changes rows that it has given before: aggregate by windows, \
         write into a table that takes changes (`upsert-kafka`, `print`, `blackhole`), or, where the input ends, set \
         `execution.runtime-mode` to `BATCH`",
        sink.table.path,
        sink.table.connector()
    );
    Err(SqlError::new(SqlErrorCode::Unsupported, message))
}

/// The order of a query's answer, and how much of it is wanted.
struct Order<'a> {
    limit: Option<Place>,
    sort: &'a [SortExpr],
    /// What is computed of ordered rows, the last one first.
    projections: Vec<&'a Projection>,
    /// What is ordered.
    input: &'a LogicalPlan,
}

impl<'a> Order<'a> {
    /// What a plan asks for.
    fn of(plan: &'a LogicalPlan) -> Result<Self, SqlError> {
        let (mut limit, mut projections) = (None, Vec::new());
        let mut at = plan;
        loop {
            match at {
                LogicalPlan::Projection(projection) => {
                    projections.push(projection);
                    at = &projection.input;
                }
                LogicalPlan::Limit(found) if limit.is_none() => {
                    limit = Some(bounds(found)?);
                    at = &found.input;
                }
                LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                    return Ok(Self { limit, sort: &sort.expr, projections, input: &sort.input });
                }
                _ if limit.is_some() => return Ok(Self { limit, sort: &[], projections, input: at }),
                _ => return Ok(Self { limit, sort: &[], projections: Vec::new(), input: plan }),
            }
        }
    }
}

impl Translation<'_> {
    /// A query whose rows go to the client as they come, with all changes, in one subtask.
    pub(super) async fn live_result(&mut self, plan: &LogicalPlan) -> Result<Stream, SqlError> {
        let order = Order::of(plan)?;
        if order.limit.is_none() && !order.sort.is_empty() {
            let message = "`ORDER BY` of rows that are shown as they come needs a `LIMIT`: what is first of all rows is known when the \
                           input has ended";
            return Err(SqlError::new(SqlErrorCode::Unsupported, message));
        }
        let mut stream = self.root(order.input).await?;
        if let Some(limit) = order.limit {
            stream = self.top_n(stream, &[], order.sort, limit, None)?;
        }
        let mut stream = self.draft.gathered(stream)?;
        for projection in order.projections.into_iter().rev() {
            stream = self.projection(stream, projection)?;
        }
        Ok(stream)
    }

    /// A query whose rows go to the client, in one subtask. Where they change or have an order, they come when the input has ended. So
    /// they do where checkpoints are taken: a job that goes on from one gives only the rows behind it, and what was sent before is void.
    pub(super) async fn result(&mut self, plan: &LogicalPlan) -> Result<Stream, SqlError> {
        let order = Order::of(plan)?;
        let mut stream = self.root(order.input).await?;
        let is_plain = order.sort.is_empty() && !stream.updating && !self.takes_checkpoints;
        if let Some(limit) = order.limit {
            // What cannot be among the answer need not be kept until the end.
            let upto = Place { skip: 0, fetch: limit.skip.saturating_add(limit.fetch) };
            let keep = if is_plain { limit } else { upto };
            stream = self.top_n(stream, &[], order.sort, keep, None)?;
        }
        let mut stream = self.draft.gathered(stream)?;
        if !is_plain {
            let spec = FinalResultSpec {
                order_by: self.sort_keys(order.sort, &stream.schema)?,
                skip: order.limit.map_or(0, |limit| limit.skip),
                fetch: order.limit.map(|limit| limit.fetch),
                columns: encode_columns(stream.schema.inner()).map_err(error::from_datafusion)?,
            };
            let display = format!("FinalResult: orderBy=[{}]", display(order.sort));
            let kind = OperatorKind::FinalResult(Box::new(spec));
            self.draft.vertices[stream.vertex].push("FinalResult", display, kind);
            stream.updating = false;
        }
        for projection in order.projections.into_iter().rev() {
            stream = self.projection(stream, projection)?;
        }
        Ok(stream)
    }
}

/// An order, for people.
pub(super) fn display(sort: &[SortExpr]) -> String {
    sort.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
