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
    functions::zone::Zone,
    stream::{
        AssignSessionsSpec, OperatorKind, OperatorSpec, OverAggregateSpec, PairKind, Phase,
        SessionAggregateSpec, TimedRows, WindowAggregateSpec,
    },
};

use super::{
    assign_windows::AssignWindows,
    calc::Calc,
    chain::Chain,
    clock_time::{LocalTime, ProcessingTime},
    expand::Expand,
    held_rows::HeldRows,
    interval_join::{Bounds, IntervalJoin},
    link::{Operator, PairOperator},
    over::{self, Over},
    session::{AssignSessions, SessionAggregate, Shape},
    sub_plan::SubPlan,
    two_sides::{self, JoinPlan, TwoSides},
    watermarks::Watermarks,
    window_aggregate::{Kernel, LocalWindowAggregate, WindowAggregate},
    window_join::WindowJoin,
    within_windows::WithinWindows,
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
        match pair.kind {
            PairKind::WindowJoin(join) => {
                let (plan, schema) = self.join_plan(&join.plan, &join.columns)?;
                let sides = self.two_sides(&join.left, &join.right, pair)?;
                Ok((Box::new(WindowJoin::new(plan, sides, self.memory(pair.name))), schema))
            }
            PairKind::IntervalJoin(join) => {
                let (plan, schema) = self.join_plan(&join.plan, &join.columns)?;
                let sides = self.two_sides(&join.left, &join.right, pair)?;
                let bounds = Bounds { lower_ms: join.lower_ms, upper_ms: join.upper_ms };
                Ok((Box::new(IntervalJoin::new(plan, sides, bounds, self.memory(pair.name))), schema))
            }
        }
    }

    fn join_plan(&self, plan: &[u8], columns: &[u8]) -> Result<(JoinPlan, SchemaRef)> {
        let (plan, schema) = self.sub_plan(plan, columns)?;
        Ok((JoinPlan::new(plan)?, schema))
    }

    fn two_sides(&self, left: &TimedRows, right: &TimedRows, pair: &PairSpec<'_>) -> Result<TwoSides> {
        let [left_columns, right_columns] = &pair.inputs;
        Ok(TwoSides {
            left: self.held_rows(left, left_columns, two_sides::LEFT)?,
            right: self.held_rows(right, right_columns, two_sides::RIGHT)?,
            inputs: pair.inputs.clone(),
        })
    }

    /// A part of a plan, and the columns of what it puts out.
    fn sub_plan(&self, plan: &[u8], columns: &[u8]) -> Result<(SubPlan, SchemaRef)> {
        let schema = codec::decode(columns, self.context)?.schema();
        let plan = SubPlan::new(codec::decode(plan, self.context)?, self.context, Arc::clone(&schema))?;
        Ok((plan, schema))
    }

    fn held_rows(&self, rows: &TimedRows, input: &SchemaRef, table: u16) -> Result<HeldRows> {
        let keys = rows.keys.iter().map(|key| codec::decode_expr(key, input, self.context));
        Ok(HeldRows::new(rows.time as usize, keys.collect::<Result<_>>()?, table, self.key_groups))
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
            OperatorKind::Expand { plans } => {
                let plans = plans.iter().map(|plan| codec::decode(plan, self.context));
                let plans = plans.collect::<Result<Vec<_>>>()?;
                let schema = plans.first().map_or_else(|| Arc::clone(input), |plan| plan.schema());
                let calcs = plans.iter().map(Calc::of).collect::<Result<_>>()?;
                (Box::new(Expand(calcs)), schema)
            }
            OperatorKind::ProcessingTime { column, every_ms, offset_ms } => {
                let operator = ProcessingTime::new(*column as usize, *every_ms, *offset_ms, self.zone());
                (Box::new(operator), Arc::clone(input))
            }
            OperatorKind::LocalTime => {
                (Box::new(LocalTime { zone: self.zone(), told: None }), Arc::clone(input))
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
            OperatorKind::SessionAggregate(aggregate) => self.session_aggregate(&spec.name, aggregate)?,
            OperatorKind::AssignSessions(sessions) => self.assign_sessions(&spec.name, sessions, input)?,
            OperatorKind::OverAggregate(over) => self.over(&spec.name, over, input)?,
            OperatorKind::WithinWindows(within) => {
                let (plan, schema) = self.sub_plan(&within.plan, &within.columns)?;
                let rows = self.held_rows(&within.rows, input, 0)?;
                let input = Arc::clone(input);
                (Box::new(WithinWindows::new(plan, rows, input, self.memory(&spec.name))), schema)
            }
        })
    }

    fn session_aggregate(
        &self,
        name: &str,
        spec: &SessionAggregateSpec,
    ) -> Result<(Box<dyn Operator>, SchemaRef)> {
        let kernel = Kernel::of(&codec::decode(&spec.plan, self.context)?)?;
        let schema = codec::decode(&spec.columns, self.context)?.schema();
        let operator = SessionAggregate::new(
            kernel,
            spec.gap_ms,
            spec.time as usize,
            spec.output.clone(),
            Arc::clone(&schema),
            self.key_groups,
            self.memory(name),
        )?;
        Ok((Box::new(operator), schema))
    }

    fn assign_sessions(
        &self,
        name: &str,
        spec: &AssignSessionsSpec,
        input: &SchemaRef,
    ) -> Result<(Box<dyn Operator>, SchemaRef)> {
        let schema = codec::decode(&spec.columns, self.context)?.schema();
        let shape = Shape {
            gap_ms: spec.gap_ms,
            time: spec.time as usize,
            keys: spec.keys.iter().map(|key| *key as usize).collect(),
            bounds: spec.bounds.clone(),
        };
        let (input, columns) = (Arc::clone(input), Arc::clone(&schema));
        let operator = AssignSessions::new(shape, input, columns, self.key_groups, self.memory(name))?;
        Ok((Box::new(operator), schema))
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

    fn over(
        &self,
        name: &str,
        spec: &OverAggregateSpec,
        input: &SchemaRef,
    ) -> Result<(Box<dyn Operator>, SchemaRef)> {
        let output = codec::decode(&spec.columns, self.context)?.schema();
        let keys = spec.keys.iter().map(|key| codec::decode_expr(key, input, self.context));
        let shape = over::Shape {
            time: spec.time as usize,
            keys: keys.collect::<Result<_>>()?,
            functions: over::functions_of(&codec::decode(&spec.plan, self.context)?)?,
            input: Arc::clone(input),
            output: Arc::clone(&output),
        };
        Ok((Box::new(Over::new(shape, self.key_groups, self.memory(name))?), output))
    }

    fn zone(&self) -> Zone {
        Zone::of_session(self.context.session_config().options())
    }

    fn memory(&self, name: &str) -> MemoryReservation {
        MemoryConsumer::new(name).register(self.context.memory_pool())
    }
}
