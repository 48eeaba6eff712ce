//! What there is to say of a planned stream: which changes its vertices put out, and whose state grows as long as it runs.

use thalweg_graph::{
    JobGraph, JobVertex, SqlError,
    options::{self, StateBackend},
    sql_error::SqlErrorCode,
};

use crate::stream::{Head, OperatorKind, PairKind, StreamFragment};

/// For each vertex the kinds of changes that it puts out, as Flink writes them.
pub fn changelog_modes(graph: &JobGraph) -> Result<Vec<String>, SqlError> {
    let line = |vertex: &JobVertex| {
        let mode = if fragment(vertex)?.updating { "[I,UB,UA,D]" } else { "[I]" };
        Ok(format!("Vertex {}: {mode}", vertex.id.0))
    };
    graph.vertices.iter().map(line).collect()
}

/// The operators that keep more the longer the job runs, each with what it keeps.
pub fn growing(graph: &JobGraph) -> Result<Vec<String>, SqlError> {
    let forgets = !graph.options.get(&options::STATE_TTL).unwrap_or_default().is_zero();
    let on_disk = graph.options.get(&options::STATE_BACKEND) == Ok(StateBackend::Lsm);
    // These do whichever backend is chosen.
    let in_memory = if on_disk { ", in memory" } else { "" };
    let mut growing = Vec::new();
    for vertex in &graph.vertices {
        let fragment = fragment(vertex)?;
        // Joins of windows and intervals keep rows until event time has passed them.
        if let Head::Pair { name, kind: PairKind::Join(_), .. } = &fragment.head
            && !forgets
        {
            growing
                .push(format!("`{name}` of vertex {} keeps every row of both sides{in_memory}", vertex.id.0));
        }
        if let Head::Pair { name, kind: PairKind::TemporalJoin(_), .. } = &fragment.head {
            growing.push(format!(
                "`{name}` of vertex {} keeps the last version of each key{in_memory}",
                vertex.id.0
            ));
        }
        for operator in fragment.chain.iter().filter(|operator| operator.kind.has_state()) {
            let (what, place) = match &operator.kind {
                OperatorKind::GroupAggregate(_) if !forgets => ("a result for each key", ""),
                OperatorKind::OverAggregate(_) => ("the last rows of each key", in_memory),
                OperatorKind::OverPartitions(_) => ("all rows of each partition", in_memory),
                OperatorKind::ChangelogNormalize { .. } => ("the last row of each key", in_memory),
                OperatorKind::TopN(top_n) if !forgets && !top_n.partition_by.is_empty() => {
                    ("rows of each partition", in_memory)
                }
                _ => continue,
            };
            growing.push(format!("`{}` of vertex {} keeps {what}{place}", operator.name, vertex.id.0));
        }
    }
    Ok(growing)
}

fn fragment(vertex: &JobVertex) -> Result<StreamFragment, SqlError> {
    StreamFragment::decode(&vertex.fragment.plan)
        .map_err(|error| SqlError::new(SqlErrorCode::Internal, error.to_string()))
}
