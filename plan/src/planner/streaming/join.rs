//! Joins of a stream: of rows in the same window.

use std::sync::Arc;

use datafusion::{
    common::JoinType,
    logical_expr::{Expr, Join, LogicalPlan},
};
use thalweg_graph::{SqlError, VertexOutput, exchange::Partitioning};

use super::{
    Draft,
    stream::Stream,
    translate::{Translation, unsupported},
    vertex::{StreamVertex, VertexHead, encode_columns},
    within::stand_in,
};
use crate::{
    error,
    exec::codec,
    panes::WindowBound,
    stream::{PairKind, WindowJoinSpec},
};

/// Two sides on their way into one vertex.
pub(super) struct Pair {
    pub left: Stream,
    pub right: Stream,
    /// How the rows of each side are divided.
    pub partitionings: [Partitioning; 2],
    pub parallelism: u32,
}

impl Translation<'_> {
    /// A join of rows that are each in one window.
    pub(super) async fn join(&mut self, join: &Join) -> Result<Stream, SqlError> {
        let left = self.root(&join.left).await?;
        let right = self.root(&join.right).await?;
        let equal = |wanted: WindowBound| {
            let is_it =
                |(a, b): &(Expr, Expr)| left.border(a) == Some(wanted) && right.border(b) == Some(wanted);
            join.on.iter().any(is_it)
        };
        if !equal(WindowBound::Start) || !equal(WindowBound::End) {
            return Err(unsupported(
                "a join that does not compare `window_start` and `window_end` of both sides in streaming mode",
            ));
        }
        self.window_join(join, left, right).await
    }

    async fn window_join(&mut self, join: &Join, left: Stream, right: Stream) -> Result<Stream, SqlError> {
        let all = LogicalPlan::Join(Join {
            left: stand_in(join.left.schema()),
            right: stand_in(join.right.schema()),
            ..join.clone()
        });
        let plan = self.plan_of(&all).await?;
        let (left_on, right_on): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
        let (left_keys, right_keys) =
            (self.physical_all(&left_on, &left)?, self.physical_all(&right_on, &right)?);
        let spec = WindowJoinSpec {
            plan: codec::encode(&plan).map_err(error::from_datafusion)?,
            left: self.windowed_rows(&left, &left_keys)?,
            right: self.windowed_rows(&right, &right_keys)?,
            columns: encode_columns(join.schema.inner()).map_err(error::from_datafusion)?,
        };
        let (left_to, parallelism) = self.by_keys(&left_keys).map_err(error::from_datafusion)?;
        let (right_to, _) = self.by_keys(&right_keys).map_err(error::from_datafusion)?;
        let borders = match join.join_type {
            JoinType::Inner => left.borders.iter().chain(&right.borders).cloned().collect(),
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                left.borders.clone()
            }
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                right.borders.clone()
            }
            // Each side's are NULL where the other has no row.
            JoinType::Full => Vec::new(),
        };
        let on: Vec<String> = join.on.iter().map(|(left, right)| format!("{left} = {right}")).collect();
        let filter = join.filter.as_ref().map(|filter| format!(", filter={filter}")).unwrap_or_default();
        let display = format!("WindowJoin: {}, on=[{}]{filter}", join.join_type, on.join(", "));
        let pair = Pair { left, right, partitionings: [left_to, right_to], parallelism };
        let kind = PairKind::WindowJoin(Box::new(spec));
        let vertex = self.draft.pair(&pair, "WindowJoin", display, kind);
        Ok(Stream { borders, ..Stream::of(vertex, Arc::clone(&join.schema)) }.timed_by_windows())
    }
}

impl Draft {
    /// Adds a vertex of an operator of two inputs; says which.
    pub(super) fn pair(&mut self, pair: &Pair, name: &str, display: String, kind: PairKind) -> usize {
        let target = self.vertices.len();
        let [left, right] = &pair.partitionings;
        let left = (self.edge(pair.left.vertex, target, left.clone()), pair.left.schema.inner().clone());
        let right = (self.edge(pair.right.vertex, target, right.clone()), pair.right.schema.inner().clone());
        self.vertices.push(StreamVertex {
            parallelism: pair.parallelism,
            head: VertexHead::Pair { left, right, name: name.to_owned(), display, kind },
            chain: Vec::new(),
            output: VertexOutput::Edges,
        });
        target
    }
}
