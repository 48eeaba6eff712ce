//! What the catalog knows of a table and of a view.

use std::collections::BTreeMap;

use thalweg_graph::table::{Column, MetadataColumn, TableDescriptor, TablePath};

use crate::sql_type::SqlType;

/// A declared table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Its columns in declared order.
    pub columns: Vec<TableColumn>,
    /// Its event time.
    pub watermark: Option<Watermark>,
    /// What identifies a row; not enforced.
    pub primary_key: Option<PrimaryKey>,
    /// How rows are spread over buckets.
    pub distribution: Option<Distribution>,
    /// The columns that it is partitioned by.
    pub partition_keys: Vec<String>,
    /// Its `WITH` options.
    pub options: BTreeMap<String, String>,
    /// What it is for.
    pub comment: Option<String>,
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// Where its values come from.
    pub kind: ColumnKind,
    /// What it is for.
    pub comment: Option<String>,
}

/// Where a column's values come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnKind {
    /// The table's data.
    Physical {
        /// What it holds.
        sql_type: SqlType,
        /// Whether it may be NULL.
        nullable: bool,
    },
    /// An expression over the other columns.
    Computed {
        /// Its text.
        expression: String,
    },
    /// Something that the connector knows of a row.
    Metadata {
        /// What it holds.
        sql_type: SqlType,
        /// Whether it may be NULL.
        nullable: bool,
        /// The connector's name for it where it is not the column's.
        key: Option<String>,
        /// Whether it is only read.
        is_virtual: bool,
    },
}

/// `WATERMARK FOR column AS expression`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// The event time column.
    pub column: String,
    /// The text of the expression.
    pub expression: String,
}

/// `[CONSTRAINT name] PRIMARY KEY (columns) NOT ENFORCED`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryKey {
    /// The constraint's name where it was given one.
    pub name: Option<String>,
    /// The columns.
    pub columns: Vec<String>,
}

/// `DISTRIBUTED [BY [HASH | RANGE] (columns)] [INTO n BUCKETS]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Distribution {
    /// `HASH` or `RANGE` where it was said.
    pub algorithm: Option<String>,
    /// The columns; empty where the connector decides.
    pub columns: Vec<String>,
    /// The number of buckets where it was said.
    pub buckets: Option<u64>,
}

/// A named query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The text of the query.
    pub query: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// The catalog that was current when it was made.
    pub catalog: String,
    /// The database that was current when it was made.
    pub database: Option<String>,
    /// What it is for.
    pub comment: Option<String>,
}

impl Table {
    /// The physical columns in declared order; those of the primary key are not NULL.
    pub fn physical_columns(&self) -> Vec<Column> {
        let physical = |column: &TableColumn| match &column.kind {
            ColumnKind::Physical { sql_type, nullable } => Some(Column {
                name: column.name.clone(),
                data_type: sql_type.to_string(),
                nullable: *nullable && !self.in_primary_key(&column.name),
            }),
            _ => None,
        };
        self.columns.iter().filter_map(physical).collect()
    }

    /// The metadata columns in declared order.
    fn metadata_columns(&self) -> Vec<MetadataColumn> {
        let metadata = |column: &TableColumn| match &column.kind {
            ColumnKind::Metadata { sql_type, nullable, key, .. } => Some(MetadataColumn {
                column: Column {
                    name: column.name.clone(),
                    data_type: sql_type.to_string(),
                    nullable: *nullable,
                },
                key: key.as_ref().unwrap_or(&column.name).clone(),
            }),
            _ => None,
        };
        self.columns.iter().filter_map(metadata).collect()
    }

    /// Whether a column is part of the primary key.
    pub fn in_primary_key(&self, column: &str) -> bool {
        self.primary_key.as_ref().is_some_and(|key| key.columns.iter().any(|name| name == column))
    }

    /// Finds a column.
    pub fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// What a connector is given of the table. Options of a hint go over the declared ones.
    pub fn descriptor(&self, path: &TablePath, hint: &BTreeMap<String, String>) -> TableDescriptor {
        let mut options = self.options.clone();
        options.extend(hint.iter().map(|(key, value)| (key.clone(), value.clone())));
        // The name that Flink had for the option before 1.11.
        if let Some(connector) = options.remove("connector.type") {
            options.entry("connector".to_owned()).or_insert(connector);
        }
        for key in ["path", "property-version"] {
            if let Some(value) = options.remove(&format!("connector.{key}")).filter(|_| key == "path") {
                options.entry(key.to_owned()).or_insert(value);
            }
        }
        if let Some(format) = options.remove("format.type") {
            options.entry("format".to_owned()).or_insert(format);
        }
        TableDescriptor {
            path: path.clone(),
            columns: self.physical_columns(),
            metadata: self.metadata_columns(),
            partition_keys: self.partition_keys.clone(),
            primary_key: self.primary_key.as_ref().map_or_else(Vec::new, |key| key.columns.clone()),
            options,
        }
    }
}
