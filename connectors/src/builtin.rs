//! All built-in connectors behind the two traits that planning and tasks know them by.

use std::{path::PathBuf, sync::Arc};

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::TableProvider,
    error::DataFusionError,
    execution::{
        SessionState,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::MemoryPool,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
};
use thalweg_graph::{
    SqlError,
    table::{Column, SinkDescriptor, TableDescriptor, nearest},
};
use thalweg_plan::connect::{Connectors, FileRange};
use tokio::runtime::Handle;

use crate::{
    blackhole,
    error::{Error, Result},
    file_system::{registry::FileSystems, retry::Patience},
    options, print,
};

/// What the connectors of a process share with it.
#[derive(Debug, Default)]
pub struct ConnectorsConfig {
    /// Where operators and writers draw their memory from; unbounded where not given.
    pub memory_pool: Option<Arc<dyn MemoryPool>>,
    /// Folders for spilled data; the system's where empty.
    pub tmp_dirs: Vec<PathBuf>,
    /// Hadoop's configuration; `HADOOP_CONF_DIR` where not given.
    pub hadoop_conf_dir: Option<PathBuf>,
    /// How long a NameNode that does not answer is waited for.
    pub patience: Patience,
    /// Where sockets to HDFS are driven; the caller's runtime where not given.
    pub io_runtime: Option<Handle>,
}

/// The connectors that come with the engine.
#[derive(Debug)]
pub struct BuiltinConnectors {
    file_systems: Arc<FileSystems>,
    runtime_env: Arc<RuntimeEnv>,
}

const CONNECTORS: &[&str] = &["filesystem", "datagen", "print", "blackhole"];

impl BuiltinConnectors {
    /// Opens nothing yet: file systems are reached when a table first names them.
    pub fn new(config: ConnectorsConfig) -> Result<Arc<Self>> {
        let file_systems = FileSystems::new(config.hadoop_conf_dir, config.patience, config.io_runtime)?;
        let disks = match config.tmp_dirs.is_empty() {
            true => DiskManagerMode::OsTmpDirectory,
            false => DiskManagerMode::Directories(config.tmp_dirs),
        };
        let mut builder = RuntimeEnvBuilder::new()
            .with_object_store_registry(Arc::clone(&file_systems) as _)
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(disks));
        if let Some(pool) = config.memory_pool {
            builder = builder.with_memory_pool(pool);
        }
        let runtime_env = builder.build_arc().map_err(Error::Rows)?;
        Ok(Arc::new(Self { file_systems, runtime_env }))
    }

    /// The file systems that tables may name.
    pub fn file_systems(&self) -> &Arc<FileSystems> {
        &self.file_systems
    }

    fn check(&self, table: &TableDescriptor) -> Result<()> {
        match table.connector() {
            "print" => options::check("print", &table.options, print::OPTIONS),
            "blackhole" => options::check("blackhole", &table.options, blackhole::OPTIONS),
            other => Err(unknown_connector(other)),
        }
    }
}

pub(crate) fn unknown_connector(name: &str) -> Error {
    let known = CONNECTORS.join("`, `");
    Error::InvalidOption(match (name, nearest(name, CONNECTORS.iter().copied())) {
        ("", _) => format!("the table needs the option `connector`: one of `{known}`"),
        (name, Some(near)) => format!("there is no connector `{name}`; did you mean `{near}`?"),
        (name, None) => format!("there is no connector `{name}`; there are `{known}`"),
    })
}

#[async_trait]
impl Connectors for BuiltinConnectors {
    fn validate(&self, table: &TableDescriptor) -> Result<(), SqlError> {
        Ok(self.check(table)?)
    }

    async fn infer_columns(&self, table: &TableDescriptor) -> Result<Vec<Column>, SqlError> {
        Err(Error::Unsupported(format!("connector `{}` cannot tell its columns", table.connector())).into())
    }

    async fn table_provider(
        &self,
        table: &TableDescriptor,
        _schema: SchemaRef,
        _state: &SessionState,
    ) -> Result<Arc<dyn TableProvider>, SqlError> {
        Err(Error::Unsupported(format!("connector `{}` cannot be read", table.connector())).into())
    }

    fn validate_sink(&self, sink: &SinkDescriptor, _schema: &Schema) -> Result<(), SqlError> {
        Ok(self.check(&sink.table)?)
    }

    async fn locate(&self, ranges: &[FileRange]) -> Vec<Vec<String>> {
        vec![Vec::new(); ranges.len()]
    }

    fn runtime_env(&self) -> Arc<RuntimeEnv> {
        Arc::clone(&self.runtime_env)
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(cause) => match cause.downcast::<Error>() {
                Ok(own) => *own,
                Err(other) => Error::Rows(DataFusionError::External(other)),
            },
            other => Error::Rows(other),
        }
    }
}
