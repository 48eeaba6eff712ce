//! A join as of processing time: each row with what a table holds when it comes.

use datafusion::{
    common::JoinType,
    logical_expr::{Join, LogicalPlan},
};
use thalweg_graph::{SqlError, sql_error::SqlErrorCode};

use super::{
    stream::Stream,
    translate::{Translation, unsupported},
    version_side::VersionSide,
    vertex::encode_columns,
};
use crate::{
    error,
    exec::codec,
    stream::{LookupJoinSpec, OperatorKind},
    versions::Dimension,
};

impl Translation<'_> {
    /// Joins rows where they are: the table is read by each subtask.
    pub(super) async fn lookup_join(
        &mut self,
        join: &Join,
        left: Stream,
        side: &VersionSide<'_>,
    ) -> Result<Stream, SqlError> {
        let dimension = &side.as_of.dimension;
        if left.updating {
            return Err(unsupported(&format!(
                "looking up `{}` for rows that change, which would find another row when they are taken back, in streaming mode",
                dimension.name
            )));
        }
        let Some(table) = &dimension.table else {
            return Err(cannot(dimension, "is a view: name its table, and join the rest to the result"));
        };
        if join.on.is_empty() {
            return Err(cannot(dimension, "needs a key: write `ON t.key = ...`"));
        }
        self.connectors.check_lookup(table)?;
        let Some((scan, rows)) = VersionSide::scan(&join.right) else {
            return Err(cannot(dimension, "is more than a table"));
        };
        let width = table.readable_columns().count();
        let projection = scan.projection.clone().unwrap_or_else(|| (0..width).collect());
        let rows = self.plan_of(&LogicalPlan::clone(&rows)).await?;
        let (left_on, right_on): (Vec<_>, Vec<_>) = join.on.iter().cloned().unzip();
        let left_keys = self.physical_all(&left_on, &left)?;
        let right = Stream::of(left.vertex, join.right.schema().clone());
        let right_keys = self.physical_all(&right_on, &right)?;
        let filter = join.filter.as_ref().map(|filter| self.physical(filter, &join.schema)).transpose()?;
        let on: Vec<String> = join.on.iter().map(|(left, right)| format!("{left} = {right}")).collect();
        let condition = filter.as_ref().map_or(String::new(), |filter| format!(", filter=[{filter}]"));
        let display = format!(
            "LookupJoin: type=[{}], table=[{}], on=[{}]{condition}",
            join.join_type,
            dimension.name,
            on.join(", ")
        );
        let spec = || -> datafusion::error::Result<LookupJoinSpec> {
            Ok(LookupJoinSpec {
                keeps_all: join.join_type == JoinType::Left,
                table: table.clone(),
                projection: projection.iter().map(|column| *column as u32).collect(),
                rows: codec::encode(&rows)?,
                left_keys: left_keys.iter().map(codec::encode_expr).collect::<Result<_, _>>()?,
                right_keys: right_keys.iter().map(codec::encode_expr).collect::<Result<_, _>>()?,
                filter: filter.as_ref().map(codec::encode_expr).transpose()?,
                columns: encode_columns(join.schema.inner())?,
            })
        };
        let kind = OperatorKind::LookupJoin(Box::new(spec().map_err(error::from_datafusion)?));
        self.draft.vertices[left.vertex].push("LookupJoin", display, kind);
        let (times, borders, clocks) = (left.times, left.borders, left.clocks);
        Ok(Stream { times, borders, clocks, ..Stream::of(left.vertex, join.schema.clone()) })
    }
}

fn cannot(dimension: &Dimension, why: &str) -> SqlError {
    let message =
        format!("`{}` cannot be looked up `FOR SYSTEM_TIME AS OF` processing time: it {why}", dimension.name);
    SqlError::new(SqlErrorCode::Invalid, message).at(dimension.position)
}
