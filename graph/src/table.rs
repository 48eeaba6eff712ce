//! A table as the catalog knows it: what a connector needs to read or write it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::secret::is_secret;

/// Catalog, database and object name, all resolved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TablePath {
    /// The catalog.
    pub catalog: String,
    /// The database in it.
    pub database: String,
    /// The table in it.
    pub table: String,
}

impl fmt::Display for TablePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.catalog, self.database, self.table)
    }
}

/// One physical column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name, in the case it was declared.
    pub name: String,
    /// Its type as Flink SQL writes it, without nullability: `DECIMAL(12, 2)`.
    pub data_type: String,
    /// Whether it may hold NULL.
    pub nullable: bool,
}

/// A column whose values the connector knows of a row, rather than its data: `name TYPE METADATA FROM 'key'`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataColumn {
    /// Name and type.
    pub column: Column,
    /// What the connector calls it.
    pub key: String,
}

/// What a connector is given of a table: its resolved name, columns and options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDescriptor {
    /// Its resolved name.
    pub path: TablePath,
    /// Its physical columns in declared order, partition columns included.
    pub columns: Vec<Column>,
    /// Its metadata columns in declared order.
    pub metadata: Vec<MetadataColumn>,
    /// The columns that it is partitioned by, in order.
    pub partition_keys: Vec<String>,
    /// The columns of its primary key, in order; empty where it has none.
    #[serde(default)]
    pub primary_key: Vec<String>,
    /// The `WITH` options, hints applied.
    pub options: BTreeMap<String, String>,
}

impl TableDescriptor {
    /// The value of the `connector` option; empty where there is none.
    pub fn connector(&self) -> &str {
        self.options.get("connector").map_or("", String::as_str)
    }

    /// The columns that can be read: physical ones, then those of metadata.
    pub fn readable_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().chain(self.metadata.iter().map(|metadata| &metadata.column))
    }

    /// Whether it has such a column and that takes no NULL.
    pub fn is_not_null(&self, column: &str) -> bool {
        self.columns.iter().any(|known| known.name == column && !known.nullable)
    }
}

/// Where a vertex's rows go when they leave the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkDescriptor {
    /// The table.
    pub table: TableDescriptor,
    /// Whether what is there is replaced (`INSERT OVERWRITE`).
    pub overwrite: bool,
    /// The `PARTITION (k = v)` clause: values that every row has, as text; `None` is NULL.
    pub static_partition: BTreeMap<String, Option<String>>,
}

/// What one finished attempt of a sink subtask wants made visible: bytes that the connector's committer understands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committable(pub bytes::Bytes);

/// What one sink's finished attempts have prepared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkOutput {
    /// The sink.
    pub sink: Box<SinkDescriptor>,
    /// In order of subtask; empty when the output is withdrawn.
    pub committables: Vec<Committable>,
}

impl SinkOutput {
    /// The same without passwords and the like, for files that others may read.
    pub fn without_secrets(mut self) -> Self {
        self.sink.table.options.retain(|key, _| !is_secret(key));
        self
    }
}

/// The name nearest to `name` among `candidates`, if one is near enough to be meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(name.len()) / 4)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn nearest_forgives_typos_and_not_other_words() {
        assert_eq!(nearest("lineitm", ["orders", "lineitem"]), Some("lineitem"));
        assert_eq!(nearest("LINEITEM", ["orders", "lineitem"]), Some("lineitem"));
        assert_eq!(nearest("foo", ["orders", "lineitem"]), None);
    }
}
