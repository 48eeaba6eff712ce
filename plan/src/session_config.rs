//! The one DataFusion configuration, used both when planning and when running, so that both know the same functions and
//! decode what the other encoded.

use std::sync::Arc;

use datafusion::{
    config::ConfigOptions,
    execution::{SessionState, SessionStateBuilder, config::SessionConfig, runtime_env::RuntimeEnv},
};
use thalweg_graph::{
    Options,
    options::{self, MemorySize},
};

use crate::{rules, target::Target};

/// The session in which a worker decodes and runs fragments on so many threads.
pub fn session_state(options: &Options, runtime: Arc<RuntimeEnv>, threads: u32) -> SessionState {
    planning_state(options, runtime, Target::Embedded { threads })
}

/// The session in which statements are planned for a target.
pub fn planning_state(options: &Options, runtime: Arc<RuntimeEnv>, target: Target) -> SessionState {
    let builder = SessionStateBuilder::new()
        .with_config(session_config(options, target))
        .with_runtime_env(runtime)
        .with_default_features();
    match target {
        Target::Embedded { .. } => builder.build(),
        Target::Cluster { .. } => {
            builder.with_physical_optimizer_rules(rules::physical_rules_for_cutting()).build()
        }
    }
}

fn session_config(options: &Options, target: Target) -> SessionConfig {
    let mut config = SessionConfig::new().with_target_partitions(target.partitions());
    let settings = config.options_mut();
    settings.sql_parser.enable_ident_normalization = false;
    settings.catalog.information_schema = false;
    if let Ok(MemorySize(bytes)) = options.get(&options::BROADCAST_THRESHOLD) {
        settings.optimizer.hash_join_single_partition_threshold = bytes as usize;
    }
    if let Target::Cluster { .. } = target {
        forbid_what_cuts_break(settings);
    }
    config
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
