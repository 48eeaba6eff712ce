//! Operators from their descriptions.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use arrow::{
    compute::SortOptions,
    datatypes::{DataType, Schema, SchemaRef},
};
use bytes::Bytes;
use datafusion::{
    error::{DataFusionError, Result},
    execution::{
        TaskContext,
        memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation},
    },
    physical_expr::PhysicalExpr,
};
use thalweg_graph::options::StateBackend;
use thalweg_plan::{
    exec::codec,
    functions::zone::Zone,
    stream::{
        AssignSessionsSpec, GroupPhase, JoinSpec, LookupJoinSpec, OperatorKind, OperatorSpec,
        OverAggregateSpec, OverPartitionsSpec, PairKind, Phase, SessionAggregateSpec, Settled, SortKey,
        TemporalJoinSpec, TimedRows, WindowAggregateSpec,
        changelog::{is_updating, with_weight, without_weight},
    },
};
use tokio::sync::watch;

use super::{
    assign_windows::AssignWindows,
    calc::Calc,
    chain::Chain,
    changelog::AddWeights,
    changelog_normalize::ChangelogNormalize,
    clock_time::{LocalTime, ProcessingTime},
    expand::Expand,
    expiry::Expiry,
    final_result::FinalResult,
    group_aggregate::{Arriving, GroupAggregate, LocalGroupAggregate},
    held_rows::HeldRows,
    interval_join::{Bounds, IntervalJoin},
    join::{Join, JoinPlan},
    late_rows::{LateOutput, LateRows},
    link::{Operator, PairOperator},
    lookup_join::{LookupJoin, LookupPlan, table::LookupTable},
    over::{self, Over},
    over_partitions::{self, OverPartitions, SettledOver, SettledShape},
    session::{AssignSessions, SessionAggregate, Shape},
    sort_order::SortOrder,
    sub_plan::SubPlan,
    temporal_join::{TemporalJoin, TemporalPlan, Versions},
    top_n::{TopN, TopNPlan},
    two_sides::{self, BatchJoin, TwoSides},
    unnest::Unnest,
    watermarks::{Ahead, Watermarks},
    window_aggregate::{Kernel, LocalWindowAggregate, WindowAggregate},
    window_join::WindowJoin,
    within_windows::WithinWindows,
};
use crate::{counters::TaskCounters, wall_clock::now_ms};

/// What building operators needs.
pub struct Building<'a> {
    /// Functions, and memory.
    pub context: &'a TaskContext,
    /// The shortest time between two watermarks of a source.
    pub watermark_interval: Duration,
    /// How many key groups the job's keys are divided into.
    pub key_groups: u16,
    /// What the task counts.
    pub counters: &'a Arc<TaskCounters>,
    /// Where operators keep their state.
    pub state_backend: StateBackend,
    /// How long what does not change is kept; for ever where that is zero.
    pub state_ttl: Duration,
    /// Whether somebody wants the rows that come too late.
    pub keeps_late: bool,
    /// The tables that lookup joins find rows in, by the names of their operators.
    pub lookups: &'a BTreeMap<String, watch::Receiver<Arc<LookupTable>>>,
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
        self.extend(self.empty(input), specs)
    }

    /// The operators described behind one of two inputs.
    pub fn pair_chain(&self, pair: &PairSpec<'_>, specs: &[OperatorSpec]) -> Result<Chain> {
        let (mut operator, schema) = self.pair(pair)?;
        let mut chain = self.empty(schema);
        if let Some(output) = &chain.late
            && pair.kind.leaves_out_late_rows()
        {
            let ahead_ms = i64::from(matches!(pair.kind, PairKind::WindowJoin(_)));
            operator.hand_on_late(self.late_rows(pair.name, ahead_ms, output));
        }
        chain.pair = Some((pair.uid.to_owned(), operator));
        self.extend(chain, specs)
    }

    fn empty(&self, schema: SchemaRef) -> Chain {
        let late = self.keeps_late.then(LateOutput::default);
        Chain { pair: None, uids: Vec::new(), operators: Vec::new(), schema, late }
    }

    /// The way of one operator's late rows. Windows are out that end where event time begins to be open: a millisecond behind the watermark.
    fn late_rows(&self, name: &str, ahead_ms: i64, output: &LateOutput) -> LateRows {
        LateRows { operator: name.to_owned(), ahead_ms, zone: self.zone(), output: output.clone() }
    }

    fn extend(&self, mut chain: Chain, specs: &[OperatorSpec]) -> Result<Chain> {
        for spec in specs {
            let (mut operator, schema) = self.operator(spec, &chain.schema)?;
            if let Some(output) = &chain.late
                && spec.kind.leaves_out_late_rows()
            {
                let by_windows =
                    matches!(spec.kind, OperatorKind::WindowAggregate(_) | OperatorKind::WithinWindows(_));
                operator.hand_on_late(self.late_rows(&spec.name, i64::from(by_windows), output));
            }
            chain.operators.push(operator);
            chain.uids.push(spec.uid.clone());
            chain.schema = schema;
        }
        Ok(chain)
    }

    fn pair(&self, pair: &PairSpec<'_>) -> Result<(Box<dyn PairOperator>, SchemaRef)> {
        match pair.kind {
            PairKind::Join(join) => self.join(pair, join),
            PairKind::TemporalJoin(join) => self.temporal_join(pair, join),
            PairKind::WindowJoin(join) => {
                let (plan, schema) = self.batch_join(&join.plan, &join.columns)?;
                let sides = self.two_sides(&join.left, &join.right, pair)?;
                Ok((Box::new(WindowJoin::new(plan, sides, self.memory(pair.name))), schema))
            }
            PairKind::IntervalJoin(join) => {
                let (plan, schema) = self.batch_join(&join.plan, &join.columns)?;
                let sides = self.two_sides(&join.left, &join.right, pair)?;
                let bounds = Bounds { lower_ms: join.lower_ms, upper_ms: join.upper_ms };
                Ok((Box::new(IntervalJoin::new(plan, sides, bounds, self.memory(pair.name))), schema))
            }
        }
    }

    fn batch_join(&self, plan: &[u8], columns: &[u8]) -> Result<(BatchJoin, SchemaRef)> {
        let (plan, schema) = self.sub_plan(plan, columns)?;
        Ok((BatchJoin::new(plan)?, schema))
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
        let keys = self.expressions(&rows.keys, input)?;
        Ok(HeldRows::new(rows.time as usize, keys, table, self.key_groups))
    }

    fn join(&self, pair: &PairSpec<'_>, join: &JoinSpec) -> Result<(Box<dyn PairOperator>, SchemaRef)> {
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
        let mut operator = Join::new(plan, &pair.inputs, self.key_groups, self.memory(pair.name))?;
        if let Some(expiry) = Expiry::after(self.state_ttl) {
            operator.forget_after(expiry);
        }
        self.on_disk(pair.name, |folder, pool| operator.keep_on_disk(folder, pool))?;
        Ok((Box::new(operator), schema))
    }

    fn temporal_join(
        &self,
        pair: &PairSpec<'_>,
        join: &TemporalJoinSpec,
    ) -> Result<(Box<dyn PairOperator>, SchemaRef)> {
        let [left, right] = &pair.inputs;
        let schema = codec::decode(&join.columns, self.context)?.schema();
        let over = |expression: &Option<Bytes>, columns: &SchemaRef| {
            let decoded = expression.as_ref().map(|bytes| codec::decode_expr(bytes, columns, self.context));
            decoded.transpose()
        };
        let plan = TemporalPlan {
            keeps_all: join.keeps_all,
            keys: self.expressions(&join.left.keys, left)?,
            time: join.left.time as usize,
            predicate: over(&join.predicate, right)?,
            picks: join.picks.iter().map(|pick| *pick as usize).collect(),
            filter: over(&join.filter, &schema)?,
            input: Arc::clone(left),
            schema: Arc::clone(&schema),
        };
        let held = self.held_rows(&join.left, left, two_sides::LEFT)?;
        let keys = self.expressions(&join.right.keys, right)?;
        let time = join.right.time as usize;
        let versions = Versions::new(keys, time, right, two_sides::RIGHT, self.key_groups)?;
        Ok((Box::new(TemporalJoin::new(plan, held, versions, self.memory(pair.name))), schema))
    }

    fn lookup_join(
        &self,
        spec: &OperatorSpec,
        join: &LookupJoinSpec,
        input: &SchemaRef,
    ) -> Result<(Box<dyn Operator>, SchemaRef)> {
        let schema = codec::decode(&join.columns, self.context)?.schema();
        let table = self.lookups.get(&spec.uid).cloned().ok_or_else(|| {
            DataFusionError::Internal(format!("the table of `{}` was not loaded", spec.uid))
        })?;
        let filter = join.filter.as_ref().map(|filter| codec::decode_expr(filter, &schema, self.context));
        let plan = LookupPlan {
            keeps_all: join.keeps_all,
            keys: self.expressions(&join.left_keys, input)?,
            filter: filter.transpose()?,
            schema: Arc::clone(&schema),
        };
        Ok((Box::new(LookupJoin::new(plan, table, self.memory(&spec.name))), schema))
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
            OperatorKind::Watermarks { expression, options } => {
                let expression = codec::decode_expr(expression, input, self.context)?;
                let ahead = match options.max_ahead_ms {
                    Some(max_ms) => Some(self.ahead(max_ms, &expression.data_type(input)?)),
                    None => None,
                };
                let counters = Arc::clone(self.counters);
                let operator = Watermarks::new(expression, self.watermark_interval, ahead, counters);
                (Box::new(operator), Arc::clone(input))
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
            OperatorKind::AddWeights => {
                let schema = with_weight(input);
                (Box::new(AddWeights { schema: Arc::clone(&schema) }), schema)
            }
            OperatorKind::GroupAggregate(aggregate) => {
                let kernel = Kernel::of(&codec::decode(&aggregate.plan, self.context)?)?;
                let schema = codec::decode(&aggregate.columns, self.context)?.schema();
                let (columns, memory) = (Arc::clone(&schema), self.memory(&spec.name));
                let arriving = match aggregate.phase {
                    GroupPhase::Single => Arriving::Rows { updating: is_updating(input) },
                    GroupPhase::Global { updating } => Arriving::Partials { updating },
                    GroupPhase::Local(mini_batch) => {
                        let operator = LocalGroupAggregate::new(kernel, mini_batch, columns, memory)?;
                        return Ok((Box::new(operator), schema));
                    }
                };
                let mut operator = GroupAggregate::new(kernel, arriving, columns, self.key_groups, memory)?;
                if let Some(expiry) = Expiry::after(self.state_ttl) {
                    operator.forget_after(expiry);
                }
                self.on_disk(&spec.name, |folder, pool| operator.keep_on_disk(folder, pool))?;
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
                let mut operator = TopN::new(plan, input, self.key_groups, self.memory(&spec.name))?;
                if let Some(expiry) = Expiry::after(self.state_ttl).filter(|_| !top_n.partition_by.is_empty())
                {
                    operator.forget_after(expiry);
                }
                self.on_disk(&spec.name, |folder, pool| operator.keep_on_disk(folder, pool))?;
                (Box::new(operator), schema)
            }
            OperatorKind::ChangelogNormalize { keys, each } => {
                let keys = keys.iter().map(|key| *key as usize).collect();
                let memory = self.memory(&spec.name);
                let mut operator = ChangelogNormalize::new(keys, *each, input, self.key_groups, memory)?;
                self.on_disk(&spec.name, |folder, pool| operator.keep_on_disk(folder, pool))?;
                (Box::new(operator), Arc::clone(input))
            }
            OperatorKind::Unnest { plan, columns } => {
                let (plan, schema) = self.sub_plan(plan, columns)?;
                (Box::new(Unnest(plan)), schema)
            }
            OperatorKind::OverPartitions(over) => self.over_partitions(&spec.name, over, input)?,
            OperatorKind::LookupJoin(join) => self.lookup_join(spec, join, input)?,
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
        let shape = over::Shape {
            time: spec.time as usize,
            keys: self.expressions(&spec.keys, input)?,
            functions: over::functions_of(&codec::decode(&spec.plan, self.context)?)?,
            input: Arc::clone(input),
            output: Arc::clone(&output),
        };
        Ok((Box::new(Over::new(shape, self.key_groups, self.memory(name))?), output))
    }

    /// By the clocks of the session's zone where times are without one.
    fn ahead(&self, max_ms: i64, data_type: &DataType) -> Ahead {
        let zone = match data_type {
            DataType::Timestamp(_, None) => self.zone(),
            _ => Zone::UTC,
        };
        Ahead { max_ms, now_ms: Box::new(move || zone.local_ms(now_ms())) }
    }

    /// Has an operator keep on the disk what does not fit into memory, where that is wanted; `keep` says whether it can.
    fn on_disk(
        &self,
        operator: &str,
        keep: impl FnOnce(&Path, &Arc<dyn MemoryPool>) -> Result<bool>,
    ) -> Result<()> {
        if self.state_backend == StateBackend::Memory {
            return Ok(());
        }
        let folders = self.context.runtime_env().disk_manager.temp_dir_paths();
        let folder = folders.first().ok_or_else(|| {
            DataFusionError::ResourcesExhausted(
                "state is to be kept on a disk, and there is no folder".to_owned(),
            )
        })?;
        if !keep(folder, self.context.memory_pool())? {
            tracing::info!(operator, "its state is kept in memory, of which it needs all");
        }
        Ok(())
    }

    fn over_partitions(
        &self,
        name: &str,
        spec: &OverPartitionsSpec,
        input: &SchemaRef,
    ) -> Result<(Box<dyn Operator>, SchemaRef)> {
        let output = codec::decode(&spec.columns, self.context)?.schema();
        let plan = codec::decode(&spec.plan, self.context)?;
        let functions = SubPlan::new(plan, self.context, without_weight(&output))?;
        let (keys, input) = (self.expressions(&spec.keys, input)?, Arc::clone(input));
        let (groups, memory) = (self.key_groups, self.memory(name));
        let operator: Box<dyn Operator> = match &spec.settled {
            Some(Settled { time, history }) => {
                let (time, history) = (*time as usize, history.map(to_usize));
                let shape = SettledShape { functions, keys, time, history, input };
                Box::new(SettledOver::new(shape, groups, memory)?)
            }
            None => {
                let output = Arc::clone(&output);
                let shape = over_partitions::Shape { functions, keys, input, output };
                Box::new(OverPartitions::new(shape, groups, memory)?)
            }
        };
        Ok((operator, output))
    }

    fn zone(&self) -> Zone {
        Zone::of_session(self.context.session_config().options())
    }

    fn memory(&self, name: &str) -> MemoryReservation {
        MemoryConsumer::new(name).register(self.context.memory_pool())
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
