//! Operators from their descriptions.

use std::{sync::Arc, time::Duration};

use arrow::{
    compute::SortOptions,
    datatypes::{Schema, SchemaRef},
};
use bytes::Bytes;
use datafusion::{
    error::Result,
    execution::{
        TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
    physical_expr::PhysicalExpr,
};
use thalweg_plan::{
    exec::codec,
    stream::{
        OperatorKind, OperatorSpec, PairKind, Phase, SortKey, WindowAggregateSpec,
        changelog::{with_weight, without_weight},
    },
};

use super::{
    assign_windows::AssignWindows,
    calc::Calc,
    chain::Chain,
    changelog::AddWeights,
    final_result::FinalResult,
    group_aggregate::GroupAggregate,
    join::{Join, JoinPlan},
    link::{Operator, PairOperator},
    sort_order::SortOrder,
    top_n::{TopN, TopNPlan},
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
        let PairKind::Join(join) = pair.kind;
        let [left, right] = &pair.inputs;
        let schema = codec::decode(&join.columns, self.context)?.schema();
        let both = |columns: &SchemaRef| without_weight(columns).fields().to_vec();
        let both = Schema::new([both(left), both(right)].concat());
        let filter = join.filter.as_ref().map(|filter| codec::decode_expr(filter, &both, self.context));
        let plan = JoinPlan {
            kind: join.kind,
            keys: [self.expressions(&join.left_keys, left)?, self.expressions(&join.right_keys, right)?],
            nulls_equal: join.nulls_equal,
            filter: filter.transpose()?,
            schema: Arc::clone(&schema),
        };
        let operator = Join::new(plan, &pair.inputs, self.key_groups, self.memory(pair.name))?;
        Ok((Box::new(operator), schema))
    }

    fn expressions(&self, encoded: &[Bytes], columns: &SchemaRef) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        encoded.iter().map(|encoded| codec::decode_expr(encoded, columns, self.context)).collect()
    }

    fn sort_order(&self, keys: &[SortKey], columns: &SchemaRef) -> Result<SortOrder> {
        let part = |key: &SortKey| {
            let expression = codec::decode_expr(&key.expression, columns, self.context)?;
            let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
            Ok((expression, options))
        };
        Ok(SortOrder::new(keys.iter().map(part).collect::<Result<_>>()?))
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
            OperatorKind::AddWeights => {
                let schema = with_weight(input);
                (Box::new(AddWeights { schema: Arc::clone(&schema) }), schema)
            }
            OperatorKind::GroupAggregate(aggregate) => {
                let kernel = Kernel::of(&codec::decode(&aggregate.plan, self.context)?)?;
                let schema = codec::decode(&aggregate.columns, self.context)?.schema();
                let (columns, memory) = (Arc::clone(&schema), self.memory(&spec.name));
                let operator = GroupAggregate::new(kernel, input, columns, self.key_groups, memory)?;
                (Box::new(operator), schema)
            }
            OperatorKind::TopN(top_n) => {
                let schema = codec::decode(&top_n.columns, self.context)?.schema();
                let plan = TopNPlan {
                    partition_by: self.expressions(&top_n.partition_by, input)?,
                    order_by: self.sort_order(&top_n.order_by, input)?,
                    skip: to_usize(top_n.skip),
                    fetch: to_usize(top_n.fetch),
                    with_rank: top_n.with_rank,
                    schema: Arc::clone(&schema),
                };
                let operator = TopN::new(plan, input, self.key_groups, self.memory(&spec.name))?;
                (Box::new(operator), schema)
            }
            OperatorKind::FinalResult(result) => {
                let schema = codec::decode(&result.columns, self.context)?.schema();
                let operator = FinalResult::new(
                    self.sort_order(&result.order_by, input)?,
                    to_usize(result.skip),
                    result.fetch.map_or(usize::MAX, to_usize),
                    input,
                    Arc::clone(&schema),
                    self.key_groups,
                    self.memory(&spec.name),
                )?;
                (Box::new(operator), schema)
            }
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

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
