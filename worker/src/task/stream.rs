//! Drives one partition of a fragment to its end.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use thalweg_graph::{FailureKind, table::Committable};
use tokio_util::sync::CancellationToken;

use super::{
    ended::Ended,
    explained::explained,
    fragment::Runnable,
    panic,
    stream_output::{BufferTimeout, StreamOutput},
    streaming::StreamingTask,
};
use crate::{counters::TaskCounters, exchange::subpartition_queue::Demand};

/// What one stream of a task runs.
pub enum Work {
    /// One partition of a batch's fragment.
    Partition(Arc<Runnable>, usize),
    /// The chain of a streaming vertex.
    Chain(Box<StreamingTask>),
}

/// Moves all rows into an output. However it ends, its operators are dropped, and a sink is withdrawn
/// unless it ends well.
pub async fn drive(
    mut work: Work,
    mut output: StreamOutput,
    buffer_timeout: Duration,
    counters: Arc<TaskCounters>,
    cancel: CancellationToken,
) -> Result<Option<Committable>, Ended> {
    let _alive = counters.alive.start();
    let working =
        Timed { future: Box::pin(work.run(&mut output, buffer_timeout, &counters)), counters: &counters };
    let moving = AssertUnwindSafe(working);
    let moved = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Ended::Canceled),
        moved = moving.catch_unwind() => moved.unwrap_or_else(|payload| Err(panicked(payload.as_ref()))),
    };
    if let Err(ended) = moved {
        output.abort().await;
        return Err(ended);
    }
    let finishing = AssertUnwindSafe(output.finish());
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Ended::Canceled),
        finished = finishing.catch_unwind() => finished.unwrap_or_else(|payload| Err(panicked(payload.as_ref()))),
    }
}

impl Work {
    async fn run(
        &mut self,
        output: &mut StreamOutput,
        buffer_timeout: Duration,
        counters: &TaskCounters,
    ) -> Result<(), Ended> {
        match self {
            Work::Partition(fragment, partition) => {
                move_rows(fragment, *partition, output, buffer_timeout).await
            }
            Work::Chain(task) => task.run(output, buffer_timeout, counters).await,
        }
    }
}

fn panicked(payload: &(dyn std::any::Any + Send)) -> Ended {
    Ended::failed(FailureKind::Panic, panic::message(payload))
}

async fn move_rows(
    fragment: &Runnable,
    partition: usize,
    output: &mut StreamOutput,
    buffer_timeout: Duration,
) -> Result<(), Ended> {
    let mut rows = fragment.plan.execute(partition, Arc::clone(&fragment.context))?;
    let mut timeout = BufferTimeout::new(buffer_timeout);
    while let Some(next) = timeout.next(&mut rows, output).await? {
        match next {
            Ok(batch) => {
                if output.write(batch).await? == Demand::Over {
                    return Ok(());
                }
            }
            Err(error) => return Err(explained(Some(&fragment.plan), &fragment.context, error).await),
        }
    }
    Ok(())
}

/// Counts the time that is spent computing, not waiting.
struct Timed<'a, F> {
    future: Pin<Box<F>>,
    counters: &'a TaskCounters,
}

impl<F: Future> Future for Timed<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let start = Instant::now();
        let polled = self.future.as_mut().poll(context);
        self.counters.busy_ns.add_time(start.elapsed());
        polled
    }
}
