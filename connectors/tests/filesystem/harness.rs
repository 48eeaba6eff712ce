//! Tables in a temporary folder, queries over them, and jobs that write them.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use arrow::{array::RecordBatch, util::pretty::pretty_format_batches};
use datafusion::{
    common::DataFusionError,
    physical_plan::{ExecutionPlan, collect, displayable},
    prelude::{SessionConfig, SessionContext},
};
use tempfile::TempDir;
use thalweg_connectors::{BuiltinConnectors, ConnectorsConfig, Error, commit, sink};
use thalweg_graph::{
    Attempt, JobId, SqlError, SubtaskId, VertexId,
    table::{Column, Committable, SinkDescriptor, TableDescriptor, TablePath},
};
use thalweg_plan::{Connectors, exec::ConnectorReader, sql_type};

/// A table and the folder it is in.
pub struct Fixture {
    /// Goes away with the fixture.
    _folder: TempDir,
    pub connectors: Arc<BuiltinConnectors>,
    pub table: TableDescriptor,
}

/// `name TYPE` for each column.
pub fn fixture(columns: &[&str], partition_keys: &[&str], options: &[(&str, &str)]) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let path = path.to_str().unwrap().to_owned();
    let column = |text: &&str| {
        let (name, data_type) = text.split_once(' ').unwrap();
        let (data_type, nullable) = match data_type.strip_suffix(" NOT NULL") {
            Some(data_type) => (data_type, false),
            None => (data_type, true),
        };
        Column { name: name.to_owned(), data_type: data_type.to_owned(), nullable }
    };
    let mut all =
        BTreeMap::from([("connector".to_owned(), "filesystem".to_owned()), ("path".to_owned(), path)]);
    all.extend(options.iter().map(|(name, value)| (name.to_string(), value.to_string())));
    let name = |text: &str| text.to_owned();
    Fixture {
        _folder: folder,
        connectors: BuiltinConnectors::new(ConnectorsConfig::default()).unwrap(),
        table: TableDescriptor {
            path: TablePath { catalog: name("c"), database: name("d"), table: name("t") },
            columns: columns.iter().map(column).collect(),
            metadata: Vec::new(),
            partition_keys: partition_keys.iter().map(|key| name(key)).collect(),
            primary_key: Vec::new(),
            options: all,
        },
    }
}

pub fn job(number: u128) -> JobId {
    JobId(number << 100 | number)
}

pub fn attempt(job: JobId, index: u32, number: u32) -> Attempt {
    Attempt { job, subtask: SubtaskId { vertex: VertexId(0), index }, number }
}

impl Fixture {
    pub fn path(&self) -> &Path {
        Path::new(&self.table.options["path"])
    }

    /// Writes a file of the table.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Every file and empty folder of the table, hidden ones too.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![self.path().to_owned()];
        while let Some(folder) = open.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            let before = found.len() + open.len();
            for entry in entries.map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true => open.push(entry.path()),
                    false => found.push(entry.path()),
                }
            }
            if found.len() + open.len() == before && folder != self.path() {
                found.push(folder);
            }
        }
        let relative =
            |path: &std::path::PathBuf| path.strip_prefix(self.path()).unwrap().display().to_string();
        let mut names: Vec<String> = found.iter().map(relative).collect();
        names.sort();
        names
    }

    pub async fn context(&self) -> Result<SessionContext, SqlError> {
        let config = SessionConfig::new()
            .with_target_partitions(3)
            .with_extension(Arc::new(ConnectorReader(Arc::clone(&self.connectors) as _)));
        let context = SessionContext::new_with_config_rt(config, self.connectors.runtime_env());
        self.connectors.validate(&self.table)?;
        let columns: Vec<Column> = self.table.readable_columns().cloned().collect();
        let schema = Arc::new(sql_type::schema(&columns)?);
        let provider = self.connectors.table_provider(&self.table, schema, &context.state()).await?;
        context.register_table("t", provider).unwrap();
        Ok(context)
    }

    pub async fn plan(&self, sql: &str) -> Result<Arc<dyn ExecutionPlan>, String> {
        let context = self.context().await.map_err(|error| error.to_string())?;
        let frame = context.sql(sql).await.map_err(text)?;
        frame.create_physical_plan().await.map_err(text)
    }

    /// The plan as text.
    pub async fn explain(&self, sql: &str) -> String {
        displayable(self.plan(sql).await.unwrap().as_ref()).indent(true).to_string()
    }

    /// The rows of a query as a table of text, without its frame.
    pub async fn query(&self, sql: &str) -> Result<Vec<String>, String> {
        let context = self.context().await.map_err(|error| error.to_string())?;
        let plan = self.plan(sql).await?;
        rows(collect(plan, context.task_ctx()).await)
    }

    pub fn sink(&self) -> SinkDescriptor {
        SinkDescriptor { table: self.table.clone(), overwrite: false, static_partition: BTreeMap::new() }
    }

    pub fn overwrite(&self) -> SinkDescriptor {
        SinkDescriptor { overwrite: true, ..self.sink() }
    }

    /// Writes batches as one attempt, and ends it.
    pub async fn stage(
        &self,
        sink: &SinkDescriptor,
        attempt: Attempt,
        batches: &[RecordBatch],
    ) -> Result<Committable, Error> {
        let schema = Arc::new(sql_type::schema(&self.table.columns).unwrap());
        let schema = batches.first().map_or(schema, RecordBatch::schema);
        let mut writer = sink::open(&self.connectors, sink, schema, attempt, attempt.subtask.index).await?;
        for batch in batches {
            if let Err(error) = writer.write(batch.clone()).await {
                writer.abort().await;
                return Err(error);
            }
        }
        Ok(writer.finish().await?.committable.unwrap())
    }

    /// Runs a whole job of one task.
    pub async fn insert(&self, sink: &SinkDescriptor, job: JobId, batches: &[RecordBatch]) {
        let staged = self.stage(sink, attempt(job, 0, 0), batches).await.unwrap();
        commit::commit(&self.connectors, job, sink, &[staged]).await.unwrap();
    }
}

fn text(error: DataFusionError) -> String {
    match error {
        DataFusionError::External(error) => match error.downcast::<Error>() {
            Ok(error) => error.chain(),
            Err(error) => error.to_string(),
        },
        DataFusionError::Context(_, error) | DataFusionError::Diagnostic(_, error) => text(*error),
        other => other.to_string(),
    }
}

pub fn rows(batches: datafusion::error::Result<Vec<RecordBatch>>) -> Result<Vec<String>, String> {
    let table = pretty_format_batches(&batches.map_err(text)?).unwrap().to_string();
    let cells = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        cells.join("|")
    };
    Ok(table.lines().filter(|line| line.starts_with('|')).skip(1).map(cells).collect())
}
