//! The log on disk, in one redb database of a member. Nothing is acknowledged before it is synced; one sync takes all that waits for it.
//!
//! A write that fails stops the member: what it has not kept it must never have promised.

use std::{
    collections::{BTreeMap, Bound},
    fmt::Debug,
    io,
    ops::RangeBounds,
    path::{Path, PathBuf},
    sync::Arc,
};

use openraft::{
    LogState, RaftLogReader, StorageIOError,
    storage::{LogFlushed, RaftLogStorage},
};
use parking_lot::Mutex;
use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tokio::sync::{mpsc, oneshot};

use super::{
    encoding,
    types::{Entry, LogId, StorageError, TypeConfig, Vote},
};
use crate::disk::Disk;

pub(super) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const VOTE: &str = "vote";
const PURGED: &str = "purged";
/// Writes that wait for the disk.
const QUEUE: usize = 4096;
/// Bytes of the database that are kept in memory.
const CACHE_BYTES: usize = 32 << 20;
/// Bytes of entries that go to a member at once, except that one entry always does: a call has no more time than is between two signs of
/// life of the leader.
const READ_BYTES_MAX: usize = 1 << 20;

/// A log that cannot be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder.
    #[error("cannot use `{}` for the quorum's log", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database.
    #[error("cannot use the quorum's log in `{}`", file.display())]
    Database {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: redb::Error,
    },
    /// What it has voted.
    #[error("cannot use the vote in the quorum's log")]
    Vote(#[source] io::Error),
}

/// A failure of one operation.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Database(#[from] redb::Error),
    #[error("entry {index} of the log: {source}")]
    Entry { index: u64, source: encoding::Error },
    #[error("the log's {what}: {source}")]
    Meta { what: &'static str, source: encoding::Error },
    #[error("whoever writes the log is gone")]
    Gone,
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for Broken {
            fn from(error: redb::$error) -> Self {
                Broken::Database(error.into())
            }
        }
    )*};
}
from_redb!(TransactionError, TableError, StorageError, CommitError);

/// Something for the writer.
enum Write {
    Append { entries: Vec<(u64, Vec<u8>)>, flushed: LogFlushed<TypeConfig> },
    Change { change: Change, done: oneshot::Sender<Result<(), Broken>> },
}

enum Change {
    Vote(Vote),
    Truncate(u64),
    Purge(LogId),
}

/// The log of one member.
#[derive(Clone)]
pub struct LogStore {
    database: Arc<Database>,
    /// Entries that are not on disk yet.
    unflushed: Arc<Mutex<BTreeMap<u64, Entry>>>,
    writes: mpsc::Sender<Write>,
}

impl LogStore {
    /// Opens the log in a folder, or begins it there.
    pub fn open(disk: &dyn Disk, folder: &Path) -> Result<Self, Error> {
        let folder_error = |source| Error::Folder { folder: folder.to_owned(), source };
        let file = folder.join("log.redb");
        let database_error = |source: redb::Error| Error::Database { file: file.clone(), source };
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let database = disk.open(&builder, &file).map_err(|error| database_error(error.into()))?;
        create_tables(&database).map_err(|broken| match broken {
            Broken::Database(source) => database_error(source),
            other => Error::Folder { folder: folder.to_owned(), source: io::Error::other(other) },
        })?;
        let database = Arc::new(database);
        let unflushed = Arc::<Mutex<BTreeMap<_, _>>>::default();
        let (writes, queue) = mpsc::channel(QUEUE);
        let writer = Writer { database: database.clone(), unflushed: unflushed.clone(), queue };
        disk.run_writer(Box::pin(writer.run())).map_err(folder_error)?;
        Ok(Self { database, unflushed, writes })
    }

    /// Has a member that led when its process ended lead no more: the Raft library would have it go on in the same term, in which workers
    /// may still follow orders of the process before, and slots have numbers that this one would give again. What it voted stays; it is elected
    /// like any other. Returns whether it led.
    pub fn stand_down(&self, member: u64) -> Result<bool, Error> {
        let standing_down = || -> Result<bool, Broken> {
            let Some(vote) = self.meta::<Vote>(VOTE)? else { return Ok(false) };
            if !vote.committed || vote.leader_id.node_id != member {
                return Ok(false);
            }
            let bytes = encoding::encode(&Vote::new(vote.leader_id.term, member));
            let bytes = bytes.map_err(|source| Broken::Meta { what: VOTE, source })?;
            let transaction = self.database.begin_write()?;
            transaction.open_table(META)?.insert(VOTE, bytes.as_slice())?;
            transaction.commit()?;
            Ok(true)
        };
        standing_down().map_err(|broken| Error::Vote(io::Error::other(broken)))
    }

    /// How far the log reaches.
    pub(super) fn last_log_id(&self) -> Result<Option<LogId>, Broken> {
        Ok(self.state()?.last_log_id)
    }

    async fn change(&self, change: Change) -> Result<(), Broken> {
        let (done, answer) = oneshot::channel();
        self.writes.send(Write::Change { change, done }).await.map_err(|_| Broken::Gone)?;
        answer.await.map_err(|_| Broken::Gone)?
    }

    fn meta<T: serde::de::DeserializeOwned>(&self, what: &'static str) -> Result<Option<T>, Broken> {
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(META)?;
        let Some(bytes) = table.get(what)? else { return Ok(None) };
        encoding::decode(bytes.value()).map(Some).map_err(|source| Broken::Meta { what, source })
    }

    fn entries(&self, range: impl RangeBounds<u64>, bytes_max: usize) -> Result<Vec<Entry>, Broken> {
        let bounds = (range.start_bound().cloned(), range.end_bound().cloned());
        // First what waits: it may be on disk by the time that is read, but never in neither.
        let waiting: BTreeMap<u64, Entry> = match is_empty(bounds) {
            true => return Ok(Vec::new()),
            false => {
                self.unflushed.lock().range(bounds).map(|(index, entry)| (*index, entry.clone())).collect()
            }
        };
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(LOG)?;
        let (mut entries, mut bytes_read) = (Vec::<Entry>::new(), 0);
        for stored in table.range(bounds)? {
            let (index, bytes) = stored?;
            let index = index.value();
            bytes_read += bytes.value().len();
            if bytes_read > bytes_max && !entries.is_empty() {
                return Ok(entries);
            }
            let decoded = encoding::decode(bytes.value());
            entries.push(decoded.map_err(|source| Broken::Entry { index, source })?);
        }
        let behind = entries.last().map(|entry| entry.log_id.index);
        entries
            .extend(waiting.into_iter().filter(|(index, _)| Some(*index) > behind).map(|(_, entry)| entry));
        Ok(entries)
    }

    fn state(&self) -> Result<LogState<TypeConfig>, Broken> {
        let last_purged_log_id = self.meta::<LogId>(PURGED)?;
        let waiting = self.unflushed.lock().values().next_back().map(|entry| entry.log_id);
        let transaction = self.database.begin_read()?;
        let table = transaction.open_table(LOG)?;
        let stored = match table.last()? {
            Some((index, bytes)) => {
                let index = index.value();
                let entry: Result<Entry, _> = encoding::decode(bytes.value());
                Some(entry.map_err(|source| Broken::Entry { index, source })?.log_id)
            }
            None => None,
        };
        Ok(LogState { last_purged_log_id, last_log_id: waiting.max(stored).or(last_purged_log_id) })
    }
}

fn is_empty(bounds: (Bound<u64>, Bound<u64>)) -> bool {
    let start = match bounds.0 {
        Bound::Included(start) => start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    match bounds.1 {
        Bound::Included(end) => end < start,
        Bound::Excluded(end) => end <= start,
        Bound::Unbounded => false,
    }
}

fn create_tables(database: &Database) -> Result<(), Broken> {
    let transaction = database.begin_write()?;
    transaction.open_table(LOG)?;
    transaction.open_table(META)?;
    Ok(transaction.commit()?)
}

/// Writes in the order in which it was asked.
struct Writer {
    database: Arc<Database>,
    unflushed: Arc<Mutex<BTreeMap<u64, Entry>>>,
    queue: mpsc::Receiver<Write>,
}

impl Writer {
    async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            let mut writes = vec![first];
            while let Ok(next) = self.queue.try_recv() {
                writes.push(next);
            }
            let outcome = self.write(&writes);
            if let Err(broken) = &outcome {
                tracing::error!(error = %broken, "the quorum's log cannot be written");
            }
            self.answer(writes, outcome);
        }
    }

    /// All of them in one transaction, with one sync.
    fn write(&self, writes: &[Write]) -> Result<(), Broken> {
        let mut transaction = self.database.begin_write()?;
        // It is the default; said because all depends on it.
        transaction.set_durability(Durability::Immediate).map_err(|error| Broken::Database(error.into()))?;
        {
            let mut log = transaction.open_table(LOG)?;
            let mut meta = transaction.open_table(META)?;
            for write in writes {
                match write {
                    Write::Append { entries, .. } => {
                        for (index, bytes) in entries {
                            log.insert(index, bytes.as_slice())?;
                        }
                    }
                    Write::Change { change: Change::Vote(vote), .. } => {
                        let bytes = encoding::encode(vote);
                        let bytes = bytes.map_err(|source| Broken::Meta { what: VOTE, source })?;
                        meta.insert(VOTE, bytes.as_slice())?;
                    }
                    Write::Change { change: Change::Truncate(from), .. } => {
                        log.retain_in(*from.., |_, _| false)?
                    }
                    Write::Change { change: Change::Purge(upto), .. } => {
                        let bytes = encoding::encode(upto);
                        let bytes = bytes.map_err(|source| Broken::Meta { what: PURGED, source })?;
                        meta.insert(PURGED, bytes.as_slice())?;
                        log.retain_in(..=upto.index, |_, _| false)?;
                    }
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn answer(&self, writes: Vec<Write>, outcome: Result<(), Broken>) {
        let text = outcome.err().map(|broken| broken.to_string());
        for write in writes {
            match (write, &text) {
                (Write::Append { entries, flushed }, None) => {
                    {
                        let mut unflushed = self.unflushed.lock();
                        entries.iter().for_each(|(index, _)| drop(unflushed.remove(index)));
                    }
                    flushed.log_io_completed(Ok(()));
                }
                (Write::Append { flushed, .. }, Some(text)) => {
                    flushed.log_io_completed(Err(io::Error::other(text.clone())));
                }
                (Write::Change { done, .. }, None) => drop(done.send(Ok(()))),
                (Write::Change { done, .. }, Some(text)) => {
                    drop(done.send(Err(Broken::Database(redb::Error::Io(io::Error::other(text.clone()))))));
                }
            }
        }
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        Ok(self.entries(range, usize::MAX).map_err(|broken| StorageIOError::read_logs(&broken))?)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        let entries = self.entries(start..end, READ_BYTES_MAX);
        Ok(entries.map_err(|broken| StorageIOError::read_logs(&broken))?)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        Ok(self.state().map_err(|broken| StorageIOError::read_logs(&broken))?)
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let saved = self.change(Change::Vote(*vote)).await;
        Ok(saved.map_err(|broken| StorageIOError::write_vote(&broken))?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.meta(VOTE).map_err(|broken| StorageIOError::read_vote(&broken))?)
    }

    async fn append<I>(&mut self, entries: I, flushed: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut encoded = Vec::new();
        for entry in entries {
            let index = entry.log_id.index;
            let bytes = encoding::encode(&entry).map_err(|source| Broken::Entry { index, source });
            encoded.push((
                index,
                bytes.map_err(|broken| StorageIOError::write_log_entry(entry.log_id, &broken))?,
            ));
            self.unflushed.lock().insert(index, entry);
        }
        let sent = self.writes.send(Write::Append { entries: encoded, flushed }).await;
        Ok(sent.map_err(|_| StorageIOError::write_logs(&Broken::Gone))?)
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        drop(self.unflushed.lock().split_off(&log_id.index));
        let done = self.change(Change::Truncate(log_id.index)).await;
        Ok(done.map_err(|broken| StorageIOError::write_logs(&broken))?)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let done = self.change(Change::Purge(log_id)).await;
        Ok(done.map_err(|broken| StorageIOError::write_logs(&broken))?)
    }
}
