//! Files that a stream's rows look up: listed and read whole, each time anew.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::TableProvider as _,
    execution::{SessionStateBuilder, TaskContext},
    physical_plan::collect,
};
use thalweg_graph::table::TableDescriptor;

use super::{options::FilesystemOptions, table::FilesystemTable};
use crate::{
    error::{Error, Result},
    file_system::registry::FileSystems,
    lookup::LookupSource,
};

/// A table of files.
pub struct FilesystemLookup {
    table: FilesystemTable,
    projection: Vec<usize>,
    context: Arc<TaskContext>,
}

impl FilesystemLookup {
    /// Of a table whose readable columns are those of `schema`, some of which are wanted.
    pub fn new(
        file_systems: &Arc<FileSystems>,
        table: &TableDescriptor,
        schema: SchemaRef,
        projection: Vec<usize>,
        context: Arc<TaskContext>,
    ) -> Result<Self> {
        let options = FilesystemOptions::of(table)?;
        let location = file_systems.locate(&options.path)?;
        let table = FilesystemTable::new(table.clone(), options, location, schema)?;
        Ok(Self { table, projection, context })
    }
}

#[async_trait]
impl LookupSource for FilesystemLookup {
    async fn rows(&self) -> Result<Vec<RecordBatch>> {
        let session = SessionStateBuilder::new()
            .with_config(self.context.session_config().clone())
            .with_runtime_env(self.context.runtime_env())
            .build();
        let plan = self.table.scan(&session, Some(&self.projection), &[], None).await.map_err(Error::Rows)?;
        collect(plan, Arc::clone(&self.context)).await.map_err(Error::Rows)
    }
}
