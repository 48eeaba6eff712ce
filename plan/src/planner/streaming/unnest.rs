//! Rows repeated for each item of an array or map of theirs.

use std::sync::Arc;

use datafusion::{
    common::Column,
    logical_expr::{LogicalPlan, Unnest},
};
use thalweg_graph::SqlError;

use super::{
    stream::{Stream, fields_of, schema_of},
    translate::Translation,
    vertex::encode_columns,
    within::stand_in,
};
use crate::{
    error,
    exec::codec,
    stream::{OperatorKind, changelog::weight_field},
};

impl Translation<'_> {
    /// Rows pass one by one; a row that is taken back takes its items back.
    pub(super) async fn unnest(&mut self, unnest: &Unnest) -> Result<Stream, SqlError> {
        let input = self.root(&unnest.input).await?;
        let mut fields = fields_of(unnest.input.schema());
        if input.updating {
            fields.push((None, Arc::new(weight_field())));
        }
        let rows = stand_in(&schema_of(fields).map_err(error::from_datafusion)?);
        let over = Unnest::try_new(rows, unnest.exec_columns.clone(), unnest.options.clone());
        let over = LogicalPlan::Unnest(over.map_err(error::from_datafusion)?);
        let plan = self.plan_of(&over).await?;
        let kept = |column: &Column| {
            let is_item = unnest.exec_columns.iter().any(|item| item.name == column.name);
            !is_item && unnest.schema.has_column(column)
        };
        let times = input.times.iter().filter(|time| kept(time)).cloned().collect();
        let borders = input.borders.iter().filter(|(border, _)| kept(border)).cloned().collect();
        let clocks = input.clocks.iter().filter(|clock| kept(clock)).cloned().collect();
        let (vertex, updating) = (input.vertex, input.updating);
        let stream =
            Stream { updating, times, borders, clocks, ..Stream::of(vertex, Arc::clone(&unnest.schema)) };
        let kind = OperatorKind::Unnest {
            plan: codec::encode(&plan).map_err(error::from_datafusion)?,
            columns: stream
                .columns()
                .and_then(|columns| encode_columns(columns.inner()))
                .map_err(error::from_datafusion)?,
        };
        let items: Vec<&str> = unnest.exec_columns.iter().map(|column| column.name.as_str()).collect();
        let display = format!("Unnest: [{}]", items.join(", "));
        self.draft.vertices[vertex].push("Unnest", display, kind);
        Ok(stream)
    }
}
