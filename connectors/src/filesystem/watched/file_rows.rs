//! The files of a watched folder, and the rows of one of them: read as a batch reads it, in the same order whenever it is asked.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    execution::{SessionState, SessionStateBuilder, TaskContext, runtime_env::RuntimeEnv},
    physical_plan::{ExecutionPlan, metrics::Count},
    prelude::SessionConfig,
};
use futures::{StreamExt as _, stream::BoxStream};
use thalweg_plan::exec::ConnectorScan;

use crate::{
    error::{Error, Result},
    file_system::registry::FileSystems,
    filesystem::{
        files::{self, TableFile},
        metadata,
        options::FilesystemOptions,
        reader,
        splits::FileSplit,
        table::FilesystemTable,
    },
    format::{FileFormat, parquet_damage},
    source::OpenReader,
};

/// Rows of a file, in order.
pub type Rows = BoxStream<'static, Result<RecordBatch>>;

/// How the files of one table are found and read.
pub struct FileRows {
    table: FilesystemTable,
    format: FileFormat,
    file_systems: Arc<FileSystems>,
    scan: ConnectorScan,
    /// The columns of the rows to come.
    schema: SchemaRef,
    session: SessionState,
    context: Arc<TaskContext>,
}

impl FileRows {
    /// Of the table that a reader is opened for.
    pub fn new(
        file_systems: &Arc<FileSystems>,
        runtime: Arc<RuntimeEnv>,
        request: &OpenReader<'_>,
    ) -> Result<Self> {
        let descriptor = &request.scan.table;
        let options = FilesystemOptions::of(descriptor)?;
        let location = file_systems.locate(&options.path)?;
        let format = options.format;
        let schema = Arc::new(metadata::scan_schema(descriptor)?);
        let table = FilesystemTable::new(descriptor.clone(), options, location, schema)?;
        // One partition: the rows of a file have one order.
        let config = SessionConfig::new().with_batch_size(request.batch_rows).with_target_partitions(1);
        let session = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).build();
        Ok(Self {
            table,
            format,
            file_systems: Arc::clone(file_systems),
            scan: request.scan.clone(),
            schema: Arc::clone(&request.schema),
            context: Arc::new(TaskContext::from(&session)),
            session,
        })
    }

    /// The files that are there now and have bytes; none where the folder itself is not there (yet).
    pub async fn list(&self) -> Result<Option<Vec<TableFile>>> {
        match files::list(&self.table.location, &self.table.options, &self.table.descriptor).await {
            Err(Error::NotFound { .. }) => Ok(None),
            files => files.map(Some),
        }
    }

    /// Opens the rows of a file that was listed.
    pub async fn open(&self, file: TableFile) -> Result<Rows> {
        let path = self.table.location.file_system.url(&file.status.path);
        let opened = match self.format {
            FileFormat::Parquet | FileFormat::Avro => self.open_planned(file).await,
            FileFormat::Csv | FileFormat::Json | FileFormat::Orc => self.open_split(file),
        };
        let read = move |error| told(error, &path);
        let rows = opened.map_err(&read)?;
        Ok(rows.map(move |batch| batch.map_err(&read)).boxed())
    }

    async fn open_planned(&self, file: TableFile) -> Result<Rows> {
        let projection = self.scan.projection.as_ref();
        let plan = self.table.file_plan(&self.session, file, projection).await?;
        let rows = plan.execute(0, Arc::clone(&self.context))?;
        let runtime = self.context.runtime_env();
        let explained = move |batch: datafusion::error::Result<RecordBatch>| {
            let (plan, runtime) = (Arc::clone(&plan), Arc::clone(&runtime));
            async move {
                match batch {
                    Ok(batch) => Ok(batch),
                    Err(error) => Err(explain(error, &plan, &runtime).await),
                }
            }
        };
        Ok(rows.then(explained).boxed())
    }

    fn open_split(&self, file: TableFile) -> Result<Rows> {
        let split = FileSplit {
            url: self.table.location.file_system.url(&file.status.path),
            start: 0,
            end: file.status.bytes,
            file_bytes: file.status.bytes,
            constants: file.constants,
        };
        let (schema, skipped) = (Arc::clone(&self.schema), Count::new());
        let splits = [split.encode(Vec::new())?];
        let rows = reader::open(&self.file_systems, &self.scan, &splits, schema, &self.context, skipped)?;
        Ok(rows.map(|batch| batch.map_err(Error::from)).boxed())
    }
}

async fn explain(
    error: datafusion::error::DataFusionError,
    plan: &Arc<dyn ExecutionPlan>,
    runtime: &RuntimeEnv,
) -> Error {
    match parquet_damage::explain(&error, plan, runtime).await {
        Some(damage) => damage,
        None => error.into(),
    }
}

fn told(error: Error, path: &str) -> Error {
    match error {
        Error::NotFound { .. } | Error::Vanished { .. } => Error::Invalid(format!(
            "`{path}` was found in the watched folder and is gone before all of it was read: files must stay until the job has \
             read them"
        )),
        other => other,
    }
}
