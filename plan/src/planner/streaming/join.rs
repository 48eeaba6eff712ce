//! Joins of all rows of two streams: both are kept, since any of them may find a partner later.

use std::sync::Arc;

use datafusion::{
    common::{JoinType, NullEquality},
    logical_expr::{ExprSchemable as _, Join},
    physical_expr::PhysicalExpr,
};
use thalweg_graph::{SqlError, VertexOutput};

use super::{
    interval::Interval,
    stream::Stream,
    translate::{Translation, unsupported},
    vertex::{StreamVertex, VertexHead, encode_columns},
};
use crate::{
    error,
    exec::codec,
    stream::{JoinKind, JoinSpec, PairKind},
};

impl Translation<'_> {
    /// A join. What it puts out is only added where both sides are and nothing is put out for want of a partner.
    pub(super) async fn join(&mut self, join: &Join) -> Result<Stream, SqlError> {
        if let Some(joined) = self.as_of_join(join).await? {
            return Ok(joined);
        }
        let left = self.root(&join.left).await?;
        let right = self.root(&join.right).await?;
        if Self::is_of_windows(join, &left, &right) {
            return self.window_join(join, left, right).await;
        }
        if join.join_type == JoinType::Inner
            && let Some(interval) = Interval::of(join, &left, &right)
        {
            return self.interval_join(join, left, right, interval).await;
        }
        let kind = kind(join)?;
        let mut left_keys = Vec::with_capacity(join.on.len());
        let mut right_keys = Vec::with_capacity(join.on.len());
        for (left_key, right_key) in &join.on {
            left_keys.push(self.physical(left_key, &left.schema)?);
            right_keys.push(self.physical(right_key, &right.schema)?);
        }
        let mut filter = None;
        if let Some(condition) = &join.filter {
            let both = left.schema.join(&right.schema).map_err(error::from_datafusion)?;
            filter = Some(self.physical(condition, &both)?);
        }
        let updating = left.updating || right.updating || kind.takes_back();
        let vertex = self.draft.vertices.len();
        let (left_partitioning, parallelism) = self.by_keys(&left_keys).map_err(error::from_datafusion)?;
        let (right_partitioning, _) = self.by_keys(&right_keys).map_err(error::from_datafusion)?;
        let schema = Arc::clone(&join.schema);
        let stream = Stream { updating, ..Stream::of(vertex, schema) };
        let mut on = Vec::with_capacity(left_keys.len());
        for (left_key, right_key) in left_keys.iter().zip(&right_keys) {
            on.push(format!("{left_key} = {right_key}"));
        }
        let condition = filter.as_ref().map_or(String::new(), |filter| format!(", filter=[{filter}]"));
        let display = format!("Join: type=[{}], on=[{}]{condition}", join.join_type, on.join(", "));
        let spec = || -> datafusion::error::Result<JoinSpec> {
            let encode = |keys: &[Arc<dyn PhysicalExpr>]| -> datafusion::error::Result<Vec<_>> {
                keys.iter().map(codec::encode_expr).collect()
            };
            Ok(JoinSpec {
                kind,
                left_keys: encode(&left_keys)?,
                right_keys: encode(&right_keys)?,
                nulls_equal: join.null_equality == NullEquality::NullEqualsNull,
                filter: filter.as_ref().map(codec::encode_expr).transpose()?,
                columns: encode_columns(stream.columns()?.inner())?,
            })
        };
        let spec = spec().map_err(error::from_datafusion)?;
        let columns = |side: &Stream| Ok(Arc::clone(side.columns().map_err(error::from_datafusion)?.inner()));
        let inputs = [
            (self.draft.edge(&left, vertex, left_partitioning), columns(&left)?),
            (self.draft.edge(&right, vertex, right_partitioning), columns(&right)?),
        ];
        let kind = PairKind::Join(Box::new(spec));
        self.draft.vertices.push(StreamVertex {
            parallelism,
            head: VertexHead::Pair { inputs, name: "Join".to_owned(), display, kind },
            chain: Vec::new(),
            updating: false,
            late: None,
            output: VertexOutput::Edges,
        });
        Ok(stream)
    }
}

fn kind(join: &Join) -> Result<JoinKind, SqlError> {
    if join.null_aware {
        for (left, right) in &join.on {
            let nullable = left
                .nullable(join.left.schema())
                .and_then(|left| Ok(left || right.nullable(join.right.schema())?));
            if nullable.map_err(error::from_datafusion)? {
                return Err(unsupported(
                    "`NOT IN` of values that may be NULL in streaming mode (write `NOT EXISTS`, or declare the columns NOT NULL)",
                ));
            }
        }
    }
    Ok(match join.join_type {
        JoinType::Inner => JoinKind::Inner,
        JoinType::Left => JoinKind::Left,
        JoinType::Right => JoinKind::Right,
        JoinType::Full => JoinKind::Full,
        JoinType::LeftSemi => JoinKind::LeftSemi,
        JoinType::LeftAnti => JoinKind::LeftAnti,
        JoinType::RightSemi => JoinKind::RightSemi,
        JoinType::RightAnti => JoinKind::RightAnti,
        JoinType::LeftMark | JoinType::RightMark => {
            return Err(unsupported("`IN` or `EXISTS` as a part of an expression in streaming mode"));
        }
    })
}
