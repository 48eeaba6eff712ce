//! Holds a table to its `NOT NULL` columns: a NULL that a query brings for one ends the task before it is written.

use arrow::{
    array::{Array as _, RecordBatch},
    datatypes::Schema,
};
use async_trait::async_trait;
use thalweg_graph::{
    CheckpointId,
    checkpoint::Barrier,
    table::{Committable, TableDescriptor},
};

use crate::{
    error::{Error, Result},
    writer::{Prepared, SinkOutcome, SinkWriter},
};

/// The columns of a sink's rows that must not be NULL and may be.
pub struct NotNullColumns {
    table: String,
    columns: Vec<(usize, String)>,
}

impl NotNullColumns {
    /// Those of rows with `schema` for a table.
    pub fn of(table: &TableDescriptor, schema: &Schema) -> Self {
        let fields = schema.fields().iter().enumerate();
        let columns = fields.filter(|(_, field)| field.is_nullable() && table.is_not_null(field.name()));
        let columns = columns.map(|(position, field)| (position, field.name().clone())).collect();
        Self { table: table.path.to_string(), columns }
    }

    /// Whether there is nothing to check.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    fn check(&self, batch: &RecordBatch) -> Result<()> {
        let broken =
            self.columns.iter().find(|(position, _)| batch.column(*position).logical_null_count() > 0);
        match broken {
            None => Ok(()),
            Some((_, column)) => Err(Error::Invalid(format!(
                "column `{column}` of `{}` is NOT NULL, and the query gives NULL for it; filter such rows out, or set \
                 `table.exec.sink.not-null-enforcer` to `DROP`",
                self.table
            ))),
        }
    }
}

/// A writer behind the check.
pub struct NotNullWriter {
    /// What is checked.
    pub columns: NotNullColumns,
    /// Where the rows go.
    pub writer: Box<dyn SinkWriter>,
}

#[async_trait]
impl SinkWriter for NotNullWriter {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.columns.check(&batch)?;
        self.writer.write(batch).await
    }

    fn event_time(&mut self, reached_ms: Option<i64>) {
        self.writer.event_time(reached_ms);
    }

    async fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Option<Committable>> {
        self.writer.prepare(checkpoint).await
    }

    async fn barrier(&mut self, barrier: &Barrier) -> Result<Prepared> {
        self.writer.barrier(barrier).await
    }

    async fn finish(self: Box<Self>) -> Result<SinkOutcome> {
        self.writer.finish().await
    }

    async fn abort(self: Box<Self>) {
        self.writer.abort().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array};
    use thalweg_graph::table::{Column, TablePath};

    use super::*;

    #[test]
    fn a_null_names_its_column_and_the_way_out() {
        let column =
            |name: &str, nullable| Column { name: name.to_owned(), data_type: "INT".to_owned(), nullable };
        let text = |text: &str| text.to_owned();
        let table = TableDescriptor {
            path: TablePath { catalog: text("c"), database: text("d"), table: text("t") },
            columns: vec![column("a", true), column("b", false)],
            metadata: Vec::new(),
            partition_keys: Vec::new(),
            primary_key: Vec::new(),
            options: Default::default(),
        };
        let nulls: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
        let full: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let batch = |b: &ArrayRef| {
            RecordBatch::try_from_iter_with_nullable([
                ("a", Arc::clone(&nulls), true),
                ("b", Arc::clone(b), true),
            ])
            .unwrap()
        };
        let columns = NotNullColumns::of(&table, &batch(&full).schema());
        columns.check(&batch(&full)).unwrap();
        let error = columns.check(&batch(&nulls)).unwrap_err().to_string();
        assert!(error.contains("`b`") && error.contains("`DROP`"), "{error}");
    }
}
