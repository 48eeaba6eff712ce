//! The failure that operators ended with; where a Parquet file or a full disk is to blame, which one.

use std::sync::Arc;

use datafusion::{error::DataFusionError, execution::TaskContext, physical_plan::ExecutionPlan};
use thalweg_connectors::format::parquet_damage;

use super::ended::Ended;

/// Explains an error of a task in which DataFusion runs `plan`.
pub async fn explained(
    plan: Option<&Arc<dyn ExecutionPlan>>,
    context: &TaskContext,
    error: DataFusionError,
) -> Ended {
    let runtime = context.runtime_env();
    if let Some(plan) = plan
        && let Some(damage) = parquet_damage::explain(&error, plan, &runtime).await
    {
        return Ended::from(damage);
    }
    Ended::of_operators(error, &runtime.disk_manager.temp_dir_paths())
}
