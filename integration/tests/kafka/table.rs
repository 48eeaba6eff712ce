//! A Kafka table as tests see it: its connector, without a job around it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arrow::{array::RecordBatch, datatypes::SchemaRef, util::display::array_value_to_string};
use thalweg_connectors::{
    BuiltinConnectors, ConnectorsConfig, Error, commit,
    kafka::open_reader,
    sink::{self, SinkWriter},
    source::{OpenReader, Share, SourceEvent, SourceReader, SplitPosition},
};
use thalweg_graph::{
    Attempt, JobId, SubtaskId, VertexId,
    table::{Column, Committable, MetadataColumn, SinkDescriptor, TableDescriptor, TablePath},
};
use thalweg_plan::{Connectors as _, exec::ConnectorScan, sql_type};

/// Time in which a reader must have given what it is waited for.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// The only subtask.
pub const ALONE: Share = Share { subtask: 0, parallelism: 1 };

/// A table.
#[derive(Debug, Clone)]
pub struct Table {
    connectors: Arc<BuiltinConnectors>,
    /// What the connector is given of it.
    pub descriptor: TableDescriptor,
}

impl Table {
    /// A JSON table of a topic; columns as `name TYPE`, or `name TYPE <- metadata`.
    pub fn new(bootstrap: &str, topic: &str, columns: &[&str], options: &[(&str, &str)]) -> Self {
        let text = |text: &str| text.to_owned();
        let column = |declared: &str| {
            let (name, data_type) = declared.split_once(' ').unwrap();
            Column { name: text(name), data_type: text(data_type), nullable: true }
        };
        let physical =
            columns.iter().filter(|declared| !declared.contains("<-")).map(|declared| column(declared));
        let metadata = columns.iter().filter_map(|declared| declared.split_once(" <- "));
        let metadata =
            metadata.map(|(declared, key)| MetadataColumn { column: column(declared), key: text(key) });
        let mut all = BTreeMap::from([
            (text("connector"), text("kafka")),
            (text("topic"), text(topic)),
            (text("properties.bootstrap.servers"), text(bootstrap)),
            (text("scan.startup.mode"), text("earliest-offset")),
        ]);
        all.extend(options.iter().map(|(name, value)| (text(name), text(value))));
        if !all.contains_key("value.format") {
            all.entry(text("format")).or_insert_with(|| text("json"));
        }
        Self {
            connectors: BuiltinConnectors::new(ConnectorsConfig::default()).unwrap(),
            descriptor: TableDescriptor {
                path: TablePath { catalog: text("c"), database: text("d"), table: text("t") },
                columns: physical.collect(),
                metadata: metadata.collect(),
                partition_keys: Vec::new(),
                primary_key: Vec::new(),
                options: all,
            },
        }
    }

    /// The same table of connector `upsert-kafka`.
    pub fn upsert(mut self, key: &str) -> Self {
        self.descriptor.primary_key = vec![key.to_owned()];
        let options = &mut self.descriptor.options;
        options.remove("scan.startup.mode");
        options.remove("format");
        options.insert("connector".to_owned(), "upsert-kafka".to_owned());
        for side in ["key.format", "value.format"] {
            options.entry(side.to_owned()).or_insert_with(|| "json".to_owned());
        }
        self
    }

    /// The same table with one option more.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.descriptor.options.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The columns that can be read.
    pub fn schema(&self) -> SchemaRef {
        let columns: Vec<Column> = self.descriptor.readable_columns().cloned().collect();
        Arc::new(sql_type::schema(&columns).unwrap())
    }

    /// Opens a reader.
    pub async fn reader(
        &self,
        share: Share,
        restored: Option<&[SplitPosition]>,
    ) -> Result<Box<dyn SourceReader>, Error> {
        self.connectors.validate(&self.descriptor).map_err(|error| Error::Invalid(error.message))?;
        let scan = ConnectorScan::new(self.descriptor.clone(), None, None);
        let request =
            OpenReader { scan: &scan, schema: self.schema(), batch_rows: 100, share, splits: &[], restored };
        open_reader(request).await
    }

    /// All rows of a table that ends, sorted.
    pub async fn rows(&self) -> Result<Vec<String>, Error> {
        let mut rows = drain(self.reader(ALONE, None).await?.as_mut()).await?;
        rows.sort();
        Ok(rows)
    }

    /// The sink.
    pub fn sink(&self) -> SinkDescriptor {
        SinkDescriptor { table: self.descriptor.clone(), overwrite: false, static_partition: BTreeMap::new() }
    }

    /// Opens a writer: an attempt of the only subtask of vertex 3.
    pub async fn writer(&self, schema: SchemaRef, attempt: u32) -> Result<Box<dyn SinkWriter>, Error> {
        let sink = self.sink();
        self.connectors.validate_sink(&sink, &schema).map_err(|error| Error::Invalid(error.message))?;
        let subtask = SubtaskId { vertex: VertexId(3), index: 0 };
        let attempt = Attempt { job: JobId(7), subtask, number: attempt };
        sink::open(&self.connectors, &sink, schema, attempt, 0).await
    }

    /// Commits; returns the number of rows.
    pub async fn commit(&self, committables: &[Committable]) -> Result<u64, Error> {
        commit::commit(&self.connectors, JobId(7), &self.sink(), committables)
            .await
            .map(|outcome| outcome.rows)
    }

    /// Aborts what the job has left open.
    pub async fn abort(&self) -> Result<(), Error> {
        commit::abort(&self.connectors, JobId(7), &self.sink()).await
    }
}

/// The next event; fails when there is none in time.
pub async fn next(reader: &mut dyn SourceReader) -> Result<Option<SourceEvent>, Error> {
    tokio::time::timeout(TIMEOUT, reader.next()).await.expect("a reader must not be silent for long")
}

/// All rows of a reader that ends.
pub async fn drain(reader: &mut dyn SourceReader) -> Result<Vec<String>, Error> {
    let mut all = Vec::new();
    while let Some(event) = next(reader).await? {
        if let SourceEvent::Rows { batch, .. } = event {
            all.extend(rows(&batch));
        }
    }
    Ok(all)
}

/// Rows of a reader until there are so many.
pub async fn take(reader: &mut dyn SourceReader, count: usize) -> Result<Vec<String>, Error> {
    let mut all = Vec::new();
    while all.len() < count {
        match next(reader).await? {
            Some(SourceEvent::Rows { batch, .. }) => all.extend(rows(&batch)),
            Some(_) => {}
            None => break,
        }
    }
    Ok(all)
}

/// Rows as texts of values joined by commas; NULL is empty.
pub fn rows(batch: &RecordBatch) -> Vec<String> {
    let cell = |row: usize| {
        let cells = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
        cells.collect::<Vec<_>>().join(",")
    };
    (0..batch.num_rows()).map(cell).collect()
}
