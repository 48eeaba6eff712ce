//! The way of late rows: from every operator that leaves some out, over an edge of their own, into one table.

use std::sync::Arc;

use datafusion::common::DFSchema;
use thalweg_graph::{
    EdgeId, JobEdge, SqlError, VertexId, VertexOutput,
    exchange::{ExchangeKind, Partitioning},
};

use super::{
    Draft,
    stream::Stream,
    translate::Translation,
    vertex::{StreamVertex, VertexHead},
};
use crate::{error, stream::late_columns};

impl Draft {
    /// Whether any operator so far leaves out rows that come too late.
    pub(super) fn leaves_out_late_rows(&self) -> bool {
        self.vertices.iter().any(StreamVertex::leaves_out_late_rows)
    }
}

impl Translation<'_> {
    /// The late rows of all vertices so far. They are few, so one subtask takes them.
    pub(super) fn late_rows(&mut self) -> Result<Stream, SqlError> {
        let draft = &mut *self.draft;
        let target = draft.vertices.len();
        let mut edges = Vec::new();
        for (position, vertex) in draft.vertices.iter_mut().enumerate() {
            if !vertex.leaves_out_late_rows() {
                continue;
            }
            let id = EdgeId(draft.edges.len() as u32);
            draft.edges.push(JobEdge {
                id,
                source: VertexId(position as u32),
                target: VertexId(target as u32),
                partitioning: Partitioning::Single,
                kind: ExchangeKind::Pipelined,
            });
            vertex.late = Some(id);
            edges.push(id);
        }
        let schema = late_columns();
        draft.vertices.push(StreamVertex {
            parallelism: 1,
            head: VertexHead::Edges { edges, schema: Arc::clone(&schema) },
            chain: Vec::new(),
            updating: false,
            late: None,
            output: VertexOutput::Edges,
        });
        let schema = DFSchema::try_from(schema).map_err(error::from_datafusion)?;
        Ok(Stream::of(target, Arc::new(schema)))
    }
}
