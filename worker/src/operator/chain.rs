//! A vertex's operators, from their descriptions.

use std::{sync::Arc, time::Duration};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    error::Result,
    execution::{
        TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
};
use thalweg_plan::{
    exec::codec,
    stream::{OperatorKind, OperatorSpec, Phase, WindowAggregateSpec},
};

use super::{
    assign_windows::AssignWindows,
    calc::Calc,
    link::{Element, Next, Operator},
    watermarks::Watermarks,
    window_aggregate::{Kernel, LocalWindowAggregate, WindowAggregate},
};
use crate::watermark::Watermark;

/// Operators in a row.
pub struct Chain {
    operators: Vec<Box<dyn Operator>>,
    schema: SchemaRef,
}

/// What building operators needs.
pub struct Building<'a> {
    /// Functions, and memory.
    pub context: &'a TaskContext,
    /// The shortest time between two watermarks of a source.
    pub watermark_interval: Duration,
}

impl Chain {
    /// The operators described, for rows with the columns of `input`.
    pub fn build(specs: &[OperatorSpec], input: SchemaRef, building: &Building<'_>) -> Result<Self> {
        let mut chain = Self { operators: Vec::with_capacity(specs.len()), schema: input };
        for spec in specs {
            let (operator, schema) = building.operator(spec, &chain.schema)?;
            chain.operators.push(operator);
            chain.schema = schema;
        }
        Ok(chain)
    }

    /// The columns of what comes out.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Takes rows; puts what follows from them into `out`.
    pub fn rows(&mut self, batch: RecordBatch, out: &mut Vec<Element>) -> Result<()> {
        Next::new(&mut self.operators, out).rows(batch)
    }

    /// Takes a watermark; puts what follows from it into `out`.
    pub fn watermark(&mut self, watermark: Watermark, out: &mut Vec<Element>) -> Result<()> {
        Next::new(&mut self.operators, out).watermark(watermark)
    }
}

impl Building<'_> {
    fn operator(&self, spec: &OperatorSpec, input: &SchemaRef) -> Result<(Box<dyn Operator>, SchemaRef)> {
        Ok(match &spec.kind {
            OperatorKind::Calc { plan } => {
                let plan = codec::decode(plan, self.context)?;
                (Box::new(Calc::of(&plan)?), plan.schema())
            }
            OperatorKind::Watermarks { expression } => {
                let expression = codec::decode_expr(expression, input, self.context)?;
                (Box::new(Watermarks::new(expression, self.watermark_interval)), Arc::clone(input))
            }
            OperatorKind::AssignWindows { time, windows, bounds, columns } => {
                let schema = codec::decode(columns, self.context)?.schema();
                let operator = AssignWindows {
                    time: *time as usize,
                    windows: *windows,
                    bounds: bounds.clone(),
                    schema: Arc::clone(&schema),
                };
                (Box::new(operator), schema)
            }
            OperatorKind::WindowAggregate(aggregate) => self.window_aggregate(&spec.name, aggregate)?,
        })
    }

    fn window_aggregate(
        &self,
        name: &str,
        spec: &WindowAggregateSpec,
    ) -> Result<(Box<dyn Operator>, SchemaRef)> {
        let kernel = Kernel::of(&codec::decode(&spec.plan, self.context)?)?;
        let schema = codec::decode(&spec.columns, self.context)?.schema();
        let memory = self.memory(name);
        let (windows, columns) = (spec.windows, Arc::clone(&schema));
        let operator: Box<dyn Operator> = match spec.phase {
            Phase::Local { time } => {
                Box::new(LocalWindowAggregate::new(kernel, windows, time as usize, columns, memory))
            }
            Phase::Single { time } => {
                let (time, output) = (Some(time as usize), spec.output.clone());
                Box::new(WindowAggregate::new(kernel, windows, time, output, columns, memory))
            }
            Phase::Global => {
                Box::new(WindowAggregate::new(kernel, windows, None, spec.output.clone(), columns, memory))
            }
        };
        Ok((operator, schema))
    }

    fn memory(&self, name: &str) -> MemoryReservation {
        MemoryConsumer::new(name).register(self.context.memory_pool())
    }
}
