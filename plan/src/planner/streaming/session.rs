//! Sessions of a stream: aggregated as their rows come, or assigned to single rows when they are complete.

use datafusion::{
    common::{Column, DFSchema},
    logical_expr::{Aggregate, Expr},
};
use thalweg_graph::SqlError;

use super::{
    aggregate::results_of,
    stream::{PendingWindows, Stream},
    translate::Translation,
    vertex::encode_columns,
};
use crate::{
    error,
    exec::codec,
    stream::{AssignSessionsSpec, OperatorKind, SessionAggregateSpec},
};

impl Translation<'_> {
    /// An aggregation by sessions and exactly their keys.
    pub(super) fn session_aggregate(
        &mut self,
        input: Stream,
        aggregate: &Aggregate,
        pending: &PendingWindows,
        gap_ms: i64,
    ) -> Result<Stream, SqlError> {
        let parts = self.parts(&input, aggregate, pending)?;
        let spec = SessionAggregateSpec {
            plan: codec::encode(&parts.plan).map_err(error::from_datafusion)?,
            gap_ms,
            time: self.position(&input, &pending.time)?,
            output: parts.output,
            columns: encode_columns(aggregate.schema.inner()).map_err(error::from_datafusion)?,
        };
        let vertex = self.keyed(&input, &parts.row_keys)?;
        let display = format!("SessionAggregate: gap={gap_ms} ms, keys=[{}]", parts.key_names.join(", "));
        let kind = OperatorKind::SessionAggregate(Box::new(spec));
        self.draft.vertices[vertex].push("SessionAggregate", display, kind);
        Ok(results_of(&input, aggregate, pending, vertex))
    }

    /// The vertex where rows have got the borders of their sessions.
    pub(super) fn assign_sessions(
        &mut self,
        input: &Stream,
        pending: &PendingWindows,
        gap_ms: i64,
        keys: &[Column],
        schema: &DFSchema,
    ) -> Result<usize, SqlError> {
        let positions = keys.iter().map(|key| self.position(input, key)).collect::<Result<_, _>>()?;
        let exprs = keys.iter().map(|key| self.physical(&Expr::Column(key.clone()), &input.schema));
        let exprs = exprs.collect::<Result<Vec<_>, _>>()?;
        let spec = AssignSessionsSpec {
            gap_ms,
            time: self.position(input, &pending.time)?,
            keys: positions,
            bounds: pending.columns.iter().map(|(_, bound)| *bound).collect(),
            columns: encode_columns(schema.inner()).map_err(error::from_datafusion)?,
        };
        let vertex = self.keyed(input, &exprs)?;
        let display = format!("WindowTableFunction: {}", pending.windows);
        let kind = OperatorKind::AssignSessions(Box::new(spec));
        self.draft.vertices[vertex].push("WindowTableFunction", display, kind);
        Ok(vertex)
    }
}
