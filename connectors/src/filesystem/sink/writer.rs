//! Writes the rows of one partition of one attempt into staged files: one open file for each partition of the table that is
//! met, ended at the target size, or earlier when too many are open or memory is short.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, UInt32Array},
    compute::{CastOptions, cast_with_options, take_record_batch},
    datatypes::SchemaRef,
    row::{RowConverter, SortField},
};
use async_trait::async_trait;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use thalweg_graph::{Attempt, CheckpointId, table::Committable};

use super::{
    committable::{StagedFile, StagedFiles},
    staging,
    target::Target,
};
use crate::{
    error::{Error, Result},
    file_system::{FileSystem, FileWriter},
    filesystem::partition::{self, PartitionText},
    format::{
        FileFormat,
        compress::Compressed,
        compression::Compression,
        encode::{EncodeFile, encoder},
    },
    options::TableOptions,
    writer::{SinkOutcome, SinkWriter},
};

/// Files that are open at once; each costs buffers here and, in HDFS, a pipeline of DataNodes.
const OPEN_FILES_MAX: usize = 64;

/// The writer.
pub struct FilesystemWriter {
    target: Target,
    attempt: Attempt,
    partition: u32,
    folder: String,
    /// The partition columns among those of the rows, and the others.
    partition_positions: Vec<usize>,
    file_positions: Vec<usize>,
    file_schema: SchemaRef,
    converter: Option<RowConverter>,
    /// By the folder of the table's partition.
    open: HashMap<String, OpenFile>,
    finished: Vec<StagedFile>,
    memory: MemoryReservation,
    clock: u64,
    next_file: u32,
    bytes_written: u64,
}

struct OpenFile {
    path: String,
    encoder: Box<dyn EncodeFile>,
    writer: Box<dyn FileWriter>,
    rows: u64,
    bytes: u64,
    last_written: u64,
}

impl FilesystemWriter {
    /// Creates the staging folder, so that a missing permission is known before rows are made.
    pub async fn open(
        target: Target,
        attempt: Attempt,
        partition: u32,
        pool: &Arc<dyn MemoryPool>,
    ) -> Result<Self> {
        let row_schema = Arc::clone(&target.row_schema);
        let keys: Vec<String> = target
            .sink
            .table
            .partition_keys
            .iter()
            .filter(|key| row_schema.index_of(key).is_ok())
            .cloned()
            .collect();
        let (partition_positions, file_positions) = partition::positions(&row_schema, &keys)?;
        let failed = |error: arrow::error::ArrowError| Error::Rows(error.into());
        let sort_field = |position: &usize| SortField::new(row_schema.field(*position).data_type().clone());
        let converter = match partition_positions.is_empty() {
            true => None,
            false => {
                let fields = partition_positions.iter().map(sort_field).collect();
                Some(RowConverter::new(fields).map_err(failed)?)
            }
        };
        let folder = staging::of_writer(&target.location.path, attempt, partition);
        target.location.file_system.create_dirs(&folder).await?;
        Ok(Self {
            file_schema: Arc::new(row_schema.project(&file_positions).map_err(failed)?),
            partition_positions,
            file_positions,
            converter,
            folder,
            target,
            attempt,
            partition,
            open: HashMap::new(),
            finished: Vec::new(),
            memory: MemoryConsumer::new("filesystem sink").with_can_spill(true).register(pool),
            clock: 0,
            next_file: 0,
            bytes_written: 0,
        })
    }

    fn file_system(&self) -> &Arc<dyn FileSystem> {
        &self.target.location.file_system
    }

    /// The rows in the table's types.
    fn cast(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let strict = CastOptions { safe: false, ..Default::default() };
        let columns = batch.columns().iter().zip(self.target.row_schema.fields());
        let columns = columns.map(|(column, field)| cast_with_options(column, field.data_type(), &strict));
        let columns = columns.collect::<std::result::Result<Vec<ArrayRef>, _>>();
        let cast =
            columns.and_then(|columns| RecordBatch::try_new(Arc::clone(&self.target.row_schema), columns));
        cast.map_err(|error| Error::Rows(error.into()))
    }

    /// The rows of each partition of the table, without the columns that the folder's name says.
    fn split(&self, batch: &RecordBatch) -> Result<Vec<(String, RecordBatch)>> {
        let failed = |error: arrow::error::ArrowError| Error::Rows(error.into());
        let in_file = batch.project(&self.file_positions).map_err(failed)?;
        let Some(converter) = &self.converter else {
            return Ok(vec![(self.folder_of(&[]), in_file)]);
        };
        let keys: Vec<ArrayRef> =
            self.partition_positions.iter().map(|position| Arc::clone(batch.column(*position))).collect();
        let rows = converter.convert_columns(&keys).map_err(failed)?;
        let mut rows_by_key: HashMap<&[u8], Vec<u32>> = HashMap::new();
        for (number, row) in rows.iter().enumerate() {
            rows_by_key.entry(row.data()).or_default().push(number as u32);
        }
        let texts = PartitionText::new(&keys)?;
        let mut parts = Vec::with_capacity(rows_by_key.len());
        for numbers in rows_by_key.into_values() {
            let folder = self.folder_of(&texts.of_row(numbers[0] as usize));
            let part = match numbers.len() == batch.num_rows() {
                true => in_file.clone(),
                false => take_record_batch(&in_file, &UInt32Array::from(numbers)).map_err(failed)?,
            };
            parts.push((folder, part));
        }
        // So that every attempt names the same files alike.
        parts.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(parts)
    }

    /// The folder for values of the partition columns that rows bring; the PARTITION clause gives the others.
    fn folder_of(&self, values: &[Option<String>]) -> String {
        let keys = &self.target.sink.table.partition_keys;
        let mut brought = values.iter();
        let value = |key: &String| match self.target.row_schema.index_of(key) {
            Ok(_) => brought.next().cloned().flatten(),
            Err(_) => self.target.sink.static_partition.get(key).cloned().flatten(),
        };
        let values: Vec<Option<String>> = keys.iter().map(value).collect();
        partition::folder(keys, &values, &self.target.options.default_partition_name)
    }

    async fn append(&mut self, folder: String, rows: &RecordBatch) -> Result<()> {
        if !self.open.contains_key(&folder) {
            self.make_room().await?;
            let file = self.create().await?;
            self.open.insert(folder.clone(), file);
        }
        self.clock += 1;
        let file =
            self.open.get_mut(&folder).ok_or_else(|| Error::Internal("a file is not open".to_owned()))?;
        file.last_written = self.clock;
        file.encoder.write(rows)?;
        file.rows += rows.num_rows() as u64;
        let bytes = file.encoder.take();
        if !bytes.is_empty() {
            file.bytes += bytes.len() as u64;
            file.writer.write(bytes).await?;
        }
        if file.bytes + file.encoder.held_bytes() as u64 >= self.target.options.target_file_bytes {
            self.close(&folder).await?;
        }
        self.account().await
    }

    async fn make_room(&mut self) -> Result<()> {
        while self.open.len() >= OPEN_FILES_MAX {
            let oldest = self.open.iter().min_by_key(|(_, file)| file.last_written);
            let Some(folder) = oldest.map(|(folder, _)| folder.clone()) else { break };
            self.close(&folder).await?;
        }
        Ok(())
    }

    /// Tells the pool what is held; where it has no more, ends the largest files.
    async fn account(&mut self) -> Result<()> {
        loop {
            let held: usize = self.open.values().map(|file| file.encoder.held_bytes()).sum();
            if self.memory.try_resize(held).is_ok() {
                return Ok(());
            }
            let largest = self.open.iter().max_by_key(|(_, file)| file.encoder.held_bytes());
            let Some(folder) = largest.map(|(folder, _)| folder.clone()) else { return Ok(()) };
            self.close(&folder).await?;
        }
    }

    async fn create(&mut self) -> Result<OpenFile> {
        let format = self.target.options.format;
        let options = TableOptions(&self.target.sink.table.options);
        let compression = output_compression(format, options);
        let ending = format!("{}{}", format.name(), compression.suffix());
        let name = staging::file_name(self.attempt, self.partition, self.next_file, &ending);
        self.next_file += 1;
        let path = format!("{}/{name}", self.folder);
        let encoder = Compressed::of(encoder(format, options, &self.file_schema)?, compression)?;
        let writer = self.file_system().create(&path).await?;
        Ok(OpenFile { path, encoder, writer, rows: 0, bytes: 0, last_written: self.clock })
    }

    /// Ends all open files and hands on those that have ended since the last call.
    async fn end_files(&mut self) -> Result<StagedFiles> {
        let mut folders: Vec<String> = self.open.keys().cloned().collect();
        folders.sort();
        for folder in folders {
            self.close(&folder).await?;
        }
        let staging = staging::of_sink(&self.target.location.path, self.attempt);
        Ok(StagedFiles { staging, files: std::mem::take(&mut self.finished) })
    }

    async fn close(&mut self, folder: &str) -> Result<()> {
        let Some(mut file) = self.open.remove(folder) else { return Ok(()) };
        let rest = file.encoder.finish()?;
        file.bytes += rest.len() as u64;
        if !rest.is_empty() {
            file.writer.write(rest).await?;
        }
        file.writer.close().await?;
        self.bytes_written += file.bytes;
        let (staged, partition) = (file.path, folder.to_owned());
        self.finished.push(StagedFile { staged, partition, rows: file.rows, bytes: file.bytes });
        Ok(())
    }
}

/// How whole files are compressed; those of other formats are inside, if they are.
fn output_compression(format: FileFormat, options: TableOptions<'_>) -> Compression {
    let option = match format {
        FileFormat::Csv => "csv.compression",
        FileFormat::Json => "json.compression",
        FileFormat::Parquet | FileFormat::Avro | FileFormat::Orc => return Compression::None,
    };
    options.text(option).map_or(Compression::None, Compression::named)
}

#[async_trait]
impl SinkWriter for FilesystemWriter {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = self.cast(&batch)?;
        for (folder, rows) in self.split(&batch)? {
            self.append(folder, &rows).await?;
        }
        Ok(())
    }

    async fn prepare(&mut self, _checkpoint: CheckpointId) -> Result<Option<Committable>> {
        let staged = self.end_files().await?;
        if staged.files.is_empty() { Ok(None) } else { staged.encode().map(Some) }
    }

    async fn finish(mut self: Box<Self>) -> Result<SinkOutcome> {
        let staged = self.end_files().await?;
        Ok(SinkOutcome { committable: Some(staged.encode()?), bytes_written: self.bytes_written })
    }

    async fn abort(mut self: Box<Self>) {
        self.open.clear();
        if let Err(error) = self.file_system().delete(&self.folder).await {
            tracing::warn!(folder = self.folder, error = %error.chain(), "cannot remove the files of a failed attempt");
        }
    }
}
