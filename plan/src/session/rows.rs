//! Rows that the session itself makes: a few columns of text.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use thalweg_graph::{SqlError, sql_error::SqlErrorCode};

use super::Outcome;

/// Rows of text, being collected.
#[derive(Debug)]
pub struct Rows {
    names: Vec<&'static str>,
    columns: Vec<Vec<Option<String>>>,
}

impl Rows {
    /// No rows of these columns.
    pub fn new(names: &[&'static str]) -> Self {
        Self { names: names.to_vec(), columns: vec![Vec::new(); names.len()] }
    }

    /// One column with these values.
    pub fn of(name: &'static str, values: impl IntoIterator<Item = String>) -> Self {
        Self { names: vec![name], columns: vec![values.into_iter().map(Some).collect()] }
    }

    /// Adds a row.
    pub fn push<const N: usize>(&mut self, row: [Option<String>; N]) {
        for (column, value) in self.columns.iter_mut().zip(row) {
            column.push(value);
        }
    }

    /// Takes the last column away.
    pub fn drop_last(&mut self) {
        self.names.pop();
        self.columns.pop();
    }

    /// The rows as a statement's outcome.
    pub fn outcome(self) -> Result<Outcome, SqlError> {
        let (schema, batches) = self.batches()?;
        Ok(Outcome::Rows { schema, batches })
    }

    /// The rows and their columns.
    pub fn batches(self) -> Result<(SchemaRef, Vec<RecordBatch>), SqlError> {
        let fields: Vec<Field> =
            self.names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let arrays = self.columns.into_iter().map(|column| Arc::new(StringArray::from(column)) as ArrayRef);
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays.collect())
            .map_err(|error| SqlError::new(SqlErrorCode::Internal, error.to_string()))?;
        Ok((schema, vec![batch]))
    }
}
