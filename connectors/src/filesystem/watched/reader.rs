//! A subtask's share of a watched folder, as a stream of rows.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::execution::runtime_env::RuntimeEnv;
use futures::{StreamExt as _, future::BoxFuture};
use thalweg_graph::FailureKind;
use tokio::time::{Instant, Sleep, sleep};

use super::file_rows::{FileRows, Rows};
use crate::{
    error::{Error, Result},
    file_system::registry::FileSystems,
    filesystem::{
        bucket::{Bucket, FileId, UnderWay, is_own},
        files::TableFile,
        options::FilesystemOptions,
    },
    source::{OpenReader, Share, SourceEvent, SourceReader, SplitPosition},
};

/// A folder that cannot be listed for so long ends the job. Each listing has had the patience of its file system before.
const LISTING_PATIENCE: Duration = Duration::from_secs(600);

/// Reads what comes into a folder. To who reads it, it is one split.
pub struct WatchedFolder {
    table: String,
    files: Arc<FileRows>,
    share: Share,
    interval: Duration,
    /// Those that are this subtask's and have something.
    buckets: BTreeMap<u8, Bucket>,
    /// Files to read, in order.
    queue: VecDeque<TableFile>,
    step: Step,
    /// Whether there was a file.
    begun: bool,
    /// Whether it was said that there is nothing for the time being.
    idle: bool,
    failing_since: Option<Instant>,
}

/// What is done now. What is waited for is kept here, so that nothing is lost when a wait is given up.
enum Step {
    Waiting(Pin<Box<Sleep>>),
    Listing(BoxFuture<'static, Result<Option<Vec<TableFile>>>>),
    Opening(UnderWay, BoxFuture<'static, Result<Rows>>),
    Reading(Reading),
}

struct Reading {
    file: UnderWay,
    rows: Rows,
    /// Rows that were given before the job was restored.
    skip: u64,
}

/// Opens a reader of one subtask's share of a table.
pub async fn open_reader(
    file_systems: &Arc<FileSystems>,
    runtime: Arc<RuntimeEnv>,
    request: OpenReader<'_>,
) -> Result<Box<dyn SourceReader>> {
    let options = FilesystemOptions::of(&request.scan.table)?;
    let interval = options
        .monitor_interval
        .ok_or_else(|| Error::Internal("a folder that is not watched is read through its plan".to_owned()))?;
    let mut buckets = BTreeMap::new();
    for position in request.restored.into_iter().flatten() {
        let (number, bucket) = Bucket::decode(position)?;
        if is_own(number, request.share) {
            buckets.insert(number, bucket);
        }
    }
    let mut reader = WatchedFolder {
        table: request.scan.table.path.table.clone(),
        files: Arc::new(FileRows::new(file_systems, runtime, &request)?),
        share: request.share,
        interval,
        buckets,
        queue: VecDeque::new(),
        step: Step::Waiting(Box::pin(sleep(interval))),
        begun: false,
        idle: false,
        failing_since: None,
    };
    // What is there already holds event time back from the start, in every subtask.
    if let Some(listed) = reader.files.list().await? {
        reader.take(listed)?;
    }
    reader.go_on();
    Ok(Box::new(reader))
}

impl WatchedFolder {
    /// Queues what is new and forgets what is gone.
    fn take(&mut self, listed: Vec<TableFile>) -> Result<()> {
        let mut there = HashSet::with_capacity(listed.len());
        let mut new = Vec::new();
        for file in listed {
            let id = FileId::of(&file.status.path);
            if is_own(id.bucket(), self.share) {
                there.insert(id);
                let known = self.buckets.get(&id.bucket());
                if !known.is_some_and(|bucket| bucket.is_done(id)) {
                    new.push(file);
                }
            }
        }
        for bucket in self.buckets.values_mut() {
            bucket.retain(&there);
            if let Some(UnderWay { path, rows, .. }) = bucket.under_way()
                && !there.contains(&FileId::of(path))
            {
                return Err(Error::Invalid(format!(
                    "`{path}` is gone and only {rows} of its rows were read: put it back, for the job cannot go on without it"
                )));
            }
        }
        // What was begun goes first: each bucket has one such file at most.
        let was_begun = |file: &TableFile| {
            let bucket = self.buckets.get(&FileId::of(&file.status.path).bucket());
            bucket.and_then(Bucket::under_way).is_some_and(|begun| begun.path == file.status.path)
        };
        new.sort_by_cached_key(|file| (!was_begun(file), file.status.modified_ms, file.status.path.clone()));
        self.queue = new.into();
        Ok(())
    }

    /// Opens the next file, or waits until it is time to list again.
    fn go_on(&mut self) {
        let Some(file) = self.queue.pop_front() else {
            self.step = Step::Waiting(Box::pin(sleep(until_next(self.interval))));
            return;
        };
        let (path, bytes) = (file.status.path.clone(), file.status.bytes);
        let files = Arc::clone(&self.files);
        let opening = async move { files.open(file).await };
        self.step = Step::Opening(UnderWay { path, bytes, rows: 0 }, Box::pin(opening));
    }

    /// Begins to read a file, behind the rows that were given of it.
    fn begin(&mut self, mut file: UnderWay, rows: Rows) -> Result<()> {
        let bucket = self.buckets.entry(FileId::of(&file.path).bucket()).or_default();
        let begun = bucket.under_way().filter(|begun| begun.path == file.path);
        if let Some(begun) = begun {
            if begun.bytes != file.bytes {
                return Err(replaced(begun, &format!("it has {} bytes", file.bytes)));
            }
            file.rows = begun.rows;
        }
        self.step = Step::Reading(Reading { skip: file.rows, file, rows });
        Ok(())
    }

    fn listed(&mut self, listed: Result<Option<Vec<TableFile>>>) -> Result<()> {
        match listed {
            Ok(listed) => {
                self.failing_since = None;
                if let Some(listed) = listed {
                    self.take(listed)?;
                }
            }
            Err(error) => {
                let may_pass = matches!(error.kind(), FailureKind::Io | FailureKind::Unreachable);
                let since = *self.failing_since.get_or_insert_with(Instant::now);
                if !may_pass || since.elapsed() > LISTING_PATIENCE {
                    return Err(error);
                }
                let table = &self.table;
                tracing::warn!(table, error = error.chain(), "cannot list a watched folder; trying again");
            }
        }
        self.go_on();
        Ok(())
    }

    /// What comes of the next rows of the file that is read; nothing where all of them were given before.
    fn read(&mut self, batch: RecordBatch) -> Option<SourceEvent> {
        let Step::Reading(reading) = &mut self.step else { return None };
        let left_out = reading.skip.min(batch.num_rows() as u64);
        reading.skip -= left_out;
        let batch = batch.slice(left_out as usize, batch.num_rows() - left_out as usize);
        if batch.num_rows() == 0 {
            return None;
        }
        reading.file.rows += batch.num_rows() as u64;
        let file = reading.file.clone();
        self.buckets.entry(FileId::of(&file.path).bucket()).or_default().given(file);
        self.idle = false;
        Some(SourceEvent::Rows { split: 0, batch })
    }

    /// The file that is read has come to its end.
    fn finish(&mut self) -> Result<()> {
        if let Step::Reading(Reading { file, skip, .. }) = &self.step {
            if *skip > 0 {
                return Err(replaced(file, "it has fewer"));
            }
            let id = FileId::of(&file.path);
            self.buckets.entry(id.bucket()).or_default().finish(id);
        }
        self.go_on();
        Ok(())
    }

    /// What there is to say before there are rows.
    fn announce(&mut self) -> Option<SourceEvent> {
        let waits = matches!(self.step, Step::Waiting(_));
        if !waits && !std::mem::replace(&mut self.begun, true) {
            return Some(SourceEvent::Begin { split: 0, name: self.table.clone() });
        }
        let has_nothing = waits && self.begun && self.failing_since.is_none();
        (has_nothing && !std::mem::replace(&mut self.idle, true)).then_some(SourceEvent::Idle { split: 0 })
    }
}

fn replaced(file: &UnderWay, found: &str) -> Error {
    let UnderWay { path, bytes, rows } = file;
    Error::Invalid(format!(
        "`{path}` was replaced: {rows} rows of {bytes} bytes were read of it, and now {found}; a watched folder takes files that \
         never change, put the old one back"
    ))
}

/// Subtasks list at the same moments, so that files which came together are read together.
fn until_next(interval: Duration) -> Duration {
    let interval_ns = interval.as_nanos().max(1);
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    Duration::from_nanos((interval_ns - now_ns % interval_ns) as u64)
}

#[async_trait]
impl SourceReader for WatchedFolder {
    async fn next(&mut self) -> Result<Option<SourceEvent>> {
        loop {
            if let Step::Opening(..) | Step::Waiting(_) = self.step
                && let Some(event) = self.announce()
            {
                return Ok(Some(event));
            }
            match &mut self.step {
                Step::Waiting(sleep) => {
                    sleep.await;
                    let files = Arc::clone(&self.files);
                    self.step = Step::Listing(Box::pin(async move { files.list().await }));
                }
                Step::Listing(listing) => {
                    let listed = listing.await;
                    self.listed(listed)?;
                }
                Step::Opening(file, opening) => {
                    let rows = opening.await?;
                    let file = file.clone();
                    self.begin(file, rows)?;
                }
                Step::Reading(reading) => match reading.rows.next().await.transpose()? {
                    Some(batch) => {
                        if let Some(event) = self.read(batch) {
                            return Ok(Some(event));
                        }
                    }
                    None => self.finish()?,
                },
            }
        }
    }

    fn positions(&self) -> Result<Vec<SplitPosition>> {
        let positions = self.buckets.iter().map(|(number, bucket)| bucket.position(&self.table, *number));
        positions.filter_map(Result::transpose).collect()
    }
}
