//! Writes what has ended, beside the dispatcher, and reads it again.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use thalweg_graph::{Failure, FailureKind, JobId};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    HistoryStorage,
    catalogue::Catalogue,
    segment::{self, Builder},
};
use crate::{
    clock::Timestamp,
    view::{EndedJob, JobSummary},
};

/// Jobs that wait to be written. What comes when there are so many is lost to the history.
const WAITING_MAX: usize = 4096;
/// Jobs that are written at once.
const BATCH: usize = 512;
/// Time for the last ones when the JobManager stops.
const FAREWELL: Duration = Duration::from_secs(5);
/// Jobs that were written or read last, and are at hand.
const AT_HAND: usize = 32;

/// How long is waited for what.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Time in which those that end shortly after another go with it.
    linger: Duration,
    /// Pauses between tries to write: the first, and the longest.
    retry: (Duration, Duration),
    /// How often a job that is not found makes this JobManager look for files of others.
    look_again: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(300),
            retry: (Duration::from_secs(1), Duration::from_secs(60)),
            look_again: Duration::from_secs(10),
        }
    }
}

/// Jobs that have ended. Cheap to clone.
#[derive(Clone)]
pub struct History {
    shelf: Arc<Shelf>,
    ended: mpsc::Sender<Ended>,
    stop: CancellationToken,
    writing: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// What is to be written.
enum Ended {
    /// A job.
    Job(Arc<EndedJob>),
    /// Those of these of which no file knows: of a leader before.
    Others(Vec<Arc<EndedJob>>),
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

impl History {
    /// Keeps at least the newest `retained` jobs in this storage. Must be called inside a tokio runtime.
    pub fn open(storage: Arc<dyn HistoryStorage>, retained: usize) -> Self {
        Self::open_with(storage, retained, Pace::default())
    }

    fn open_with(storage: Arc<dyn HistoryStorage>, retained: usize, pace: Pace) -> Self {
        let shelf = Arc::new(Shelf {
            storage,
            retained,
            pace,
            catalogue: Mutex::default(),
            at_hand: Mutex::default(),
            looked: tokio::sync::Mutex::default(),
        });
        let (ended, waiting) = mpsc::channel(WAITING_MAX);
        let stop = CancellationToken::new();
        let writing = tokio::spawn(write_all(shelf.clone(), waiting, stop.clone()));
        Self { shelf, ended, stop, writing: Arc::new(Mutex::new(Some(writing))) }
    }

    /// Has a job written that has ended; waits for nothing.
    pub fn keep(&self, job: Arc<EndedJob>) {
        self.shelf.take_in_hand(job.clone());
        self.send(Ended::Job(job));
    }

    /// Has those of these jobs written that no file has.
    pub fn keep_unknown(&self, jobs: Vec<Arc<EndedJob>>) {
        self.send(Ended::Others(jobs));
    }

    fn send(&self, ended: Ended) {
        if self.ended.try_send(ended).is_err() {
            tracing::warn!("jobs end faster than they can be written: the history misses some");
        }
    }

    /// A line of each job, in no order.
    pub async fn summaries(&self) -> Result<Vec<JobSummary>, Failure> {
        self.shelf.look(None).await?;
        Ok(self.shelf.catalogue.lock().summaries())
    }

    /// All about a job, if it is in the history.
    pub async fn job(&self, job: JobId) -> Result<Option<Arc<EndedJob>>, Failure> {
        self.shelf.job(job).await
    }

    /// Writes what waits, and no more.
    pub async fn stop(&self) {
        self.stop.cancel();
        let writing = self.writing.lock().take();
        if let Some(mut writing) = writing
            && tokio::time::timeout(FAREWELL, &mut writing).await.is_err()
        {
            tracing::warn!("the history misses jobs that have just ended: the storage does not answer");
            writing.abort();
        }
    }
}

/// The files.
struct Shelf {
    storage: Arc<dyn HistoryStorage>,
    retained: usize,
    pace: Pace,
    catalogue: Mutex<Catalogue>,
    at_hand: Mutex<VecDeque<Arc<EndedJob>>>,
    /// When all files were known last. One looks at a time.
    looked: tokio::sync::Mutex<Option<Instant>>,
}

impl Shelf {
    fn take_in_hand(&self, job: Arc<EndedJob>) {
        let mut at_hand = self.at_hand.lock();
        at_hand.retain(|other| other.job() != job.job());
        at_hand.push_front(job);
        at_hand.truncate(AT_HAND);
    }

    async fn job(&self, job: JobId) -> Result<Option<Arc<EndedJob>>, Failure> {
        let at_hand = self.at_hand.lock().iter().find(|other| other.job() == job).cloned();
        if at_hand.is_some() {
            return Ok(at_hand);
        }
        self.look(None).await?;
        let found = match self.read(job).await? {
            // Another may have written it, or merged the file that it was in.
            None if self.look(Some(self.pace.look_again)).await? => self.read(job).await?,
            found => found,
        };
        if let Some(found) = &found {
            self.take_in_hand(found.clone());
        }
        Ok(found)
    }

    async fn read(&self, job: JobId) -> Result<Option<Arc<EndedJob>>, Failure> {
        let place = self.catalogue.lock().find(job).map(|(name, entry)| (name.to_owned(), entry.clone()));
        let Some((name, entry)) = place else { return Ok(None) };
        let Some(file) = self.storage.read(&name).await? else {
            self.catalogue.lock().remove(&name);
            *self.looked.lock().await = None;
            self.look(None).await?;
            return Ok(None);
        };
        let job = segment::job(&file, &entry).map_err(|error| unreadable(&name, &error))?;
        Ok(Some(Arc::new(job)))
    }

    /// Gets to know the files that are there, if that was never done or is so long ago; says whether it looked.
    async fn look(&self, age: Option<Duration>) -> Result<bool, Failure> {
        let mut looked = self.looked.lock().await;
        let is_new = looked.is_some_and(|at| age.is_none_or(|age| at.elapsed() < age));
        if is_new {
            return Ok(false);
        }
        let names = self.storage.list().await?;
        let names: Vec<String> = names.into_iter().filter(|name| FileName::is_one(name)).collect();
        let new = self.catalogue.lock().compare(&names);
        for name in new {
            let Some(file) = self.storage.read(&name).await? else { continue };
            match segment::entries(&file) {
                Ok(entries) => self.catalogue.lock().add(name, file.len() as u64, entries),
                Err(error) => {
                    tracing::warn!(failure = %unreadable(&name, &error), "jobs are missing from the history");
                    self.catalogue.lock().add_damaged(name);
                }
            }
        }
        *looked = Some(Instant::now());
        Ok(true)
    }

    /// Writes a file with these jobs.
    async fn write(&self, jobs: &[Arc<EndedJob>]) -> Result<(), Failure> {
        let mut builder = Builder::new();
        jobs.iter().try_for_each(|job| builder.add(job)).map_err(|error| bug(&error))?;
        self.add(FileName::now(), builder).await
    }

    async fn add(&self, name: FileName, builder: Builder) -> Result<(), Failure> {
        let (file, entries) = builder.finish().map_err(|error| bug(&error))?;
        let (name, bytes) = (name.to_string(), file.len() as u64);
        self.storage.write(&name, file).await?;
        self.catalogue.lock().add(name, bytes, entries);
        Ok(())
    }

    /// Merges files and drops old ones until there is nothing to do.
    async fn tidy(&self) -> Result<(), Failure> {
        self.look(None).await?;
        loop {
            let merged = self.catalogue.lock().to_merge();
            let Some(names) = merged else { break };
            if !self.merge(&names).await? {
                break;
            }
        }
        let old = self.catalogue.lock().to_drop(self.retained);
        for name in old {
            self.storage.remove(&name).await?;
            self.catalogue.lock().remove(&name);
        }
        Ok(())
    }

    /// Says whether it could be done.
    async fn merge(&self, names: &[String]) -> Result<bool, Failure> {
        let mut builder = Builder::new();
        for name in names {
            let Some(file) = self.storage.read(name).await? else {
                // Another has merged it.
                self.catalogue.lock().remove(name);
                return Ok(false);
            };
            let copied = segment::entries(&file)
                .and_then(|entries| entries.iter().try_for_each(|entry| builder.copy(&file, entry)));
            if let Err(error) = copied {
                tracing::warn!(failure = %unreadable(name, &error), "jobs are missing from the history");
                let mut catalogue = self.catalogue.lock();
                catalogue.remove(name);
                catalogue.add_damaged(name.clone());
                return Ok(false);
            }
        }
        let Some(name) = names.iter().max().and_then(|last| FileName::merged(last)) else { return Ok(false) };
        self.add(name, builder).await?;
        for name in names {
            self.storage.remove(name).await?;
            self.catalogue.lock().remove(name);
        }
        Ok(true)
    }
}

/// Writes what comes until it is told to stop, and then what waits.
async fn write_all(shelf: Arc<Shelf>, mut waiting: mpsc::Receiver<Ended>, stop: CancellationToken) {
    loop {
        let first = tokio::select! {
            first = waiting.recv() => first,
            () = stop.cancelled() => waiting.try_recv().ok(),
        };
        let Some(first) = first else { return };
        tokio::select! {
            () = tokio::time::sleep(shelf.pace.linger) => {}
            () = stop.cancelled() => {}
        }
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        let (mut pause, longest) = shelf.pace.retry;
        while let Err(failure) = write_batch(&shelf, &batch).await {
            tracing::warn!(%failure, retry_in_s = pause.as_secs(), "the history cannot be written");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            pause = (pause * 2).min(longest);
        }
        if let Err(failure) = shelf.tidy().await {
            tracing::warn!(%failure, "files of the history cannot be merged or removed; that is tried again");
        }
    }
}

async fn write_batch(shelf: &Shelf, batch: &[Ended]) -> Result<(), Failure> {
    let mut jobs = Vec::with_capacity(batch.len());
    for ended in batch {
        match ended {
            Ended::Job(job) => jobs.push(job.clone()),
            Ended::Others(others) => {
                // That they were not there when another wrote them would say nothing.
                shelf.look(Some(Duration::ZERO)).await?;
                let catalogue = shelf.catalogue.lock();
                jobs.extend(others.iter().filter(|job| catalogue.find(job.job()).is_none()).cloned());
            }
        }
    }
    match jobs.is_empty() {
        true => Ok(()),
        false => shelf.write(&jobs).await,
    }
}

/// The name of a file: `jobs-<time>-<merges>-<random>`, so that names sort by the time of the newest job, and a merged file behind its parts.
struct FileName {
    time: u64,
    merges: u32,
    random: u32,
}

const PREFIX: &str = "jobs-";

impl FileName {
    fn now() -> Self {
        Self { time: Timestamp::wall().0, merges: 0, random: rand::random() }
    }

    fn merged(last: &str) -> Option<Self> {
        let Self { time, merges, .. } = Self::parse(last)?;
        Some(Self { time, merges: merges + 1, random: rand::random() })
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('-');
        let (time, merges, random) = (parts.next()?, parts.next()?, parts.next()?);
        let random = u32::from_str_radix(random, 16).ok()?;
        Some(Self { time: time.parse().ok()?, merges: merges.parse().ok()?, random })
    }

    fn is_one(name: &str) -> bool {
        Self::parse(name).is_some_and(|parsed| parsed.to_string() == name)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:015}-{:03}-{:08x}", self.time, self.merges, self.random)
    }
}

fn unreadable(name: &str, error: &segment::Damaged) -> Failure {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    Failure::new(FailureKind::Io, format!("the history's file `{name}` cannot be read: {error}{source}"))
}

fn bug(error: &serde_json::Error) -> Failure {
    Failure::new(FailureKind::Deterministic, format!("a job cannot be written to the history: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::testing::{HistoryInMemory as Files, ended_job};

    fn ended(job: u128) -> Arc<EndedJob> {
        Arc::new(ended_job(job))
    }

    async fn numbers(history: &History) -> Vec<u128> {
        let mut numbers: Vec<_> =
            history.summaries().await.unwrap().iter().map(|summary| summary.job.0).collect();
        numbers.sort_unstable();
        numbers
    }

    const MS: Duration = Duration::from_millis(1);

    fn open(files: &Arc<Files>) -> History {
        let pace = Pace { linger: MS, retry: (MS, MS), look_again: Duration::ZERO };
        History::open_with(files.clone(), 100, pace)
    }

    /// Waits until another history sees that the files have all of these jobs.
    async fn wait_for(files: &Arc<Files>, jobs: &[u128]) {
        let waiting = async {
            loop {
                let seen = numbers(&open(files)).await;
                if jobs.iter().all(|job| seen.contains(job)) {
                    return;
                }
                tokio::time::sleep(MS).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the jobs are not written");
    }

    #[tokio::test]
    async fn what_was_kept_is_there_for_the_next() {
        let files = Arc::new(Files::default());
        let history = open(&files);
        for job in 1..=3 {
            history.keep(ended(job));
        }
        history.stop().await;
        assert_eq!(files.files.lock().len(), 1, "those that end together share a file");
        let next = open(&files);
        assert_eq!(numbers(&next).await, [1, 2, 3]);
        let job = next.job(JobId(2)).await.unwrap().unwrap();
        assert_eq!(job.details.summary, ended(2).details.summary);
        assert!(next.job(JobId(4)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn many_jobs_are_in_few_files_and_the_oldest_go() {
        let files = Arc::new(Files::default());
        let history = open(&files);
        for job in 1..=300 {
            history.keep(ended(job));
            wait_for(&files, &[job]).await;
        }
        history.stop().await;
        let numbers = numbers(&history).await;
        assert!(numbers.len() >= 100 && numbers.len() < 200, "{} jobs", numbers.len());
        assert!(numbers.contains(&300));
        assert!(files.files.lock().len() < 25, "{} files", files.files.lock().len());
    }

    #[tokio::test]
    async fn a_storage_that_is_away_for_a_while_loses_nothing() {
        let files = Arc::new(Files::default());
        let history = open(&files);
        *files.failing.lock() = true;
        history.keep(ended(1));
        assert!(history.summaries().await.unwrap_err().message.contains("the disk is away"));
        assert!(history.job(JobId(2)).await.unwrap_err().message.contains("the disk is away"));
        *files.failing.lock() = false;
        wait_for(&files, &[1]).await;
    }

    #[tokio::test]
    async fn a_leader_sees_what_others_write_and_writes_what_they_did_not() {
        let files = Arc::new(Files::default());
        let (one, other) = (open(&files), open(&files));
        assert!(other.job(JobId(1)).await.unwrap().is_none());
        one.keep(ended(1));
        one.stop().await;
        assert!(other.job(JobId(1)).await.unwrap().is_some());
        let poor = |job| {
            let mut job = ended_job(job);
            Arc::make_mut(&mut job.details).vertices.clear();
            Arc::new(job)
        };
        let third = open(&files);
        third.keep_unknown(vec![poor(1), poor(2)]);
        third.stop().await;
        let next = open(&files);
        assert_eq!(numbers(&next).await, [1, 2]);
        let vertices = |job: Arc<EndedJob>| job.details.vertices.len();
        assert_eq!(vertices(next.job(JobId(1)).await.unwrap().unwrap()), 1, "that of who knew all");
        assert_eq!(vertices(next.job(JobId(2)).await.unwrap().unwrap()), 0);
    }

    #[tokio::test]
    async fn a_file_that_was_damaged_costs_its_own_jobs_only() {
        let files = Arc::new(Files::default());
        let history = open(&files);
        history.keep(ended(1));
        wait_for(&files, &[1]).await;
        let damaged = files.files.lock().keys().next().unwrap().clone();
        history.keep(ended(2));
        history.stop().await;
        let cut = files.files.lock()[&damaged].slice(..20);
        files.files.lock().insert(damaged, cut);
        let next = open(&files);
        assert_eq!(numbers(&next).await, [2]);
        assert!(next.job(JobId(1)).await.unwrap().is_none());
        // A job that is still believed to be there is an error, not an answer.
        let failure = history.shelf.read(JobId(1)).await.unwrap_err();
        assert!(failure.message.contains("cannot be read"), "{}", failure.message);
    }
}
