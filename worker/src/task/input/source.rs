//! A source's rows, the barriers that the leader orders between them, and which splits are idle.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use datafusion::{execution::TaskContext, physical_plan::ExecutionPlan};
use thalweg_connectors::source::{SourceEvent, SourceReader, SplitPosition};
use thalweg_graph::checkpoint::{AfterBarrier, Barrier, SourceState, StoredPosition};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{Alignment, Arrival};
use crate::{
    counters::TaskCounters,
    operator::link::{Side, SplitChange},
    task::{ended::Ended, explained::explained},
    watermark::TimeChange,
};

/// A subtask that has had no split for so long is not waited for: there are fewer splits than subtasks.
const NO_SPLIT_TIMEOUT: Duration = Duration::from_secs(1);

/// One subtask's share of a source.
pub struct SourceInput {
    /// Names its positions in a checkpoint.
    uid: String,
    reader: Box<dyn SourceReader>,
    /// What the leader orders.
    barriers: mpsc::Receiver<Barrier>,
    /// After how much silence a split is idle; never where not given.
    idle_timeout: Option<Duration>,
    opened: Instant,
    pace: Option<Pace>,
    splits: BTreeMap<u32, Activity>,
    queued: VecDeque<Arrival>,
    /// The plan that the reader runs, if it does, to tell more about its errors.
    plan: Option<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)>,
    counters: Arc<TaskCounters>,
    /// How it keeps pace with others, if it does.
    alignment: Option<Alignment>,
    /// A barrier behind which nothing follows is through.
    stopped: bool,
}

struct Activity {
    last: Instant,
    idle: bool,
}

/// What the job's options say of a source's time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// After how much silence a split is idle; never where not given.
    pub idle_timeout: Option<Duration>,
    /// The most rows that are taken in a second; all where not given.
    pub rows_per_second: Option<u64>,
}

impl Timing {
    /// The most rows that are taken at once, of a reader that would give so many: not more than a hundredth of a second's.
    pub fn batch_rows(&self, rows: usize) -> usize {
        match self.rows_per_second {
            Some(rate) => rows.min(usize::try_from(rate / 100).unwrap_or(usize::MAX).max(1)),
            None => rows,
        }
    }
}

/// When the next rows are due.
#[derive(Debug, Clone, Copy)]
struct Pace {
    each: Duration,
    due: Instant,
}

impl Pace {
    fn new(rows_per_second: u64) -> Self {
        Self {
            each: Duration::from_secs(1) / u32::try_from(rows_per_second).unwrap_or(u32::MAX).max(1),
            due: Instant::now(),
        }
    }

    /// Time that was waited longer than for rows is not caught up with.
    fn took(&mut self, rows: usize) {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        self.due = self.due.max(Instant::now()) + self.each.saturating_mul(rows);
    }
}

impl SourceInput {
    /// Reads what `reader` gives.
    pub fn new(
        uid: String,
        reader: Box<dyn SourceReader>,
        barriers: mpsc::Receiver<Barrier>,
        timing: Timing,
        plan: Option<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)>,
        counters: Arc<TaskCounters>,
    ) -> Self {
        let (splits, queued) = Default::default();
        let Timing { idle_timeout, rows_per_second } = timing;
        let pace = rows_per_second.map(Pace::new);
        let (opened, stopped) = (Instant::now(), false);
        Self {
            uid,
            reader,
            barriers,
            idle_timeout,
            opened,
            pace,
            splits,
            queued,
            plan,
            counters,
            alignment: None,
            stopped,
        }
    }

    /// The same, keeping pace with others.
    pub fn aligned(self, alignment: Option<Alignment>) -> Self {
        Self { alignment, ..self }
    }

    /// Whether a barrier is through behind which nothing follows.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The plan that the reader runs, to tell more about errors.
    pub fn plan(&self) -> Option<&Arc<dyn ExecutionPlan>> {
        self.plan.as_ref().map(|(plan, _)| plan)
    }

    /// A checkpoint with these positions is complete.
    pub async fn checkpoint_completed(&mut self, state: &SourceState) -> Result<(), Ended> {
        let positions = state.positions.iter();
        let positions =
            positions.map(|at| SplitPosition { split: at.split.clone(), position: at.position.clone() });
        Ok(self.reader.checkpoint_completed(&positions.collect::<Vec<_>>()).await?)
    }

    /// Where to go on after all that has come.
    pub fn state(&self) -> Result<SourceState, Ended> {
        let positions = self.reader.positions()?.into_iter();
        let positions =
            positions.map(|at| StoredPosition { split: at.split, position: at.position }).collect();
        Ok(SourceState { uid: self.uid.clone(), positions })
    }

    /// Waits for what comes next.
    pub async fn next(&mut self) -> Result<Option<Arrival>, Ended> {
        loop {
            if let Some(arrival) = self.queued.pop_front() {
                return Ok(Some(arrival));
            }
            if self.stopped {
                return Ok(None);
            }
            let silence = self.next_silence();
            let watermark_ms = self.counters.event_time.get().1;
            let is_ahead = self.alignment.as_ref().is_some_and(|alignment| alignment.is_ahead(watermark_ms));
            let due = self.pace.map(|pace| pace.due);
            let reader = &mut self.reader;
            let next_event = async {
                if let Some(due) = due {
                    sleep_until(due).await;
                }
                reader.next().await
            };
            tokio::select! {
                biased;
                Some(barrier) = self.barriers.recv() => return Ok(Some(self.barrier(barrier))),
                () = until(silence) => self.note_silence(),
                () = keep_pace(&mut self.alignment, &self.counters) => {}
                event = next_event, if !is_ahead => match event {
                    Ok(Some(event)) => self.event(event),
                    Ok(None) => return Ok(None),
                    Err(error) => {
                        let plan = self.plan.clone();
                        return Err(explain(plan, error).await);
                    }
                },
            }
        }
    }

    fn barrier(&mut self, barrier: Barrier) -> Arrival {
        self.stopped = barrier.then != AfterBarrier::GoOn;
        Arrival::Barrier { barrier, alignment: Duration::ZERO }
    }

    fn event(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Begin { split, name } => {
                tracing::debug!(split = name, "a split begins");
                self.counters.event_time.begin_split(split, name);
                self.splits.insert(split, Activity { last: Instant::now(), idle: false });
                self.queued.push_back(Arrival::Split(SplitChange::Begin(split)));
            }
            SourceEvent::Rows { split, batch } => {
                self.counters.records_in.add(batch.num_rows() as u64);
                if let Some(pace) = &mut self.pace {
                    pace.took(batch.num_rows());
                }
                if self.idle_timeout.is_some() {
                    self.splits.insert(split, Activity { last: Instant::now(), idle: false });
                }
                self.queued.push_back(Arrival::Split(SplitChange::Rows(split)));
                self.queued.push_back(Arrival::Rows(Side::Left, batch));
            }
            // The user's own timeout goes before what the source says.
            SourceEvent::Idle { split } if self.idle_timeout.is_none() => {
                self.queued.push_back(Arrival::Split(SplitChange::Idle(split)));
            }
            SourceEvent::Idle { .. } => {}
            SourceEvent::End { split } => {
                self.splits.remove(&split);
                self.counters.event_time.end_split(split);
                self.queued.push_back(Arrival::Split(SplitChange::End(split)));
            }
        }
    }

    /// When the next split has been silent for too long.
    fn next_silence(&self) -> Option<Instant> {
        if self.splits.is_empty() {
            return (!self.stopped && self.opened.elapsed() < NO_SPLIT_TIMEOUT)
                .then(|| self.opened + NO_SPLIT_TIMEOUT);
        }
        let timeout = self.idle_timeout?;
        self.splits.values().filter(|split| !split.idle).map(|split| split.last + timeout).min()
    }

    fn note_silence(&mut self) {
        if self.splits.is_empty() {
            return self.queued.push_back(Arrival::Time(TimeChange::Idle));
        }
        let Some(timeout) = self.idle_timeout else { return };
        let now = Instant::now();
        for (split, activity) in self.splits.iter_mut().filter(|(_, activity)| !activity.idle) {
            if activity.last + timeout <= now {
                activity.idle = true;
                self.queued.push_back(Arrival::Split(SplitChange::Idle(*split)));
            }
        }
    }
}

async fn explain(
    plan: Option<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)>,
    error: thalweg_connectors::Error,
) -> Ended {
    match (error, plan) {
        (thalweg_connectors::Error::Rows(error), Some((plan, context))) => {
            explained(Some(&plan), &context, error).await
        }
        (error, _) => error.into(),
    }
}

async fn keep_pace(alignment: &mut Option<Alignment>, counters: &TaskCounters) {
    match alignment {
        Some(alignment) => alignment.keep_pace(&counters.event_time).await,
        None => std::future::pending().await,
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
