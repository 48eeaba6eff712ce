//! A subtask of a streaming vertex: events in order through its chain, into its outputs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use datafusion::{
    error::DataFusionError,
    execution::TaskContext,
    physical_plan::{ExecutionPlan, ExecutionPlanProperties as _},
};
use thalweg_graph::{FailureKind, TaskDescriptor, options};
use thalweg_plan::{
    exec::{codec, own_partition, put_splits},
    stream::{Head, StreamFragment},
};

use super::{
    chain_input::ChainInput,
    ended::Ended,
    explained::explained,
    stream_output::{BufferTimeout, StreamOutput},
};
use crate::{
    counters::TaskCounters,
    exchange::{event::Event, input_gate::InputGates, subpartition_queue::Demand},
    operator::{Chain, Element, chain::Building},
    watermark::{AlignedWatermark, Watermark},
};

/// A chain ready to run.
pub struct StreamingTask {
    /// Where its rows come from.
    pub input: ChainInput,
    /// Its operators.
    pub chain: Chain,
    /// What its source finds the worker through.
    pub context: Arc<TaskContext>,
}

impl StreamingTask {
    /// Decodes a task's fragment, gives its scan its splits and its edges their gates.
    pub fn build(
        descriptor: &TaskDescriptor,
        context: Arc<TaskContext>,
        gates: Arc<InputGates>,
    ) -> Result<Self, Ended> {
        let rejected = |error: DataFusionError| Ended::rejected(&error);
        let fragment = StreamFragment::decode(&descriptor.fragment.plan).map_err(|error| {
            Ended::failed(FailureKind::PlanRejected, format!("cannot decode the task's operators: {error}"))
        })?;
        let input = match &fragment.head {
            Head::Source { plan } => {
                let plan = codec::decode(plan, &context).map_err(rejected)?;
                source(descriptor, put_splits(plan, &descriptor.splits).map_err(rejected)?)
                    .map_err(rejected)?
            }
            Head::Edges { edges, columns } => {
                let schema = codec::decode(columns, &context).map_err(rejected)?.schema();
                ChainInput::Edges { gates, edges: edges.clone(), schema }
            }
        };
        let watermark_interval: Duration = descriptor
            .options
            .get(&options::WATERMARK_INTERVAL)
            .map_err(|error| Ended::failed(FailureKind::PlanRejected, error.to_string()))?;
        let building = Building { context: &context, watermark_interval };
        let chain = Chain::build(&fragment.chain, input.schema(), &building).map_err(rejected)?;
        Ok(Self { input, chain, context })
    }

    /// The plan of its source, for its counters.
    pub fn source(&self) -> Option<&Arc<dyn ExecutionPlan>> {
        match &self.input {
            ChainInput::Source { plan, .. } => Some(plan),
            ChainInput::Edges { .. } => None,
        }
    }

    /// Moves everything from the inputs through the chain into the outputs, until all inputs have ended.
    pub async fn run(
        &mut self,
        output: &mut StreamOutput,
        buffer_timeout: Duration,
        counters: &TaskCounters,
    ) -> Result<(), Ended> {
        let (inputs, mut events) = self.input.open(&self.context)?;
        let mut aligned = AlignedWatermark::new(inputs);
        let mut out = Vec::new();
        let mut timeout = BufferTimeout::new(buffer_timeout);
        while let Some(next) = timeout.next(&mut events, output).await? {
            let start = Instant::now();
            let taken = next.and_then(|(input, event)| self.take(input, event, &mut aligned, &mut out));
            counters.busy_ns.add_time(start.elapsed());
            if let Err(error) = taken {
                return Err(explained(self.source(), &self.context, error).await);
            }
            for element in out.drain(..) {
                match element {
                    Element::Rows(batch) => {
                        if output.write(batch).await? == Demand::Over {
                            return Ok(());
                        }
                    }
                    Element::Watermark(watermark) => output.watermark(watermark).await?,
                }
            }
        }
        Ok(())
    }

    /// Moves one event of an input through the chain.
    fn take(
        &mut self,
        input: usize,
        event: Option<Event>,
        aligned: &mut AlignedWatermark,
        out: &mut Vec<Element>,
    ) -> Result<(), DataFusionError> {
        let watermark = match event {
            Some(Event::Rows(batch)) => return self.chain.rows(batch, out),
            Some(Event::Watermark(watermark)) => watermark,
            None => Watermark::END,
        };
        match aligned.advance(input, watermark) {
            Some(watermark) => self.chain.watermark(watermark, out),
            None => Ok(()),
        }
    }
}

/// The subtask's own partition of a scan.
fn source(descriptor: &TaskDescriptor, plan: Arc<dyn ExecutionPlan>) -> Result<ChainInput, DataFusionError> {
    let partition = descriptor.attempt.subtask.index as usize;
    let count = plan.output_partitioning().partition_count();
    if partition >= count {
        return Err(DataFusionError::Plan(format!(
            "the scan has {count} partitions and no number {partition}"
        )));
    }
    Ok(match own_partition(&plan, partition)? {
        Some(plan) => ChainInput::Source { plan, partition: 0 },
        None => ChainInput::Source { plan, partition },
    })
}
