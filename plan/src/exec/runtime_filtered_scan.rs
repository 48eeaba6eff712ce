//! A Parquet scan that decides when it starts whether the filters which joins made for it are worth applying in the reader.
//!
//! A reader that filters decodes the key first and the other columns only of the rows kept, which pays when few are kept
//! and costs more than it saves when many are. How many keys a join's build side has is known only when it is built, and a
//! probe side is read after that. Otherwise the scan only skips row groups and pages by the same filters.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, OnceLock},
};

use datafusion::{
    common::{Result, ScalarValue, Statistics, tree_node::TreeNodeRecursion},
    datasource::{
        physical_plan::{FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource},
        source::DataSourceExec,
    },
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::Operator,
    physical_expr::{
        PhysicalExpr, conjunction,
        expressions::{BinaryExpr, CaseExpr, Column, DynamicFilterPhysicalExpr, InListExpr, Literal},
        split_conjunction,
    },
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        statistics::{ChildStats, StatisticsArgs},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{TryStreamExt, stream};

use super::splits::Scan;
use crate::estimate::value_range;

/// The share of a key's values up to which rows are filtered in the reader. Measured on TPC-H: 0.1% of the values (q17) and
/// less (q18) halve a scan, 4% (q21) make it slower.
const KEPT_SHARE_MAX: f64 = 0.02;

/// The node; its input is the scan.
#[derive(Debug, Clone)]
pub struct RuntimeFilteredScanExec {
    scan: Arc<dyn ExecutionPlan>,
    /// What runs: decided by the partition that starts first, since partitions share the files.
    chosen: Arc<OnceLock<Arc<dyn ExecutionPlan>>>,
}

impl RuntimeFilteredScanExec {
    /// Wraps a scan.
    pub fn new(scan: Arc<dyn ExecutionPlan>) -> Self {
        Self { scan, chosen: Arc::default() }
    }

    /// Whether a plan is a Parquet scan that has filters made at run time.
    pub fn fits(plan: &Arc<dyn ExecutionPlan>) -> bool {
        let Some((_, source)) = parquet(plan) else { return false };
        source.filter().is_some_and(|predicate| {
            split_conjunction(&predicate)
                .into_iter()
                .any(|filter| filter.downcast_ref::<DynamicFilterPhysicalExpr>().is_some())
        })
    }
}

fn parquet(plan: &Arc<dyn ExecutionPlan>) -> Option<(&FileScanConfig, &ParquetSource)> {
    let Some(Scan::Files(config)) = Scan::of(plan) else { return None };
    Some((config, config.file_source().downcast_ref::<ParquetSource>()?))
}

/// The scan with its filters applied in the reader; `None` if none of those made at run time keeps few rows.
fn filtering(scan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let (config, source) = parquet(scan)?;
    let statistics = config.statistics();
    let (few, others): (Vec<_>, Vec<_>) = split_conjunction(&source.filter()?)
        .into_iter()
        .cloned()
        .partition(|filter| keeps_few(filter, &statistics));
    if few.is_empty() {
        return None;
    }
    // The reader applies them in this order.
    let source =
        source.with_predicate(conjunction(few.into_iter().chain(others))).with_pushdown_filters(true);
    let config = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source)).build();
    Some(DataSourceExec::from_data_source(config))
}

fn keeps_few(filter: &Arc<dyn PhysicalExpr>, statistics: &Statistics) -> bool {
    let Some(filter) = filter.downcast_ref::<DynamicFilterPhysicalExpr>() else { return false };
    let Some((column, values)) = filter.current().ok().and_then(|filter| listed(&filter)) else {
        return false;
    };
    let share = || {
        let known = statistics.column_statistics.get(column)?;
        Some(values.len() as f64 / value_range(known.min_value.get_value()?, known.max_value.get_value()?)?)
    };
    share().is_some_and(|share| share <= KEPT_SHARE_MAX)
}

/// The column that a filter compares with a list of values, and the values. A list repeats a value for each of its rows.
fn listed(filter: &Arc<dyn PhysicalExpr>) -> Option<(usize, HashSet<ScalarValue>)> {
    if let Some(list) = filter.downcast_ref::<InListExpr>().filter(|list| !list.negated()) {
        let values = list.list().iter().map(|value| Some(value.downcast_ref::<Literal>()?.value().clone()));
        return Some((list.expr().downcast_ref::<Column>()?.index(), values.collect::<Option<_>>()?));
    }
    if let Some(both) = filter.downcast_ref::<BinaryExpr>().filter(|both| *both.op() == Operator::And) {
        let sides = [both.left(), both.right()];
        return sides.into_iter().filter_map(listed).min_by_key(|(_, values)| values.len());
    }
    // One branch for each partition of the build side.
    let branches = filter.downcast_ref::<CaseExpr>()?.when_then_expr().iter().map(|(_, then)| listed(then));
    branches
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .reduce(|(column, a), (_, b)| (column, a.into_iter().chain(b).collect()))
}

impl DisplayAs for RuntimeFilteredScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RuntimeFilteredScanExec")
    }
}

impl ExecutionPlan for RuntimeFilteredScanExec {
    fn name(&self) -> &str {
        "RuntimeFilteredScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.scan.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.scan]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children.swap_remove(0))))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Self { scan, chosen } = self.clone();
        // Runs when the first row is asked for: the build sides above are complete then.
        let open = async move {
            chosen.get_or_init(|| filtering(&scan).unwrap_or(scan)).execute(partition, context)
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(open).try_flatten())))
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&inputs[0]))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }
}

#[cfg(test)]
mod tests {
    use datafusion::{
        arrow::datatypes::{DataType, Field, Schema},
        common::{ColumnStatistics, stats::Precision},
        physical_expr::expressions::{case, in_list, lit},
    };

    use super::*;

    /// A filter on a column of whole numbers from 1 to 1000, as a join makes it from build rows with these keys.
    fn keeps_few_of_a_thousand(keys: impl Iterator<Item = i64>) -> bool {
        let schema = Schema::new(vec![Field::new("k", DataType::Int64, false)]);
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new("k", 0));
        let list = keys.map(lit).collect();
        let bound = Arc::new(BinaryExpr::new(Arc::clone(&column), Operator::LtEq, lit(1_000_i64)));
        let list = in_list(Arc::clone(&column), list, &false, &schema).unwrap();
        let both: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(bound, Operator::And, list));
        let branches = vec![(lit(0_i64), Arc::clone(&both)), (lit(1_i64), both)];
        let filter = DynamicFilterPhysicalExpr::new(vec![column], lit(true));
        filter.update(case(Some(lit(0_i64)), branches, Some(lit(false))).unwrap()).unwrap();
        let statistics = Statistics {
            num_rows: Precision::Exact(5_000),
            total_byte_size: Precision::Absent,
            column_statistics: vec![ColumnStatistics {
                min_value: Precision::Exact(ScalarValue::Int64(Some(1))),
                max_value: Precision::Exact(ScalarValue::Int64(Some(1_000))),
                ..ColumnStatistics::new_unknown()
            }],
        };
        keeps_few(&(Arc::new(filter) as _), &statistics)
    }

    #[test]
    fn a_short_list_of_many_values_keeps_few() {
        assert!(keeps_few_of_a_thousand(1..=5));
        assert!(!keeps_few_of_a_thousand(1..=500));
    }

    #[test]
    fn a_key_counts_once() {
        assert!(keeps_few_of_a_thousand((0..500).map(|row| row % 5 + 1)));
    }

    #[test]
    fn a_filter_that_is_not_complete_keeps_all() {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new("k", 0));
        let filter: Arc<dyn PhysicalExpr> = Arc::new(DynamicFilterPhysicalExpr::new(vec![column], lit(true)));
        let schema = Schema::new(vec![Field::new("k", DataType::Int64, false)]);
        assert!(!keeps_few(&filter, &Statistics::new_unknown(&schema)));
    }
}
