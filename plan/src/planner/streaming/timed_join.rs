//! Joins that need not keep rows for ever: of rows in the same window, and of rows whose times are not far apart.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::{
    common::JoinType,
    logical_expr::{Expr, Join, LogicalPlan},
    physical_plan::PhysicalExpr,
};
use thalweg_graph::{SqlError, VertexOutput, exchange::Partitioning};

use super::{
    Draft,
    interval::Interval,
    stream::Stream,
    translate::Translation,
    vertex::{StreamVertex, VertexHead, encode_columns},
    within::stand_in,
};
use crate::{
    error,
    exec::codec,
    panes::WindowBound,
    stream::{IntervalJoinSpec, PairKind, WindowJoinSpec},
};

/// Two sides on their way into one vertex.
pub(super) struct Pair {
    pub left: Stream,
    pub right: Stream,
    /// How the rows of each side are divided.
    pub partitionings: [Partitioning; 2],
    pub parallelism: u32,
}

/// What the kinds of joins have in common.
struct Joining {
    /// The join over stand-ins.
    plan: Bytes,
    left_keys: Vec<Arc<dyn PhysicalExpr>>,
    right_keys: Vec<Arc<dyn PhysicalExpr>>,
    columns: Bytes,
    display: String,
}

impl Translation<'_> {
    /// Whether a join is of rows that are each in one window.
    pub(super) fn is_of_windows(join: &Join, left: &Stream, right: &Stream) -> bool {
        let equal = |wanted: WindowBound| {
            let is_it =
                |(a, b): &(Expr, Expr)| left.border(a) == Some(wanted) && right.border(b) == Some(wanted);
            join.on.iter().any(is_it)
        };
        !left.updating && !right.updating && equal(WindowBound::Start) && equal(WindowBound::End)
    }

    async fn joining(&self, join: &Join, left: &Stream, right: &Stream) -> Result<Joining, SqlError> {
        let all = LogicalPlan::Join(Join {
            left: stand_in(join.left.schema()),
            right: stand_in(join.right.schema()),
            ..join.clone()
        });
        let plan = self.plan_of(&all).await?;
        let (left_on, right_on): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
        let on: Vec<String> = join.on.iter().map(|(left, right)| format!("{left} = {right}")).collect();
        let filter = join.filter.as_ref().map(|filter| format!(", filter={filter}")).unwrap_or_default();
        Ok(Joining {
            plan: codec::encode(&plan).map_err(error::from_datafusion)?,
            left_keys: self.physical_all(&left_on, left)?,
            right_keys: self.physical_all(&right_on, right)?,
            columns: encode_columns(join.schema.inner()).map_err(error::from_datafusion)?,
            display: format!("{}, on=[{}]{filter}", join.join_type, on.join(", ")),
        })
    }

    /// Both sides on their way to where equal keys meet.
    fn meeting(&self, left: Stream, right: Stream, joining: &Joining) -> Result<Pair, SqlError> {
        let (left_to, parallelism) = self.by_keys(&joining.left_keys).map_err(error::from_datafusion)?;
        let (right_to, _) = self.by_keys(&joining.right_keys).map_err(error::from_datafusion)?;
        Ok(Pair { left, right, partitionings: [left_to, right_to], parallelism })
    }

    /// A join of rows of the same window.
    pub(super) async fn window_join(
        &mut self,
        join: &Join,
        left: Stream,
        right: Stream,
    ) -> Result<Stream, SqlError> {
        let joining = self.joining(join, &left, &right).await?;
        let spec = WindowJoinSpec {
            plan: joining.plan.clone(),
            left: self.windowed_rows(&left, &joining.left_keys)?,
            right: self.windowed_rows(&right, &joining.right_keys)?,
            columns: joining.columns.clone(),
        };
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
        let display = format!("WindowJoin: {}", joining.display);
        let pair = self.meeting(left, right, &joining)?;
        let vertex = self.draft.pair(&pair, "WindowJoin", display, PairKind::WindowJoin(Box::new(spec)))?;
        Ok(Stream { borders, ..Stream::of(vertex, Arc::clone(&join.schema)) }.timed_by_windows())
    }

    /// A join of rows whose times are not far apart.
    pub(super) async fn interval_join(
        &mut self,
        join: &Join,
        left: Stream,
        right: Stream,
        interval: Interval,
    ) -> Result<Stream, SqlError> {
        let joining = self.joining(join, &left, &right).await?;
        let (lower_ms, upper_ms) = (interval.lower_ms, interval.upper_ms);
        let spec = IntervalJoinSpec {
            plan: joining.plan.clone(),
            left: self.timed_rows(&left, &interval.left, &joining.left_keys)?,
            right: self.timed_rows(&right, &interval.right, &joining.right_keys)?,
            lower_ms,
            upper_ms,
            columns: joining.columns.clone(),
        };
        let mut times = Vec::new();
        times.extend(left.is_time(&interval.left).then(|| interval.left.clone()));
        times.extend(right.is_time(&interval.right).then(|| interval.right.clone()));
        let display = format!("IntervalJoin: {lower_ms} to {upper_ms} ms, {}", joining.display);
        let pair = self.meeting(left, right, &joining)?;
        let vertex =
            self.draft.pair(&pair, "IntervalJoin", display, PairKind::IntervalJoin(Box::new(spec)))?;
        Ok(Stream { times, ..Stream::of(vertex, Arc::clone(&join.schema)) })
    }
}

impl Draft {
    /// Adds a vertex of an operator of two inputs; says which.
    pub(super) fn pair(
        &mut self,
        pair: &Pair,
        name: &str,
        display: String,
        kind: PairKind,
    ) -> Result<usize, SqlError> {
        let target = self.vertices.len();
        let [left, right] = &pair.partitionings;
        let columns = |side: &Stream| -> Result<_, SqlError> {
            Ok(side.columns().map_err(error::from_datafusion)?.inner().clone())
        };
        let left = (self.edge(&pair.left, target, left.clone()), columns(&pair.left)?);
        let right = (self.edge(&pair.right, target, right.clone()), columns(&pair.right)?);
        let inputs = [left, right];
        self.vertices.push(StreamVertex {
            parallelism: pair.parallelism,
            head: VertexHead::Pair { inputs, name: name.to_owned(), display, kind },
            chain: Vec::new(),
            updating: false,
            late: None,
            output: VertexOutput::Edges,
        });
        Ok(target)
    }
}
