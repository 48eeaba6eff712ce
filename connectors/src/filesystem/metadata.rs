//! Metadata columns: what is known of the file that a row stands in, by Flink's keys. Like partition columns they hold
//! one value for the whole file.

use chrono::{DateTime, SecondsFormat};
use thalweg_graph::table::{Column, MetadataColumn, TableDescriptor, nearest};
use thalweg_plan::sql_type::{self, SqlType};

use crate::{
    error::{Error, Result},
    file_system::FileStatus,
};

const PATH: &str = "file.path";
const NAME: &str = "file.name";
const SIZE: &str = "file.size";
const MODIFICATION_TIME: &str = "file.modification-time";

/// The keys that a column can be declared `METADATA FROM`.
const KEYS: [&str; 4] = [PATH, NAME, SIZE, MODIFICATION_TIME];

/// The type that a column of this key has; none where there is no such key.
fn sql_type_of(key: &str) -> Option<SqlType> {
    match key {
        PATH | NAME => Some(SqlType::String),
        SIZE => Some(SqlType::BigInt),
        MODIFICATION_TIME => Some(SqlType::TimestampLtz(3)),
        _ => None,
    }
}

/// Checks keys and types of the table's metadata columns.
pub fn check(table: &TableDescriptor) -> Result<()> {
    for MetadataColumn { column, key } in &table.metadata {
        let expected = sql_type_of(key).ok_or_else(|| unknown_key(&column.name, key))?;
        if column.data_type != expected.to_string() {
            return Err(Error::Invalid(format!(
                "metadata column `{}` is {}: `{key}` of a file is {expected}, declare it so and CAST where it is used",
                column.name, column.data_type
            )));
        }
    }
    Ok(())
}

fn unknown_key(column: &str, key: &str) -> Error {
    let advice = match nearest(key, KEYS) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are `{}`", KEYS.join("`, `")),
    };
    Error::Invalid(format!("a file has no metadata `{key}` for the column `{column}`; {advice}"))
}

/// The value of each metadata column for a file, as text that its type reads.
pub fn values(columns: &[MetadataColumn], file: &FileStatus) -> Result<Vec<Option<String>>> {
    let value = |MetadataColumn { column, key }: &MetadataColumn| match key.as_str() {
        PATH => Ok(Some(file.path.clone())),
        NAME => Ok(Some(file.path.rsplit('/').next().unwrap_or_default().to_owned())),
        SIZE => Ok(Some(file.bytes.to_string())),
        MODIFICATION_TIME => Ok(DateTime::from_timestamp_millis(file.modified_ms)
            .map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))),
        _ => Err(unknown_key(&column.name, key)),
    };
    columns.iter().map(value).collect()
}

/// The columns that a scan of the table can read, as a schema: those of the table's data, then those of metadata.
pub fn scan_schema(table: &TableDescriptor) -> Result<arrow::datatypes::Schema> {
    let columns: Vec<Column> = table.readable_columns().cloned().collect();
    sql_type::schema(&columns).map_err(|error| Error::Invalid(error.message))
}

/// The columns with one value for a whole file: partition columns, then metadata columns.
pub fn constant_columns(table: &TableDescriptor) -> Vec<String> {
    let metadata = table.metadata.iter().map(|metadata| &metadata.column.name);
    table.partition_keys.iter().chain(metadata).cloned().collect()
}
