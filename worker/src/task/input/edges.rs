//! Everything that the edges into a vertex bring: rows as they come, event time and barriers aligned over all producers.
//!
//! A producer whose barrier has come is not read until the barriers of all others have come too (aligned checkpoints: Carbone et al.,
//! Lightweight asynchronous snapshots for distributed dataflows, 2015). What it sends meanwhile waits in the bounded queues of the exchange.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use datafusion::error::Result;
use futures::{
    StreamExt as _,
    stream::{BoxStream, FuturesUnordered, StreamFuture},
};
use thalweg_graph::{CheckpointId, checkpoint::Barrier};

use super::Arrival;
use crate::{
    exchange::event::{Event, Signal},
    operator::link::Side,
    task::ended::Ended,
    watermark::{AlignedWatermark, Watermark},
};

/// One producer's events, with the number of the input that it is.
struct Producer {
    input: usize,
    events: BoxStream<'static, Result<Event>>,
}

impl futures::Stream for Producer {
    type Item = Result<Event>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.events.poll_next_unpin(context)
    }
}

/// All producers over the edges into a vertex.
pub struct EdgeInput {
    sides: Vec<Side>,
    /// Those that are read.
    reading: FuturesUnordered<StreamFuture<Producer>>,
    /// Those whose barrier has come.
    waiting: Vec<Producer>,
    ended: usize,
    time: AlignedWatermark,
    alignment: Option<Alignment>,
    /// The newest barrier that is through: older ones mean nothing any more.
    passed: Option<CheckpointId>,
    /// What follows from what was returned last.
    next: Option<Arrival>,
}

/// A barrier that has come on some inputs.
struct Alignment {
    barrier: Barrier,
    since: Instant,
    arrived: BTreeSet<usize>,
}

impl EdgeInput {
    /// Reads these producers, each of one side.
    pub fn new(producers: Vec<(Side, BoxStream<'static, Result<Event>>)>) -> Self {
        let time = AlignedWatermark::new(producers.len());
        let (sides, streams): (Vec<Side>, Vec<_>) = producers.into_iter().unzip();
        let streams = streams.into_iter().enumerate();
        let reading = streams.map(|(input, events)| Producer { input, events }.into_future()).collect();
        Self {
            sides,
            reading,
            waiting: Vec::new(),
            ended: 0,
            time,
            alignment: None,
            passed: None,
            next: None,
        }
    }

    /// Waits for what comes next.
    pub async fn next(&mut self) -> Result<Option<Arrival>, Ended> {
        if let Some(next) = self.next.take() {
            return Ok(Some(next));
        }
        while let Some((event, producer)) = self.reading.next().await {
            let input = producer.input;
            let arrival = match event.transpose()? {
                Some(Event::Signal(Signal::Barrier(barrier))) => self.barrier(barrier, producer),
                Some(event) => {
                    self.reading.push(producer.into_future());
                    self.event(input, event)
                }
                None => self.end(input),
            };
            if arrival.is_some() {
                return Ok(arrival);
            }
        }
        Ok(None)
    }

    fn event(&mut self, input: usize, event: Event) -> Option<Arrival> {
        match event {
            Event::Rows(batch) => Some(Arrival::Rows(self.sides[input], batch)),
            Event::Signal(Signal::Watermark(watermark)) => {
                self.time.advance(input, watermark).map(Arrival::Time)
            }
            Event::Signal(Signal::Idle) => self.time.idle(input).map(Arrival::Time),
            Event::Signal(Signal::Barrier(_)) => None,
        }
    }

    /// Nobody waits for an input that has ended. That all have, the task sees by itself.
    fn end(&mut self, input: usize) -> Option<Arrival> {
        self.ended += 1;
        let time = self.time.advance(input, Watermark::END).filter(|_| self.ended < self.sides.len());
        let time = time.map(Arrival::Time);
        match self.aligned() {
            Some(barrier) => {
                self.next = time;
                Some(barrier)
            }
            None => time,
        }
    }

    fn barrier(&mut self, barrier: Barrier, producer: Producer) -> Option<Arrival> {
        let begun = self.alignment.as_ref().map(|alignment| alignment.barrier.checkpoint);
        let newest = begun.max(self.passed);
        if newest.is_some_and(|newest| barrier.checkpoint < newest) {
            self.reading.push(producer.into_future());
            return None;
        }
        if begun != Some(barrier.checkpoint) {
            // The older checkpoint was given up.
            self.read_on();
            self.alignment = Some(Alignment { barrier, since: Instant::now(), arrived: BTreeSet::new() });
        }
        if let Some(alignment) = &mut self.alignment {
            alignment.arrived.insert(producer.input);
        }
        self.waiting.push(producer);
        self.aligned()
    }

    fn aligned(&mut self) -> Option<Arrival> {
        let alignment =
            self.alignment.take_if(|alignment| alignment.arrived.len() + self.ended >= self.sides.len())?;
        self.read_on();
        self.passed = Some(alignment.barrier.checkpoint);
        let waited = alignment.since.elapsed();
        let alignment_time = if self.sides.len() > 1 { waited } else { Duration::ZERO };
        Some(Arrival::Barrier { barrier: alignment.barrier, alignment: alignment_time })
    }

    fn read_on(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().for_each(|producer| self.reading.push(producer.into_future()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray as _, Int64Array, RecordBatch};
    use arrow::datatypes::Int64Type;
    use futures::{FutureExt as _, channel::mpsc};
    use thalweg_graph::checkpoint::AfterBarrier;

    use super::*;
    use crate::watermark::TimeChange;

    type Sender = mpsc::UnboundedSender<Result<Event>>;

    fn inputs(count: usize) -> (Vec<Sender>, EdgeInput) {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::unbounded()).unzip();
        let receivers = receivers.into_iter().map(|receiver| (Side::Left, receiver.boxed())).collect();
        (senders, EdgeInput::new(receivers))
    }

    fn rows(n: i64) -> Result<Event> {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![n]));
        Ok(Event::Rows(RecordBatch::try_from_iter([("n", column)]).unwrap()))
    }

    fn barrier(id: u64) -> Result<Event> {
        let (savepoint, then) = (None, AfterBarrier::GoOn);
        Ok(Event::Signal(Signal::Barrier(Barrier { checkpoint: CheckpointId(id), savepoint, then })))
    }

    fn watermark(ms: i64) -> Result<Event> {
        Ok(Event::Signal(Signal::Watermark(Watermark(ms))))
    }

    /// What has come by now, in short.
    fn arrived(input: &mut EdgeInput) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(next) = input.next().now_or_never() {
            match next.ok().flatten() {
                Some(Arrival::Rows(_, batch)) => {
                    seen.push(batch.column(0).as_primitive::<Int64Type>().value(0).to_string());
                }
                Some(Arrival::Barrier { barrier, .. }) => {
                    seen.push(format!("barrier {}", barrier.checkpoint))
                }
                Some(Arrival::Time(TimeChange::Advanced(Watermark(ms)))) => seen.push(format!("time {ms}")),
                Some(other) => seen.push(format!("{other:?}")),
                None => {
                    seen.push("end".to_owned());
                    break;
                }
            }
        }
        seen
    }

    #[test]
    fn rows_behind_a_barrier_wait_for_the_other_barrier() {
        let (senders, mut input) = inputs(2);
        for event in [rows(1), barrier(1), rows(2)] {
            senders[0].unbounded_send(event).unwrap();
        }
        assert_eq!(arrived(&mut input), ["1"]);
        senders[1].unbounded_send(rows(3)).unwrap();
        assert_eq!(arrived(&mut input), ["3"]);
        senders[1].unbounded_send(barrier(1)).unwrap();
        assert_eq!(arrived(&mut input), ["barrier 1", "2"]);
    }

    #[test]
    fn an_input_that_has_ended_is_not_waited_for() {
        let (mut senders, mut input) = inputs(2);
        senders[0].unbounded_send(barrier(1)).unwrap();
        assert!(arrived(&mut input).is_empty());
        senders.pop();
        assert_eq!(arrived(&mut input), ["barrier 1"]);
        senders.pop();
        assert_eq!(arrived(&mut input), ["end"]);
    }

    #[test]
    fn a_newer_barrier_replaces_one_that_never_becomes_complete() {
        let (senders, mut input) = inputs(2);
        for event in [barrier(1), rows(1), barrier(2), rows(2)] {
            senders[0].unbounded_send(event).unwrap();
        }
        assert!(arrived(&mut input).is_empty());
        senders[1].unbounded_send(barrier(2)).unwrap();
        assert_eq!(arrived(&mut input), ["1", "barrier 2", "2"]);
        senders[1].unbounded_send(barrier(1)).unwrap();
        senders[1].unbounded_send(rows(3)).unwrap();
        assert_eq!(arrived(&mut input), ["3"], "what is older than what is through means nothing");
    }

    #[test]
    fn time_follows_the_slowest_and_the_end_of_one_frees_the_others() {
        let (mut senders, mut input) = inputs(2);
        senders[0].unbounded_send(watermark(5)).unwrap();
        assert!(arrived(&mut input).is_empty());
        senders[1].unbounded_send(watermark(3)).unwrap();
        assert_eq!(arrived(&mut input), ["time 3"]);
        senders.pop();
        assert_eq!(arrived(&mut input), ["time 5"]);
    }
}
