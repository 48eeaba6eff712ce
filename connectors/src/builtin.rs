//! All built-in connectors behind the two traits that planning and tasks know them by.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::TableProvider,
    execution::{
        SendableRecordBatchStream, SessionState, SessionStateBuilder, TaskContext,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::MemoryPool,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    physical_plan::metrics::Count,
};
use futures::{StreamExt, stream};
use thalweg_graph::{
    SqlError,
    checkpoint::Manifest,
    source::Split,
    table::{Column, SinkDescriptor, TableDescriptor, nearest},
};
use thalweg_plan::{
    changes::Changes,
    connect::{Connectors, FileRange, cannot_look_up},
    exec::{ConnectorScan, OpenSource},
    sql_type,
};
use tokio::{runtime::Handle, time::timeout};

use crate::{
    blackhole, checkpoint_storage,
    datagen::{self, Datagen, DatagenTable},
    error::{Error, Result},
    file_system::{block_locations::hosts_of_range, registry::FileSystems, retry::Patience},
    filesystem::{
        self, lookup::FilesystemLookup, options::FilesystemOptions, sink::target::Target,
        table::FilesystemTable,
    },
    kafka::{self, KafkaTable},
    lookup::{FullCache, LookupSource},
    nexmark::{self, NexmarkOptions, NexmarkTable},
    options, print,
    source::{OpenReader, SourceReader},
};

/// Files whose block locations are asked for at once.
const LOCATIONS_AT_ONCE: usize = 8;
/// All block locations of a plan must be known in this time; the others are not waited for.
const LOCATE_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// Below what jobs may name paths; anywhere where empty.
    pub allowed_paths: Vec<String>,
    /// Where checkpoints and savepoints may be beside those.
    pub state_paths: Vec<String>,
}

/// The connectors that come with the engine.
#[derive(Debug)]
pub struct BuiltinConnectors {
    file_systems: Arc<FileSystems>,
    runtime_env: Arc<RuntimeEnv>,
}

const CONNECTORS: &[&str] =
    &["filesystem", "kafka", "upsert-kafka", "datagen", "nexmark", "print", "blackhole"];

impl BuiltinConnectors {
    /// Opens nothing yet: file systems are reached when a table first names them.
    pub fn new(config: ConnectorsConfig) -> Result<Arc<Self>> {
        let (conf_dir, patience, io_runtime) = (config.hadoop_conf_dir, config.patience, config.io_runtime);
        let file_systems = match config.allowed_paths.as_slice() {
            [] => FileSystems::new(conf_dir, patience, io_runtime)?,
            allowed => FileSystems::restricted(conf_dir, patience, io_runtime, allowed, &config.state_paths)?,
        };
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

    /// A stream's reader of a table, where its connector has one. Any other is read through its plan.
    pub async fn open_reader(&self, request: OpenReader<'_>) -> Result<Option<Box<dyn SourceReader>>> {
        match request.scan.table.connector() {
            "datagen" => datagen::open_reader(request).map(Some),
            "nexmark" => nexmark::open_reader(request).map(Some),
            "filesystem" if is_watched(&request.scan.table) => {
                let runtime = Arc::clone(&self.runtime_env);
                filesystem::watched::open_reader(&self.file_systems, runtime, request).await.map(Some)
            }
            "filesystem" => Ok(None),
            "kafka" | "upsert-kafka" => kafka::open_reader(request).await.map(Some),
            other => Err(unknown_connector(other)),
        }
    }

    /// What a stream's rows look up a table through, and how its rows are kept.
    pub fn open_lookup(
        &self,
        table: &TableDescriptor,
        projection: Vec<usize>,
        context: Arc<TaskContext>,
    ) -> Result<(Box<dyn LookupSource>, FullCache)> {
        let cache = FullCache::of(table)?;
        let columns: Vec<Column> = table.readable_columns().cloned().collect();
        let schema = sql_type::schema(&columns).map_err(|error| Error::Invalid(error.message))?;
        let source = FilesystemLookup::new(&self.file_systems, table, Arc::new(schema), projection, context)?;
        Ok((Box::new(source), cache))
    }

    fn check(&self, table: &TableDescriptor) -> Result<()> {
        match (table.connector(), table.metadata.first()) {
            ("filesystem", _) => filesystem::metadata::check(table)?,
            ("kafka" | "upsert-kafka", _) => kafka::check(table)?,
            (connector, Some(metadata)) if CONNECTORS.contains(&connector) => {
                return Err(Error::Invalid(format!(
                    "connector `{connector}` knows no metadata: column `{}` cannot be METADATA",
                    metadata.column.name
                )));
            }
            _ => {}
        }
        match table.connector() {
            "filesystem" => self.file_systems.check_file(&FilesystemOptions::of(table)?.path),
            "kafka" | "upsert-kafka" => {
                kafka::files_of(table).try_for_each(|file| self.file_systems.check_file(file))
            }
            "datagen" => Datagen::of(table).map(|_| ()),
            "nexmark" => nexmark::check(table),
            "print" => options::check("print", &table.options, print::OPTIONS),
            "blackhole" => options::check("blackhole", &table.options, blackhole::OPTIONS),
            other => Err(unknown_connector(other)),
        }
    }
}

fn is_watched(table: &TableDescriptor) -> bool {
    FilesystemOptions::of(table).is_ok_and(|options| options.monitor_interval.is_some())
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

    fn is_bounded(&self, table: &TableDescriptor) -> bool {
        match table.connector() {
            "filesystem" => !is_watched(table),
            "datagen" => Datagen::of(table).is_ok_and(|datagen| datagen.numbering.end.is_some()),
            "nexmark" => NexmarkOptions::of(table).is_ok_and(|options| options.is_bounded()),
            "kafka" | "upsert-kafka" => kafka::is_bounded(table).unwrap_or(true),
            _ => true,
        }
    }

    fn steady_columns(&self, table: &TableDescriptor) -> &'static [&'static str] {
        match table.connector() {
            "nexmark" => &[nexmark::EVENT_TYPE],
            _ => &[],
        }
    }

    async fn checkpoint(&self, url: &str) -> Result<Manifest, SqlError> {
        Ok(checkpoint_storage::read(&self.file_systems, url).await?)
    }

    async fn infer_columns(&self, table: &TableDescriptor) -> Result<Vec<Column>, SqlError> {
        if table.connector() != "filesystem" {
            let connector = table.connector();
            return Err(Error::Invalid(format!(
                "a table of connector `{connector}` must declare its columns"
            ))
            .into());
        }
        let options = FilesystemOptions::of(table)?;
        let location = self.file_systems.locate(&options.path)?;
        let session = SessionStateBuilder::new().with_runtime_env(self.runtime_env()).build();
        let schema = filesystem::table::infer_schema(&session, &location, &options, table).await?;
        sql_type::columns(&schema)
    }

    async fn table_provider(
        &self,
        table: &TableDescriptor,
        schema: SchemaRef,
        _state: &SessionState,
    ) -> Result<Arc<dyn TableProvider>, SqlError> {
        match table.connector() {
            "filesystem" => {
                let options = FilesystemOptions::of(table)?;
                let location = self.file_systems.locate(&options.path)?;
                Ok(Arc::new(FilesystemTable::new(table.clone(), options, location, schema)?))
            }
            "datagen" => Ok(Arc::new(DatagenTable::new(table.clone(), schema)?)),
            "nexmark" => Ok(Arc::new(NexmarkTable::new(table.clone(), schema)?)),
            "kafka" | "upsert-kafka" => Ok(Arc::new(KafkaTable::new(table.clone(), schema)?)),
            "print" | "blackhole" => {
                let connector = table.connector();
                Err(Error::Unsupported(format!("connector `{connector}` can be written and not be read"))
                    .into())
            }
            other => Err(unknown_connector(other).into()),
        }
    }

    fn validate_sink(&self, sink: &SinkDescriptor, schema: &Schema) -> Result<(), SqlError> {
        self.check(&sink.table)?;
        match sink.table.connector() {
            "filesystem" => Ok(Target::of(&self.file_systems, sink, schema).map(|_| ())?),
            "kafka" | "upsert-kafka" => Ok(kafka::sink::validate(sink, schema)?),
            connector @ ("datagen" | "nexmark") => {
                Err(Error::Unsupported(format!("connector `{connector}` can be read and not be written"))
                    .into())
            }
            connector if sink.overwrite => Err(Error::Unsupported(format!(
                "connector `{connector}` has nothing to overwrite; use INSERT INTO"
            ))
            .into()),
            _ => Ok(()),
        }
    }

    fn source_changes(&self, table: &TableDescriptor) -> Result<Changes, SqlError> {
        match table.connector() {
            "kafka" | "upsert-kafka" => Ok(kafka::changes(table)?),
            _ => Ok(Changes::Append),
        }
    }

    fn check_lookup(&self, table: &TableDescriptor) -> Result<(), SqlError> {
        match table.connector() {
            "filesystem" => Ok(FullCache::of(table).map(|_| ())?),
            _ => Err(cannot_look_up(table)),
        }
    }

    fn sink_changes(&self, sink: &SinkDescriptor) -> Result<Changes, SqlError> {
        match sink.table.connector() {
            "kafka" | "upsert-kafka" => Ok(kafka::changes(&sink.table)?),
            "print" | "blackhole" => Ok(Changes::All),
            _ => Ok(Changes::Append),
        }
    }

    async fn locate(&self, ranges: &[FileRange]) -> Vec<Vec<String>> {
        let urls: BTreeSet<&str> = ranges.iter().map(|range| range.url.as_str()).collect();
        let ask = |url: &str| {
            let location = self.file_systems.locate(url);
            let url = url.to_owned();
            async move {
                let blocks = match location {
                    Ok(location) => {
                        location.file_system.block_hosts(&location.path).await.unwrap_or_default()
                    }
                    Err(_) => Vec::new(),
                };
                (url, blocks)
            }
        };
        let questions: Vec<_> = urls.into_iter().map(ask).collect();
        let answers = stream::iter(questions).buffer_unordered(LOCATIONS_AT_ONCE).collect::<BTreeMap<_, _>>();
        let blocks_by_url = timeout(LOCATE_TIMEOUT, answers).await.unwrap_or_default();
        let hosts = |range: &FileRange| match blocks_by_url.get(&range.url) {
            Some(blocks) => hosts_of_range(blocks, range.start, range.end),
            None => Vec::new(),
        };
        ranges.iter().map(hosts).collect()
    }

    fn runtime_env(&self) -> Arc<RuntimeEnv> {
        Arc::clone(&self.runtime_env)
    }
}

impl OpenSource for BuiltinConnectors {
    fn open(
        &self,
        scan: &ConnectorScan,
        splits: &[Split],
        schema: SchemaRef,
        context: Arc<TaskContext>,
        skipped: Count,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        match scan.table.connector() {
            "filesystem" if is_watched(&scan.table) => Err(Error::Unsupported(format!(
                "table {} never ends, and a batch reads it to its end; leave `source.monitor-interval` out, for instance by \
                 `/*+ OPTIONS(...) */`",
                scan.table.path
            ))
            .into()),
            "filesystem" => {
                let rows =
                    filesystem::reader::open(&self.file_systems, scan, splits, schema, &context, skipped);
                Ok(rows?)
            }
            "datagen" => Ok(datagen::open(scan, splits, schema, &context)?),
            "nexmark" => Ok(nexmark::open(scan, splits, schema, &context)?),
            "kafka" | "upsert-kafka" => Ok(kafka::open(scan, splits, schema, &context)?),
            other => Err(unknown_connector(other).into()),
        }
    }
}
