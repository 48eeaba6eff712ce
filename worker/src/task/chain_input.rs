//! What comes into a chain: a source, or everything that the edges into the vertex bring.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::{
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::ExecutionPlan,
};
use futures::{Stream, StreamExt as _, stream};
use thalweg_graph::EdgeId;

use crate::exchange::{event::Event, input_gate::InputGates};

/// Something that came, and over which of a chain's inputs. `None` is the end of that input.
pub type Incoming = Result<(usize, Option<Event>)>;

/// A chain's inputs, before they are read.
pub enum ChainInput {
    /// One partition of a scan.
    Source {
        /// The scan.
        plan: Arc<dyn ExecutionPlan>,
        /// The partition.
        partition: usize,
    },
    /// Every producer over these edges.
    Edges {
        /// The gates of the task.
        gates: Arc<InputGates>,
        /// The edges.
        edges: Vec<EdgeId>,
        /// Their columns.
        schema: SchemaRef,
    },
}

impl ChainInput {
    /// The columns of what comes.
    pub fn schema(&self) -> SchemaRef {
        match self {
            ChainInput::Source { plan, .. } => plan.schema(),
            ChainInput::Edges { schema, .. } => Arc::clone(schema),
        }
    }

    /// Starts to read. Returns the number of inputs and what comes over all of them.
    pub fn open(
        &self,
        context: &Arc<TaskContext>,
    ) -> Result<(usize, impl Stream<Item = Incoming> + Send + Unpin + use<>)> {
        let inputs: Vec<_> = match self {
            ChainInput::Source { plan, partition } => {
                vec![rows(plan.execute(*partition, Arc::clone(context))?).boxed()]
            }
            ChainInput::Edges { gates, edges, schema } => {
                let producers = edges.iter().map(|edge| gates.events(*edge, schema));
                producers.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect()
            }
        };
        let count = inputs.len();
        let tagged = inputs.into_iter().enumerate().map(|(input, events)| {
            let events = events.map(move |event| Ok((input, Some(event?))));
            events.chain(stream::once(std::future::ready(Ok((input, None))))).boxed()
        });
        Ok((count, stream::select_all(tagged)))
    }
}

fn rows(batches: SendableRecordBatchStream) -> impl Stream<Item = Result<Event, DataFusionError>> {
    batches.map(|batch| batch.map(Event::Rows))
}
