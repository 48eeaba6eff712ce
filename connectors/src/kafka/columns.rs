//! Where each column of a Kafka table comes from: the record's key, its value, or what Kafka knows of it.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use thalweg_graph::table::{Column, TableDescriptor};
use thalweg_plan::sql_type;

use super::{metadata::Metadata, options::KafkaOptions};
use crate::{
    error::{Error, Result},
    format::record,
    options::TableOptions,
};

/// The columns on each side of a table's records.
#[derive(Debug, Clone)]
pub struct Sides {
    /// The key's fields.
    pub key: SchemaRef,
    /// The value's fields.
    pub value: SchemaRef,
    /// Where each physical column of the table stands.
    pub physical: Vec<Place>,
}

/// Where a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A field of the key.
    Key(usize),
    /// A field of the value.
    Value(usize),
    /// Known of the record.
    Metadata(Metadata),
}

impl Sides {
    /// Of a table.
    pub fn of(table: &TableDescriptor, options: &KafkaOptions) -> Result<Self> {
        let schema = schema(&table.columns)?;
        let mut key = Vec::new();
        for name in &options.key_fields {
            let (_, field) = schema
                .column_with_name(name)
                .ok_or_else(|| Error::Internal(format!("key column `{name}` is not in the table")))?;
            let stripped = name.strip_prefix(options.key_prefix.as_str()).ok_or_else(|| {
                Error::InvalidOption(format!(
                    "key column `{name}` does not begin with `key.fields-prefix` = `{}`",
                    options.key_prefix
                ))
            })?;
            key.push(field.clone().with_name(stripped));
        }
        let mut value: Vec<Field> = Vec::new();
        let mut physical = Vec::new();
        for field in schema.fields() {
            let in_key = options.key_fields.iter().position(|name| name == field.name());
            match in_key {
                Some(position) if !options.value_has_key => physical.push(Place::Key(position)),
                _ => {
                    physical.push(Place::Value(value.len()));
                    value.push(field.as_ref().clone());
                }
            }
        }
        // A column in both is read from the value, where it keeps its name; of a deleted row only the key is there.
        let sides = Self { key: Arc::new(Schema::new(key)), value: Arc::new(Schema::new(value)), physical };
        sides.check(options)?;
        Ok(sides)
    }

    fn check(&self, options: &KafkaOptions) -> Result<()> {
        if let Some(key) = &options.key {
            record::check(key.format, TableOptions(&key.options), &self.key)?;
        }
        record::check(options.value.format, TableOptions(&options.value.options), &self.value)
    }

    /// Where the columns that can be read stand: physical ones, then those of metadata.
    pub fn readable(&self, table: &TableDescriptor) -> Result<Vec<Place>> {
        let mut places = self.physical.clone();
        for column in &table.metadata {
            places.push(Place::Metadata(Metadata::parse(column)?));
        }
        Ok(places)
    }
}

/// Columns as a schema.
pub fn schema(columns: &[Column]) -> Result<Schema> {
    sql_type::schema(columns).map_err(|error| Error::Invalid(error.message))
}
