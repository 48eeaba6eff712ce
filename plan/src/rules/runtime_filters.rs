//! Lets Parquet scans decide when they start whether to apply the filters that joins made for them
//! ([`RuntimeFilteredScanExec`]). Runs last, when every filter has found its scan.

use std::sync::Arc;

use datafusion::{
    common::{
        Result,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    config::ConfigOptions,
    physical_expr::expressions::DynamicFilterPhysicalExpr,
    physical_optimizer::{PhysicalOptimizerRule, filter_pushdown::FilterPushdown},
    physical_plan::ExecutionPlan,
};

use crate::exec::RuntimeFilteredScanExec;

/// Adds the filters that operators make for the scans of a plan while they run, all of whose partitions run in this process.
/// A plan that has them already is left: one that was made for a single process keeps them when it is encoded.
pub fn add_runtime_filters(
    plan: Arc<dyn ExecutionPlan>,
    options: &ConfigOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    if has_runtime_filters(&plan)? {
        return Ok(plan);
    }
    let plan = FilterPushdown::new_post_optimization().optimize(plan, options)?;
    RuntimeFilters.optimize(plan, options)
}

fn has_runtime_filters(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    plan.exists(|node| {
        let mut found = false;
        node.apply_expressions(&mut |expression| {
            found |= expression.exists(|part| Ok(part.is::<DynamicFilterPhysicalExpr>()))?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    })
}

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

#[cfg(test)]
mod tests {
    use datafusion::{
        arrow::datatypes::{DataType, Field, Schema},
        common::{JoinType, NullEquality},
        datasource::{
            physical_plan::{FileScanConfigBuilder, ParquetSource},
            source::DataSourceExec,
        },
        execution::object_store::ObjectStoreUrl,
        physical_expr::expressions::col,
        physical_plan::{
            displayable,
            joins::{HashJoinExec, PartitionMode},
        },
    };

    use super::*;

    fn scan() -> Arc<dyn ExecutionPlan> {
        let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true)]));
        let source = Arc::new(ParquetSource::new(schema));
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), source);
        DataSourceExec::from_data_source(config.build())
    }

    #[test]
    fn a_join_filters_the_scan_of_its_probe_side_once() {
        let (build, probe) = (scan(), scan());
        let on = vec![(col("k", &build.schema()).unwrap(), col("k", &probe.schema()).unwrap())];
        let (mode, nulls) = (PartitionMode::CollectLeft, NullEquality::NullEqualsNothing);
        let join = HashJoinExec::try_new(build, probe, on, None, &JoinType::Inner, None, mode, nulls, false);
        let options = ConfigOptions::default();
        let filtered = add_runtime_filters(Arc::new(join.unwrap()), &options).unwrap();
        let shown = displayable(filtered.as_ref()).indent(false).to_string();
        assert_eq!(shown.matches("predicate=DynamicFilter").count(), 1, "{shown}");
        let again = add_runtime_filters(Arc::clone(&filtered), &options).unwrap();
        assert!(Arc::ptr_eq(&filtered, &again));
    }
}
