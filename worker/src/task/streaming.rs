//! A subtask of a streaming vertex: what arrives passes its chain, in order, into its outputs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use datafusion::{error::DataFusionError, execution::TaskContext, physical_plan::ExecutionPlan};
use thalweg_connectors::sink::StreamSink;
use thalweg_graph::{
    EdgeId,
    checkpoint::{AfterBarrier, Barrier, SourceState},
};
use tokio::time::{self, sleep_until};

use super::{
    checkpointing::{Checkpointing, SyncPart},
    ended::Ended,
    explained::explained,
    input::{Arrival, TaskInput},
    stream_output::StreamOutput,
};
use crate::{
    counters::TaskCounters,
    exchange::{event::Signal, subpartition_queue::Demand},
    operator::{Chain, Element},
    wall_clock::now_ms,
    watermark::{TimeChange, Watermark},
};

/// A chain ready to run.
pub struct StreamingTask {
    /// Where its rows come from.
    pub input: TaskInput,
    /// Its operators.
    pub chain: Chain,
    /// What its source finds the worker through.
    pub context: Arc<TaskContext>,
    /// How it takes part in checkpoints.
    pub checkpointing: Checkpointing,
    /// Whether its operators know that event time has come to its end.
    pub at_end: bool,
    /// When it said last that rows come too late.
    pub late_told: Option<Instant>,
    /// The edge over which rows go that come too late, if anybody wants them.
    pub late: Option<EdgeId>,
    /// What its sink is opened with, if it has one.
    pub sink: Option<StreamSink>,
}

/// How often it is said at most that rows come too late.
const LATE_TOLD_INTERVAL: Duration = Duration::from_secs(60);

/// Whether a task goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    GoesOn,
    Over,
}

impl StreamingTask {
    /// The plan of its source, to tell more about errors.
    pub fn source(&self) -> Option<&Arc<dyn ExecutionPlan>> {
        match &self.input {
            TaskInput::Source(source) => source.plan(),
            TaskInput::Edges(_) => None,
        }
    }

    /// Moves everything from the inputs through the chain into the outputs, until all inputs have ended or a barrier ends the job.
    pub async fn run(
        &mut self,
        output: &mut StreamOutput,
        buffer_timeout: Duration,
        counters: &TaskCounters,
    ) -> Result<(), Ended> {
        // What was over before a restore stays over, whatever is still to be read: its operators do not have their state any more.
        if self.at_end {
            return self.leave().await;
        }
        let mut out = Vec::new();
        let mut held_since = None;
        loop {
            // A source that never waits must let others run.
            tokio::task::consume_budget().await;
            if self.chain.is_over() {
                return self.finish(&mut out, output, counters).await;
            }
            held_since = output.holds_back().then(|| held_since.unwrap_or_else(time::Instant::now));
            let flush_at = held_since.map(|since| since + buffer_timeout);
            let wake_at = self.chain.wake_at_ms().map(instant_of);
            let arrival = tokio::select! {
                biased;
                () = until(flush_at) => {
                    output.flush().await?;
                    held_since = None;
                    continue;
                }
                () = until(wake_at) => {
                    let woken = self.chain.wake(now_ms(), &mut out);
                    self.explain(woken).await?;
                    if self.emit(&mut out, output, counters).await? == Flow::Over {
                        return self.leave().await;
                    }
                    continue;
                }
                state = self.checkpointing.completed() => {
                    self.completed(&state).await?;
                    continue;
                }
                arrival = self.input.next() => arrival?,
            };
            let Some(arrival) = arrival else { return self.finish(&mut out, output, counters).await };
            let taken = match arrival {
                Arrival::Barrier { barrier, alignment } => {
                    if self.barrier(barrier, alignment, &mut out, output, counters).await? == Flow::Over {
                        return Ok(());
                    }
                    continue;
                }
                arrival => {
                    if let Arrival::Time(TimeChange::Advanced(watermark)) = &arrival {
                        counters.event_time.note_input(*watermark);
                    }
                    self.take(arrival, &mut out)
                }
            };
            self.explain(taken).await?;
            self.note_late(counters);
            if self.emit(&mut out, output, counters).await? == Flow::Over {
                return self.leave().await;
            }
        }
    }

    /// Nobody wants more: what was read stays read.
    async fn leave(&mut self) -> Result<(), Ended> {
        self.checkpointing.stored().await;
        let finished = self.chain.uids().filter(|_| self.at_end).map(str::to_owned).collect();
        self.checkpointing.finish(self.source_state()?, finished);
        Ok(())
    }

    /// Moves what arrived through the chain.
    fn take(&mut self, arrival: Arrival, out: &mut Vec<Element>) -> Result<(), DataFusionError> {
        match arrival {
            Arrival::Rows(side, batch) => {
                self.at_end = false;
                self.chain.rows(side, batch, out)
            }
            Arrival::Time(TimeChange::Advanced(watermark)) => self.advance(watermark, out),
            Arrival::Time(TimeChange::Idle) => self.chain.idle(out),
            Arrival::Split(split) => self.chain.split(split, out),
            Arrival::Barrier { .. } => Ok(()),
        }
    }

    fn advance(&mut self, watermark: Watermark, out: &mut Vec<Element>) -> Result<(), DataFusionError> {
        if watermark == Watermark::END && std::mem::replace(&mut self.at_end, true) {
            return Ok(());
        }
        self.chain.watermark(watermark, out)
    }

    /// All of the input has come.
    async fn finish(
        &mut self,
        out: &mut Vec<Element>,
        output: &mut StreamOutput,
        counters: &TaskCounters,
    ) -> Result<(), Ended> {
        let stopped = matches!(&self.input, TaskInput::Source(source) if source.is_stopped());
        if !stopped {
            let ended = self.advance(Watermark::END, out);
            self.explain(ended).await?;
            self.emit(out, output, counters).await?;
        }
        self.leave().await
    }

    /// Counts rows that came too late, and says so now and then.
    fn note_late(&mut self, counters: &TaskCounters) {
        let late = self.chain.late_rows();
        let new = late.saturating_sub(counters.records_late.get());
        if new == 0 {
            return;
        }
        counters.records_late.raise_to(late);
        if self.late_told.is_none_or(|told| told.elapsed() >= LATE_TOLD_INTERVAL) {
            self.late_told = Some(Instant::now());
            let watermark_ms = counters.event_time.get().0;
            tracing::warn!(attempt = %self.checkpointing.attempt(), late, watermark_ms, "rows came after their windows were complete and are left out");
        }
    }

    /// Keeps what there is at a barrier and hands the barrier on.
    async fn barrier(
        &mut self,
        barrier: Barrier,
        alignment: Duration,
        out: &mut Vec<Element>,
        output: &mut StreamOutput,
        counters: &TaskCounters,
    ) -> Result<Flow, Ended> {
        let start = Instant::now();
        counters.barrier.raise_to(barrier.checkpoint.0);
        if barrier.then == AfterBarrier::Drain && matches!(self.input, TaskInput::Source(_)) {
            let ended = self.advance(Watermark::END, out);
            self.explain(ended).await?;
        }
        let handed_on = self.chain.before_barrier(out);
        self.explain(handed_on).await?;
        self.emit(out, output, counters).await?;
        let source = self.source_state()?;
        let states = self.chain.snapshot();
        let states = self.explain(states).await?;
        let prepared = output.barrier(&barrier).await?;
        let then = barrier.then;
        let sync_time = start.elapsed();
        self.checkpointing.store(SyncPart { barrier, source, states, prepared, alignment, sync_time }).await;
        if then == AfterBarrier::GoOn {
            return Ok(Flow::GoesOn);
        }
        // The leader must know what was kept before it learns that the task is over.
        self.leave().await?;
        Ok(Flow::Over)
    }

    /// Sends what has come out of a chain.
    async fn emit(
        &mut self,
        out: &mut Vec<Element>,
        output: &mut StreamOutput,
        counters: &TaskCounters,
    ) -> Result<Flow, Ended> {
        for rows in self.chain.take_late() {
            output.write_late(rows).await?;
        }
        for element in out.drain(..) {
            match element {
                Element::Rows(batch) => {
                    if output.write(batch).await? == Demand::Over {
                        return Ok(Flow::Over);
                    }
                }
                Element::Watermark(watermark) => {
                    counters.event_time.note_output(watermark);
                    output.signal(Signal::Watermark(watermark)).await?;
                }
                Element::Idle => {
                    counters.event_time.note_idle();
                    output.signal(Signal::Idle).await?;
                }
            }
        }
        Ok(Flow::GoesOn)
    }

    fn source_state(&self) -> Result<Option<SourceState>, Ended> {
        match &self.input {
            TaskInput::Source(source) => source.state().map(Some),
            TaskInput::Edges(_) => Ok(None),
        }
    }

    async fn completed(&mut self, state: &SourceState) -> Result<(), Ended> {
        match &mut self.input {
            TaskInput::Source(source) => source.checkpoint_completed(state).await,
            TaskInput::Edges(_) => Ok(()),
        }
    }

    /// The outcome of operators, its error with what is known of it. The operators themselves are not waited beside.
    fn explain<T: Send>(
        &self,
        outcome: Result<T, DataFusionError>,
    ) -> impl Future<Output = Result<T, Ended>> + Send + use<T> {
        let (source, context) = (self.source().cloned(), Arc::clone(&self.context));
        async move {
            match outcome {
                Ok(outcome) => Ok(outcome),
                Err(error) => Err(explained(source.as_ref(), &context, error).await),
            }
        }
    }
}

fn instant_of(time_ms: i64) -> time::Instant {
    let wait = time_ms.saturating_sub(now_ms()).max(0);
    time::Instant::now() + Duration::from_millis(wait as u64)
}

async fn until(time: Option<time::Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
