//! Lets Parquet scans decide when they start whether to apply the filters that joins made for them
//! ([`RuntimeFilteredScanExec`]). Runs last, when every filter has found its scan.

use std::sync::Arc;

use datafusion::{
    common::{
        Result,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    config::ConfigOptions,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::ExecutionPlan,
};

use crate::exec::RuntimeFilteredScanExec;

/// The rule.
#[derive(Debug)]
pub struct RuntimeFilters;

impl PhysicalOptimizerRule for RuntimeFilters {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if RuntimeFilteredScanExec::fits(&node) {
                return Ok(Transformed::yes(Arc::new(RuntimeFilteredScanExec::new(node)) as _));
            }
            Ok(Transformed::no(node))
        })
        .data()
    }

    fn name(&self) -> &str {
        "runtime_filters"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
