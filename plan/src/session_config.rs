//! The one DataFusion configuration, used both when planning and when running, so that both know the same functions and
//! decode what the other encoded.

use std::sync::Arc;

use datafusion::{
    config::ConfigOptions,
    execution::{
        SessionState, SessionStateBuilder, config::SessionConfig, memory_pool::MemoryLimit,
        runtime_env::RuntimeEnv,
    },
};
use thalweg_graph::{
    Options,
    options::{self, MemorySize},
};

use crate::{
    functions::{self, zone::Zone},
    memory::{batch_rows, pool_bytes},
    rules::{self, SpillableJoins},
    target::Target,
};

/// Within a process collecting a build side copies nothing, which costs less than to partition both sides by their keys.
/// But one thread builds it, for which the others wait: this is divided by their number.
const EMBEDDED_COLLECT_BYTES: usize = 256 << 20;

/// A join's keys up to this number reach the probe side's scan as a list, whose length says what the scan may save.
const RUNTIME_FILTER_VALUES_MAX: usize = 2_000;

/// Sorts of a plan that are taken to run side by side when memory is dealt out.
const SORTS_AT_ONCE: u64 = 8;

/// The session in which a worker decodes and runs fragments on so many threads.
pub fn session_state(options: &Options, runtime: Arc<RuntimeEnv>, threads: u32) -> SessionState {
    planning_state(options, runtime, Target::Embedded { threads })
}

/// The session in which statements are planned for a target.
pub fn planning_state(options: &Options, runtime: Arc<RuntimeEnv>, target: Target) -> SessionState {
    let memory_bytes = memory_bytes(options, &runtime, target);
    let builder = SessionStateBuilder::new()
        .with_config(session_config(options, target, memory_bytes))
        .with_runtime_env(runtime)
        .with_default_features()
        .with_optimizer_rules(rules::logical_rules())
        .with_expr_planners(functions::expr_planners())
        .with_analyzer_rule(Arc::new(functions::aggregate::LowerAggregates));
    let rules = match target {
        Target::Embedded { threads } => {
            rules::physical_rules(SpillableJoins { memory_bytes, partitions_each: threads.into() })
        }
        Target::Cluster { .. } => {
            let slots = options.get(&options::TASK_SLOTS).unwrap_or(1);
            rules::physical_rules_for_cutting(SpillableJoins { memory_bytes, partitions_each: slots.into() })
        }
    };
    let mut state = builder.with_physical_optimizer_rules(rules).build();
    functions::register(&mut state).expect("a session's registry takes every function");
    // The time that CURRENT_TIMESTAMP and its like have in the statement that is planned with this state.
    let options = Arc::clone(state.config_options());
    state.execution_props_mut().mark_start_execution(options);
    state
}

fn session_config(options: &Options, target: Target, memory_bytes: u64) -> SessionConfig {
    let partitions = target.partitions();
    let mut config = SessionConfig::new()
        .with_target_partitions(partitions)
        .with_batch_size(batch_rows(memory_bytes, partitions as u64));
    let settings = config.options_mut();
    settings.sql_parser.enable_ident_normalization = false;
    settings.sql_parser.parse_float_as_decimal = true;
    settings.catalog.information_schema = false;
    settings.execution.time_zone = local_time_zone(options);
    // It moves `m['k']` below the projection that makes `m`, under a name that is taken there.
    settings.optimizer.enable_leaf_expression_pushdown = false;
    if let Ok(MemorySize(bytes)) = options.get(&options::BROADCAST_THRESHOLD) {
        settings.optimizer.hash_join_single_partition_threshold = bytes as usize;
    }
    settings.optimizer.hash_join_inlist_pushdown_max_distinct_values = RUNTIME_FILTER_VALUES_MAX;
    // Every partition of every sort holds this from its start.
    let sort_share = memory_bytes / (SORTS_AT_ONCE * target.partitions() as u64);
    let reserved = &mut settings.execution.sort_spill_reservation_bytes;
    *reserved = (*reserved).min(sort_share as usize);
    match target {
        Target::Cluster { .. } => forbid_what_cuts_break(settings),
        Target::Embedded { .. } => {
            let threshold = &mut settings.optimizer.hash_join_single_partition_threshold;
            *threshold = (*threshold).max(EMBEDDED_COLLECT_BYTES / target.partitions());
        }
    }
    config
}

/// The zone of a session with these options, in which `TIMESTAMP_LTZ` is shown.
pub fn session_zone(options: &Options) -> Zone {
    local_time_zone(options).as_deref().and_then(Zone::named).unwrap_or(Zone::UTC)
}

/// The pool of a process that runs the plan: the one here, or that of a worker on a cluster.
fn memory_bytes(options: &Options, runtime: &RuntimeEnv, target: Target) -> u64 {
    match (target, runtime.memory_pool.memory_limit()) {
        (Target::Embedded { .. }, MemoryLimit::Finite(bytes)) => bytes as u64,
        (Target::Embedded { .. }, _) => u64::MAX,
        (Target::Cluster { .. }, _) => {
            options.get(&options::PROCESS_MEMORY).map_or(u64::MAX, |MemorySize(bytes)| pool_bytes(bytes))
        }
    }
}

/// The session's zone; by default that of the machine, as far as the environment names it.
fn local_time_zone(options: &Options) -> Option<String> {
    let named = options.get(&options::LOCAL_TIME_ZONE).ok().filter(|zone| zone != "default");
    named.or_else(|| std::env::var("TZ").ok()).filter(|zone| Zone::named(zone).is_some())
}

/// A filter that one operator makes for another, a subquery that all partitions wait for and a repartition without a key
/// all take it that both ends run in one process.
fn forbid_what_cuts_break(settings: &mut ConfigOptions) {
    settings.optimizer.enable_round_robin_repartition = false;
    settings.optimizer.enable_dynamic_filter_pushdown = false;
    settings.optimizer.enable_join_dynamic_filter_pushdown = false;
    settings.optimizer.enable_topk_dynamic_filter_pushdown = false;
    settings.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    settings.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
}
