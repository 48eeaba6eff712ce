//! What planning asks of the world: option checks, column inference, table providers, block locations.
//!
//! Implemented by `thalweg-connectors`, handed in to a [`crate::Session`], so that this crate does no I/O of its own.

use std::{fmt::Debug, sync::Arc};

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::TableProvider,
    execution::{SessionState, runtime_env::RuntimeEnv},
};
use thalweg_graph::{
    SqlError,
    checkpoint::Manifest,
    sql_error::SqlErrorCode,
    table::{Column, SinkDescriptor, TableDescriptor},
};

use crate::changes::Changes;

/// A range of bytes of one file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileRange {
    /// The file, with its scheme and authority: `hdfs://nn/warehouse/t/part-0.parquet`.
    pub url: String,
    /// First byte.
    pub start: u64,
    /// The byte after the last one.
    pub end: u64,
}

/// The world as planning sees it.
#[async_trait]
pub trait Connectors: Debug + Send + Sync {
    /// Checks a table's `WITH` options: connector and format exist, options are known (else names the nearest) and have legal values.
    fn validate(&self, table: &TableDescriptor) -> Result<(), SqlError>;

    /// Whether the rows of a table come to an end; a table without an end is read as a stream.
    fn is_bounded(&self, table: &TableDescriptor) -> bool;

    /// Columns of which every value keeps coming in all parts of a table. A stream may leave out rows by them before it reads off
    /// the others how far event time has come; with other filters it would stand still while no row passes.
    fn steady_columns(&self, _table: &TableDescriptor) -> &'static [&'static str] {
        &[]
    }

    /// Returns the columns of a table that was declared without columns, partition columns included, from its files.
    async fn infer_columns(&self, table: &TableDescriptor) -> Result<Vec<Column>, SqlError>;

    /// Reads the manifest of a checkpoint or savepoint, by the URL of it or of its folder.
    async fn checkpoint(&self, url: &str) -> Result<Manifest, SqlError>;

    /// Returns what DataFusion reads the table through. `schema` has the table's physical columns in declared order.
    async fn table_provider(
        &self,
        table: &TableDescriptor,
        schema: SchemaRef,
        state: &SessionState,
    ) -> Result<Arc<dyn TableProvider>, SqlError>;

    /// Checks that rows of `schema` can be written to the table in the way that is asked.
    fn validate_sink(&self, sink: &SinkDescriptor, schema: &Schema) -> Result<(), SqlError>;

    /// What becomes of the rows that are read from a table. Where they do not stay, they have weights (see [`crate::stream::changelog`]).
    fn source_changes(&self, _table: &TableDescriptor) -> Result<Changes, SqlError> {
        Ok(Changes::Append)
    }

    /// Checks that a stream's rows can look up rows of a table by key.
    fn check_lookup(&self, table: &TableDescriptor) -> Result<(), SqlError> {
        Err(cannot_look_up(table))
    }

    /// Which changes a table takes when it is written.
    fn sink_changes(&self, _sink: &SinkDescriptor) -> Result<Changes, SqlError> {
        Ok(Changes::Append)
    }

    /// Returns the hosts that hold each range on their own disks, one answer for each range; empty where that means nothing.
    /// Never fails a plan.
    async fn locate(&self, ranges: &[FileRange]) -> Vec<Vec<String>>;

    /// The runtime whose object store registry opens the supported file systems.
    fn runtime_env(&self) -> Arc<RuntimeEnv>;
}

/// The refusal of a table whose connector finds no rows by key.
pub fn cannot_look_up(table: &TableDescriptor) -> SqlError {
    let message = format!(
        "`{}` cannot be looked up `FOR SYSTEM_TIME AS OF` processing time: connector `{}` finds no rows by key (`filesystem` does); join \
         with it as of event time, or without `FOR SYSTEM_TIME AS OF`",
        table.path,
        table.connector()
    );
    SqlError::new(SqlErrorCode::Unsupported, message)
}
