//! Where a stream leaves the job: what a query answers when its input ends, and which sinks take rows that change.

use std::sync::Arc;

use datafusion::logical_expr::{LogicalPlan, Projection, SortExpr};
use thalweg_graph::{SqlError, sql_error::SqlErrorCode, table::SinkDescriptor};

use super::{
    stream::Stream,
    top_n::{Place, bounds},
    translate::Translation,
    vertex::encode_columns,
};
use crate::{
    connect::{Connectors, SinkChanges},
    error,
    stream::{FinalResultSpec, OperatorKind},
};

/// Refuses to put rows that change into a table that cannot take them back.
pub(super) fn check_sink(
    stream: &Stream,
    sink: &SinkDescriptor,
    connectors: &dyn Connectors,
) -> Result<(), SqlError> {
    if !stream.updating || connectors.sink_changes(sink)? != SinkChanges::Inserts {
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

/// The order of a query's answer.
#[derive(Default)]
struct Order<'a> {
    sort: &'a [SortExpr],
    /// What is computed of ordered rows, the last one first.
    projections: Vec<&'a Projection>,
}

impl<'a> Order<'a> {
    /// The order that a plan asks for, and what is ordered.
    fn of(plan: &'a LogicalPlan) -> (Self, &'a LogicalPlan) {
        let mut projections = Vec::new();
        let mut at = plan;
        while let LogicalPlan::Projection(projection) = at {
            projections.push(projection);
            at = &projection.input;
        }
        match at {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => {
                (Self { sort: &sort.expr, projections }, &sort.input)
            }
            _ => (Self::default(), plan),
        }
    }
}

impl Translation<'_> {
    /// A query whose rows go to the client, in one subtask. Where they change or have an order, they come when the input has ended.
    pub(super) async fn result(&mut self, plan: &LogicalPlan) -> Result<Stream, SqlError> {
        let (limit, below) = match plan {
            LogicalPlan::Limit(limit) => (Some(bounds(limit)?), limit.input.as_ref()),
            plan => (None, plan),
        };
        let (order, input) = Order::of(below);
        let mut stream = self.root(input).await?;
        if let Some(limit) = limit {
            // What cannot be among the answer need not be kept until the end.
            let upto = Place { skip: 0, fetch: limit.skip.saturating_add(limit.fetch) };
            let keep = if order.sort.is_empty() && !stream.updating { limit } else { upto };
            stream = self.top_n(stream, &[], order.sort, keep, None)?;
        }
        let stream = self.draft.gathered(stream)?;
        if !stream.updating && order.sort.is_empty() {
            return Ok(stream);
        }
        let spec = FinalResultSpec {
            order_by: self.sort_keys(order.sort, &stream.schema)?,
            skip: limit.map_or(0, |limit| limit.skip),
            fetch: limit.map(|limit| limit.fetch),
            columns: encode_columns(stream.schema.inner()).map_err(error::from_datafusion)?,
        };
        let display = format!("FinalResult: orderBy=[{}]", display(order.sort));
        let kind = OperatorKind::FinalResult(Box::new(spec));
        self.draft.vertices[stream.vertex].push("FinalResult", display, kind);
        let mut stream = Stream { schema: Arc::clone(&stream.schema), updating: false, ..stream };
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
