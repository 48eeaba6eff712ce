//! How rows that change travel: as rows with weights.
//!
//! A stream that only adds rows has its columns and no more. One that also takes rows back has one more column at the end, [`WEIGHT`]:
//! how many times a row is added, or, below zero, taken back. What a table holds is the sum of the weights of equal rows, in
//! whatever order they came, so that weights of equal rows may be added up anywhere.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
pub use thalweg_graph::change_kind::WEIGHT;

/// The column with a row's weight.
pub fn weight_field() -> Field {
    Field::new(WEIGHT, DataType::Int64, false)
}

/// The columns of a stream that also takes rows with these columns back.
pub fn with_weight(columns: &Schema) -> SchemaRef {
    let fields = columns.fields().iter().cloned().chain([Arc::new(weight_field())]);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Whether rows with these columns have weights.
pub fn is_updating(columns: &Schema) -> bool {
    columns.fields().last().is_some_and(|field| field.name() == WEIGHT)
}

/// The columns without the weight.
pub fn without_weight(columns: &SchemaRef) -> SchemaRef {
    match is_updating(columns) {
        true => Arc::new(Schema::new(columns.fields()[..columns.fields().len() - 1].to_vec())),
        false => Arc::clone(columns),
    }
}
