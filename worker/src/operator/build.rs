//! Operators from their descriptions.

use std::{sync::Arc, time::Duration};

use arrow::datatypes::SchemaRef;
use datafusion::{
    error::Result,
    execution::{
        TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
};
use thalweg_plan::{
    exec::codec,
    stream::{OperatorKind, OperatorSpec, PairKind, Phase, WindowAggregateSpec},
};

use super::{
    assign_windows::AssignWindows,
    calc::Calc,
    chain::Chain,
    link::{Operator, PairOperator},
    watermarks::Watermarks,
    window_aggregate::{Kernel, LocalWindowAggregate, WindowAggregate},
};

/// What building operators needs.
pub struct Building<'a> {
    /// Functions, and memory.
    pub context: &'a TaskContext,
    /// The shortest time between two watermarks of a source.
    pub watermark_interval: Duration,
    /// How many key groups the job's keys are divided into.
    pub key_groups: u16,
}

/// An operator of two inputs that stands before a chain.
pub struct PairSpec<'a> {
    /// Names its state.
    pub uid: &'a str,
    /// Its name, for people.
    pub name: &'a str,
    /// What it does.
    pub kind: &'a PairKind,
    /// The columns of its sides.
    pub inputs: [SchemaRef; 2],
}

impl Building<'_> {
    /// The operators described, for rows with the columns of `input`.
    pub fn chain(&self, specs: &[OperatorSpec], input: SchemaRef) -> Result<Chain> {
        let chain = Chain { pair: None, uids: Vec::new(), operators: Vec::new(), schema: input };
        self.extend(chain, specs)
    }

    /// The operators described behind one of two inputs.
    pub fn pair_chain(&self, pair: &PairSpec<'_>, specs: &[OperatorSpec]) -> Result<Chain> {
        let (operator, schema) = self.pair(pair)?;
        let pair = Some((pair.uid.to_owned(), operator));
        self.extend(Chain { pair, uids: Vec::new(), operators: Vec::new(), schema }, specs)
    }

    fn extend(&self, mut chain: Chain, specs: &[OperatorSpec]) -> Result<Chain> {
        for spec in specs {
            let (operator, schema) = self.operator(spec, &chain.schema)?;
            chain.operators.push(operator);
            chain.uids.push(spec.uid.clone());
            chain.schema = schema;
        }
        Ok(chain)
    }

    fn pair(&self, pair: &PairSpec<'_>) -> Result<(Box<dyn PairOperator>, SchemaRef)> {
        match *pair.kind {}
    }

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
            Phase::Single { .. } | Phase::Global => {
                let time = match spec.phase {
                    Phase::Single { time } => Some(time as usize),
                    _ => None,
                };
                let output = spec.output.clone();
                Box::new(WindowAggregate::new(
                    kernel,
                    windows,
                    time,
                    output,
                    columns,
                    self.key_groups,
                    memory,
                ))
            }
        };
        Ok((operator, schema))
    }

    fn memory(&self, name: &str) -> MemoryReservation {
        MemoryConsumer::new(name).register(self.context.memory_pool())
    }
}
