//! Writes the rows of one partition of one attempt into staged files: one open file for each partition of the table that is
//! met, ended at the target size, or earlier when too many are open or memory is short.
//!
//! In a stream with checkpoints a barrier ends all open files. Those that are not large or old enough to be seen are kept as parts
//! (`rolling`), which a later barrier puts together.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch, UInt32Array},
    compute::{CastOptions, cast_with_options, take_record_batch},
    datatypes::SchemaRef,
    row::{RowConverter, SortField},
};
use async_trait::async_trait;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use futures::TryStreamExt as _;
use thalweg_graph::{
    Attempt, CheckpointId,
    checkpoint::{AfterBarrier, Barrier},
    table::Committable,
};

use super::{
    committable::{StagedFile, StagedFiles},
    merge::{Layout, Piece, merge},
    output::{Output, Written},
    part::{Part, Slice},
    partition_commits::PartitionCommits,
    rolling::{self, Closed, Rolling, now_ms},
    staging,
    target::Target,
};
use crate::{
    error::{Error, Result},
    file_system::{FileSystem, Location, registry::FileSystems},
    filesystem::partition::{self, PartitionText},
    format::{
        FileFormat,
        compress::Compressed,
        compression::Compression,
        encode::{EncodeFile, encoder},
    },
    options::TableOptions,
    writer::{Prepared, SinkOutcome, SinkWriter, StreamSink},
};

/// Files that are open at once; each costs buffers here and, in HDFS, a pipeline of DataNodes.
const OPEN_FILES_MAX: usize = 64;
/// Bytes of a file of a stream that are held before the file is begun: the next barrier may make a part of them.
const HELD_BYTES_MAX: u64 = 8 << 20;

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
    /// Of a stream with checkpoints.
    rolling: Option<Rolling>,
    /// Of a stream whose partitions are to be marked.
    commits: Option<PartitionCommits>,
    /// Whether files were handed out to be committed.
    handed_out: bool,
    /// Whether a barrier is through behind which the job ends, and what it reads does not.
    stopped: bool,
    memory: MemoryReservation,
    clock: u64,
    next_file: u32,
    bytes_written: u64,
}

struct OpenFile {
    encoder: Box<dyn EncodeFile>,
    output: Output,
    rows: u64,
    since_ms: i64,
    last_written: u64,
}

impl OpenFile {
    fn bytes(&self) -> u64 {
        self.output.bytes() + self.encoder.held_bytes() as u64
    }

    fn held_bytes(&self) -> usize {
        self.output.held_bytes() + self.encoder.held_bytes()
    }
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
            rolling: None,
            commits: None,
            handed_out: false,
            stopped: false,
            memory: MemoryConsumer::new("filesystem sink").with_can_spill(true).register(pool),
            clock: 0,
            next_file: 0,
            bytes_written: 0,
        })
    }

    /// In a stream: goes on with what a checkpoint has kept. Where none are taken, that becomes files.
    pub async fn go_on(&mut self, file_systems: &Arc<FileSystems>, stream: StreamSink) -> Result<()> {
        let fields = self.file_schema.fields().iter();
        let columns: Vec<String> =
            fields.map(|field| format!("{} {}", field.name(), field.data_type())).collect();
        let layout = format!("{} ({})", self.ending(), columns.join(", "));
        let restored = rolling::restored(&stream.restored, layout)?;
        if let Some(folder) = stream.checkpoints {
            let options = &self.target.options;
            if let Some(success_file) = options.success_file.clone().filter(|_| self.converter.is_some()) {
                let mut commits = PartitionCommits::new(options.partition_commit.clone(), success_file);
                commits.open.clone_from(&restored.open);
                self.commits = Some(commits);
            }
            let rolling = Rolling::open(file_systems, stream.uid, &folder, self.attempt, restored);
            self.rolling = Some(rolling.await?);
            return Ok(());
        }
        for part in restored.parts {
            let piece = Piece::Stored(Slice::of(file_systems, &part)?);
            let merged = self.merged(part.partition, vec![piece], part.rows, part.since_ms).await?;
            self.stage(merged).await?;
        }
        Ok(())
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
        if let Some(commits) = &mut self.commits {
            commits.note(&folder)?;
        }
        if !self.open.contains_key(&folder) {
            self.make_room().await?;
            let file = self.create()?;
            self.open.insert(folder.clone(), file);
        }
        self.clock += 1;
        let file =
            self.open.get_mut(&folder).ok_or_else(|| Error::Internal("a file is not open".to_owned()))?;
        file.last_written = self.clock;
        file.encoder.write(rows)?;
        file.rows += rows.num_rows() as u64;
        file.output.write(file.encoder.take()).await?;
        if file.bytes() >= self.target.options.target_file_bytes
            && let Some(full) = self.end(&folder).await?
        {
            self.stage(full).await?;
        }
        self.account().await
    }

    async fn make_room(&mut self) -> Result<()> {
        while self.open.len() >= OPEN_FILES_MAX {
            let oldest = self.open.iter().min_by_key(|(_, file)| file.last_written);
            let Some(folder) = oldest.map(|(folder, _)| folder.clone()) else { break };
            self.end_early(&folder).await?;
        }
        Ok(())
    }

    /// Tells the pool what is held; where it has no more, ends the largest files.
    async fn account(&mut self) -> Result<()> {
        loop {
            let held: usize = self.open.values().map(OpenFile::held_bytes).sum();
            if self.memory.try_resize(held).is_ok() {
                return Ok(());
            }
            let largest = self.open.iter().max_by_key(|(_, file)| file.held_bytes());
            let Some(folder) = largest.map(|(folder, _)| folder.clone()) else { return Ok(()) };
            self.end_early(&folder).await?;
        }
    }

    fn options(&self) -> TableOptions<'_> {
        TableOptions(&self.target.sink.table.options)
    }

    fn layout(&self) -> Layout<'_> {
        let (format, options) = (self.target.options.format, self.options());
        Layout {
            format,
            compression: output_compression(format, options),
            options,
            schema: &self.file_schema,
        }
    }

    /// What the names of files end with.
    fn ending(&self) -> String {
        let Layout { format, compression, .. } = self.layout();
        format!("{}{}", format.name(), compression.suffix())
    }

    /// The path of the next file.
    fn next_path(&mut self) -> String {
        let name = staging::file_name(self.attempt, self.partition, self.next_file, &self.ending());
        self.next_file += 1;
        format!("{}/{name}", self.folder)
    }

    fn create(&mut self) -> Result<OpenFile> {
        let path = self.next_path();
        let Layout { format, compression, options, schema } = self.layout();
        let encoder = Compressed::of(encoder(format, options, schema)?, compression)?;
        let held_bytes_max = if self.rolling.is_some() { HELD_BYTES_MAX } else { 0 };
        let output = Output::new(Arc::clone(self.file_system()), path, held_bytes_max);
        Ok(OpenFile { encoder, output, rows: 0, since_ms: now_ms(), last_written: self.clock })
    }

    /// Ends the open file of a partition.
    async fn end(&mut self, folder: &str) -> Result<Option<Closed>> {
        let Some(OpenFile { encoder, mut output, rows, since_ms, .. }) = self.open.remove(folder) else {
            return Ok(None);
        };
        output.write(encoder.finish()?).await?;
        let written = output.close().await?;
        self.bytes_written += written.bytes;
        Ok(Some(Closed { partition: folder.to_owned(), written, rows, since_ms }))
    }

    /// Ends a file that should have become larger.
    async fn end_early(&mut self, folder: &str) -> Result<()> {
        let Some(closed) = self.end(folder).await? else { return Ok(()) };
        let Some(rolling) = &mut self.rolling else { return self.stage(closed).await };
        let mut file = rolling.next_file()?;
        rolling.keep(closed, &mut file, &self.target.location).await?;
        file.close().await
    }

    /// Makes a whole file ready to be committed.
    async fn stage(&mut self, closed: Closed) -> Result<()> {
        let Closed { partition, written, rows, .. } = closed;
        let Written { path, bytes, .. } = written.into_file(self.file_system().as_ref()).await?;
        self.finished.push(StagedFile { staged: path, partition, rows, bytes });
        Ok(())
    }

    /// Puts pieces together.
    async fn merged(
        &mut self,
        partition: String,
        pieces: Vec<Piece>,
        rows: u64,
        since_ms: i64,
    ) -> Result<Closed> {
        let path = self.next_path();
        let mut output = Output::new(Arc::clone(self.file_system()), path, HELD_BYTES_MAX);
        match <[Piece; 1]>::try_from(pieces) {
            Ok([alone]) => {
                let mut pieces = alone.pieces();
                while let Some(piece) = pieces.try_next().await? {
                    output.write(piece).await?;
                }
            }
            Err(pieces) => merge(&self.layout(), pieces, &mut output).await?,
        }
        Ok(Closed { partition, written: output.close().await?, rows, since_ms })
    }

    /// Puts the parts of a partition and what was written behind them together.
    async fn merged_parts(
        &mut self,
        partition: &str,
        parts: Vec<Part>,
        last: Option<Closed>,
    ) -> Result<Option<Closed>> {
        if parts.is_empty() {
            return Ok(last);
        }
        let Some(rolling) = &self.rolling else { return Ok(last) };
        let mut rows = parts.iter().map(|part| part.rows).sum();
        let mut since_ms = parts.iter().map(|part| part.since_ms).min().unwrap_or_else(now_ms);
        let slices = parts.iter().map(|part| rolling.slice(part).map(Piece::Stored));
        let mut pieces = slices.collect::<Result<Vec<_>>>()?;
        let mut begun = None;
        if let Some(Closed { written, rows: last_rows, since_ms: last_since_ms, .. }) = last {
            rows += last_rows;
            since_ms = since_ms.min(last_since_ms);
            pieces.push(match written.held {
                Some(held) => Piece::Held(held.concat().into()),
                None => {
                    begun = Some(written.path.clone());
                    let location = Location { path: written.path, ..self.target.location.clone() };
                    Piece::Stored(Slice { location, offset: 0, bytes: written.bytes })
                }
            });
        }
        let merged = self.merged(partition.to_owned(), pieces, rows, since_ms).await?;
        if let Some(path) = begun {
            self.file_system().delete(&path).await?;
        }
        Ok(Some(merged))
    }

    /// Ends all open files and makes files of what is due, or of everything; the rest is kept. Returns the partitions that are complete.
    async fn roll(&mut self, due: Due) -> Result<Vec<String>> {
        let complete = match (&mut self.commits, due) {
            (Some(commits), Due::LargeOrOld | Due::All) => {
                let all = due == Due::All && !self.stopped;
                let Location { file_system, path } = &self.target.location;
                commits.complete(all, file_system.as_ref(), path).await?
            }
            _ => Vec::new(),
        };
        let Some(rolling) = &mut self.rolling else {
            self.end_all().await?;
            return Ok(complete);
        };
        let mut file = rolling.next_file()?;
        let folders: BTreeSet<String> = rolling.partitions().chain(self.open.keys()).cloned().collect();
        for folder in folders {
            let ended = self.end(&folder).await?;
            let is_due = complete.contains(&folder) || self.is_due(&folder, ended.as_ref(), due);
            let Some(rolling) = &mut self.rolling else { continue };
            if is_due {
                let parts = rolling.take(&folder);
                if let Some(merged) = self.merged_parts(&folder, parts, ended).await? {
                    self.stage(merged).await?;
                }
                continue;
            }
            if let Some(ended) = ended {
                rolling.keep(ended, &mut file, &self.target.location).await?;
            }
            let surplus = rolling.take_surplus(&folder);
            if let Some(merged) = self.merged_parts(&folder, surplus, None).await?
                && let Some(rolling) = &mut self.rolling
            {
                rolling.keep(merged, &mut file, &self.target.location).await?;
            }
        }
        file.close().await?;
        Ok(complete)
    }

    /// Whether the rows of a partition are to become a file now.
    fn is_due(&self, partition: &str, ended: Option<&Closed>, due: Due) -> bool {
        if due != Due::LargeOrOld {
            return due == Due::All;
        }
        let kept = self.rolling.as_ref().and_then(|rolling| rolling.extent(partition));
        let ended = ended.map(|ended| (ended.written.bytes, ended.since_ms));
        let extents = kept.into_iter().chain(ended);
        let Some((bytes, since_ms)) = extents.reduce(|one, other| (one.0 + other.0, one.1.min(other.1)))
        else {
            return false;
        };
        let options = &self.target.options;
        bytes >= options.target_file_bytes
            || now_ms().saturating_sub(since_ms) >= options.rollover_interval.as_millis() as i64
    }

    async fn end_all(&mut self) -> Result<()> {
        let mut folders: Vec<String> = self.open.keys().cloned().collect();
        folders.sort();
        for folder in folders {
            if let Some(closed) = self.end(&folder).await? {
                self.stage(closed).await?;
            }
        }
        Ok(())
    }

    /// Hands on the files that have become ready since the last call, and which partitions are complete.
    fn staged(&mut self, complete: Vec<String>) -> StagedFiles {
        self.handed_out = true;
        let staging = staging::of_sink(&self.target.location.path, self.attempt);
        let kept = self.rolling.iter().flat_map(Rolling::partitions).cloned().collect();
        let progress = self.commits.as_ref().map(|commits| commits.progress(complete, kept));
        StagedFiles { staging, files: std::mem::take(&mut self.finished), progress }
    }

    fn committable(&mut self, complete: Vec<String>) -> Result<Option<Committable>> {
        match self.finished.is_empty() && self.commits.is_none() {
            true => Ok(None),
            false => self.staged(complete).encode().map(Some),
        }
    }

    /// The partitions that are not marked, as a checkpoint keeps them.
    fn open_partitions(&self) -> BTreeMap<String, i64> {
        self.commits.as_ref().map(|commits| commits.open.clone()).unwrap_or_default()
    }
}

/// What a barrier makes files of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Of nothing.
    Nothing,
    /// Of the rows of a partition that are many, or have waited for long.
    LargeOrOld,
    /// Of everything.
    All,
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

    fn event_time(&mut self, reached_ms: Option<i64>) {
        if let Some(commits) = &mut self.commits {
            commits.event_time(reached_ms);
        }
    }

    async fn prepare(&mut self, _checkpoint: CheckpointId) -> Result<Option<Committable>> {
        let complete = self.roll(Due::All).await?;
        self.committable(complete)
    }

    /// A savepoint that the job survives makes nothing visible: the job may go on from a checkpoint before it.
    async fn barrier(&mut self, barrier: &Barrier) -> Result<Prepared> {
        let due = match (barrier.then, &barrier.savepoint) {
            (AfterBarrier::GoOn, None) => Due::LargeOrOld,
            (AfterBarrier::GoOn, Some(_)) => Due::Nothing,
            (AfterBarrier::Stop | AfterBarrier::Drain, _) => Due::All,
        };
        self.stopped = barrier.then == AfterBarrier::Stop;
        let complete = self.roll(due).await?;
        let open = self.open_partitions();
        let Some(rolling) = &mut self.rolling else {
            return Ok(Prepared { committable: self.committable(complete)?, state: None });
        };
        let location = &self.target.location;
        if let (Due::Nothing, Some(folder)) = (due, &barrier.savepoint) {
            let state = rolling.copied(folder, &self.finished, location, open).await?;
            return Ok(Prepared { committable: None, state });
        }
        let state = rolling.state(open)?;
        Ok(Prepared { committable: self.committable(complete)?, state })
    }

    async fn finish(mut self: Box<Self>) -> Result<SinkOutcome> {
        let complete = self.roll(Due::All).await?;
        let committable = self.staged(complete).encode()?;
        Ok(SinkOutcome { committable: Some(committable), bytes_written: self.bytes_written })
    }

    /// What was handed out stays: its checkpoint may be complete.
    async fn abort(mut self: Box<Self>) {
        let mut paths: Vec<String> =
            std::mem::take(&mut self.open).into_values().map(|file| file.output.path().to_owned()).collect();
        paths.extend(self.finished.iter().map(|file| file.staged.clone()));
        if !self.handed_out {
            paths = vec![self.folder.clone()];
        }
        for path in paths {
            if let Err(error) = self.file_system().delete(&path).await {
                tracing::warn!(path, error = %error.chain(), "cannot remove a file of a failed attempt");
            }
        }
    }
}
