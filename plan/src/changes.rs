//! Changelogs: rows that come and go. Each has a weight, +1 for a row that is there from now on and -1 for one that was there until
//! now, in one more column at the end; rows without that column are all there to stay.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

/// The name of the column with the weights: an `Int64` that is never NULL, behind all others.
pub const WEIGHT_COLUMN: &str = "__weight";

/// What can become of a table's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// They stay as they come.
    Append,
    /// A row replaces the one with the same primary key; a row of weight -1 is that key's end and has nothing but the key.
    Upsert,
    /// They are taken back as they were given, column by column.
    All,
}

/// The columns of a changelog of rows with `schema`.
pub fn weighted(schema: &SchemaRef) -> SchemaRef {
    if is_weighted(schema) {
        return Arc::clone(schema);
    }
    let weight = Field::new(WEIGHT_COLUMN, DataType::Int64, false);
    let fields = schema.fields().iter().map(|field| field.as_ref().clone()).chain([weight]);
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// Whether rows with `schema` have weights.
pub fn is_weighted(schema: &Schema) -> bool {
    schema.fields().last().is_some_and(|field| field.name() == WEIGHT_COLUMN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_added_once() {
        let rows = Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, true)]));
        let changes = weighted(&rows);
        assert!(!is_weighted(&rows) && is_weighted(&changes));
        assert_eq!(weighted(&changes), changes);
    }
}
