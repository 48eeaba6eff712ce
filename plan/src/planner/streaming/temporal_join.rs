//! A join as of event time: each row with the version of another row that was valid at its time.

use std::sync::Arc;

use datafusion::{
    common::{Column, JoinType},
    logical_expr::{
        Expr, Join, Operator, binary_expr,
        utils::{conjunction, split_conjunction},
    },
    physical_expr::PhysicalExpr,
};
use thalweg_graph::{SqlError, sql_error::SqlErrorCode};

use super::{
    stream::Stream,
    timed_join::Pair,
    translate::{Translation, internal, unsupported},
    version_side::VersionSide,
    vertex::encode_columns,
};
use crate::{
    bare_expr::uncast,
    error,
    exec::codec,
    stream::{PairKind, TemporalJoinSpec},
    versions::{self, AsOfTime},
};

/// What a temporal join asks.
struct Condition<'a> {
    /// The left side's time.
    time: &'a Column,
    /// What must equal the key of a version.
    on: Vec<(Expr, Expr)>,
    /// What must hold for the version that was chosen.
    rest: Option<Expr>,
}

impl<'a> Condition<'a> {
    /// The version is chosen by its key; whatever else must be equal is asked of it afterwards.
    fn of(join: &'a Join, side: &VersionSide<'_>, keys: &[Column]) -> Result<Self, SqlError> {
        let conditions: Vec<&Expr> = join.filter.iter().flat_map(split_conjunction).collect();
        let time = conditions.iter().find_map(|condition| versions::times_of(condition));
        let (time, _) = time.ok_or_else(|| internal("a temporal join lost its time"))?;
        let (table, seen) = (side.as_of.input.schema(), join.right.schema());
        let is_key = |expr: &Expr, key: &Column| match uncast(expr) {
            Expr::Column(column) => {
                let at = seen.maybe_index_of_column(column).map(|at| side.picks[at]);
                at.is_some() && at == table.maybe_index_of_column(key)
            }
            _ => false,
        };
        let mut on = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(pair) = join.on.iter().find(|(_, right)| is_key(right, key)) else {
                let message = format!(
                    "a temporal join looks a version up by the key of `{}`: its condition must say `{} = ...` with the key's own type",
                    side.as_of.dimension.name, key.name
                );
                return Err(SqlError::new(SqlErrorCode::Invalid, message).at(side.as_of.dimension.position));
            };
            on.push(pair.clone());
        }
        let others = join.on.iter().filter(|pair| !on.contains(pair));
        let others: Vec<Expr> =
            others.map(|(left, right)| binary_expr(left.clone(), Operator::Eq, right.clone())).collect();
        let is_rest = |condition: &&Expr| versions::times_of(condition).is_none();
        let rest = conjunction(others.into_iter().chain(conditions.into_iter().filter(is_rest).cloned()));
        Ok(Self { time, on, rest })
    }
}

impl Translation<'_> {
    /// Both sides meet where equal keys do; a row waits until event time has passed it.
    pub(super) async fn temporal_join(
        &mut self,
        join: &Join,
        left: Stream,
        side: &VersionSide<'_>,
        (begin, keys): (&Column, &[Column]),
    ) -> Result<Stream, SqlError> {
        let name = &side.as_of.dimension.name;
        if left.updating {
            return Err(unsupported(&format!(
                "a temporal join of `{name}` with rows that change, which may be taken back when event time has passed them, in streaming mode"
            )));
        }
        let right = self.root(&side.as_of.input).await?;
        let Condition { time, on, rest } = Condition::of(join, side, keys)?;
        for (column, stream, of) in [(time, &left, "the left side"), (begin, &right, name.as_str())] {
            if !stream.is_time(column) {
                let message = format!(
                    "a temporal join on a stream goes by event time, and `{}` of {of} is none: declare `WATERMARK FOR {} AS ...` on its table",
                    column.name, column.name
                );
                return Err(SqlError::new(SqlErrorCode::Invalid, message).at(side.as_of.dimension.position));
            }
        }
        let (left_on, right_on): (Vec<_>, Vec<_>) = on.iter().cloned().unzip();
        let left_keys = self.physical_all(&left_on, &left)?;
        let right_on = right_on.iter().map(|key| side.of_table(key, &join.right));
        let right_keys = self.physical_all(&right_on.collect::<Result<Vec<_>, _>>()?, &right)?;
        let predicate = side.predicate();
        let predicate = predicate.map(|predicate| self.physical(&predicate, &right.schema)).transpose()?;
        let filter = rest.map(|rest| self.physical(&rest, &join.schema)).transpose()?;
        let encoded = |expr: Option<&Arc<dyn PhysicalExpr>>| {
            expr.map(codec::encode_expr).transpose().map_err(error::from_datafusion)
        };
        let spec = TemporalJoinSpec {
            keeps_all: join.join_type == JoinType::Left,
            left: self.timed_rows(&left, time, &left_keys)?,
            right: self.timed_rows(&right, begin, &right_keys)?,
            predicate: encoded(predicate.as_ref())?,
            picks: side.picks.iter().map(|pick| *pick as u32).collect(),
            filter: encoded(filter.as_ref())?,
            columns: encode_columns(join.schema.inner()).map_err(error::from_datafusion)?,
        };
        let on: Vec<String> = on.iter().map(|(left, right)| format!("{left} = {right}")).collect();
        let condition = filter.map_or(String::new(), |filter| format!(", filter=[{filter}]"));
        let display = format!(
            "TemporalJoin: type=[{}], table=[{name}], on=[{}], time=[{time}]{condition}",
            join.join_type,
            on.join(", ")
        );
        let (left_to, parallelism) = self.by_keys(&left_keys).map_err(error::from_datafusion)?;
        let (right_to, _) = self.by_keys(&right_keys).map_err(error::from_datafusion)?;
        let (times, borders) = (vec![time.clone()], left.borders.clone());
        let pair = Pair { left, right, partitionings: [left_to, right_to], parallelism };
        let kind = PairKind::TemporalJoin(Box::new(spec));
        let vertex = self.draft.pair(&pair, "TemporalJoin", display, kind)?;
        Ok(Stream { times, borders, ..Stream::of(vertex, Arc::clone(&join.schema)) })
    }

    /// The join as of a time that a join is, if it is one.
    pub(super) async fn as_of_join(&mut self, join: &Join) -> Result<Option<Stream>, SqlError> {
        let Some(side) = VersionSide::of(&join.right)? else { return Ok(None) };
        let left = self.root(&join.left).await?;
        match &side.as_of.time {
            AsOfTime::Processing => self.lookup_join(join, left, &side).await.map(Some),
            AsOfTime::Event { begin, keys } => {
                self.temporal_join(join, left, &side, (begin, keys)).await.map(Some)
            }
            AsOfTime::Named(_) => Err(internal("a join as of a time does not know which")),
        }
    }
}
