//! The part of a fragment that one subtask runs: what is left when every operator keeps only the subtask's partition.
//!
//! Operators wait for one another's partitions: a hash join tells the probe side's scan which keys it has when all partitions
//! of its build side have reported. Those of other subtasks never would.

use std::sync::Arc;

use datafusion::{
    common::Result,
    physical_plan::{
        ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties as _, ReplaceChildrenOptions,
        repartition::RepartitionExec,
        union::{InterleaveExec, UnionExec},
    },
};

use super::{
    ExchangeSourceExec, PartitionwiseUnionExec,
    splits::{Scan, with_file_groups},
};

type Plan = Arc<dyn ExecutionPlan>;

/// The plan of which partition 0 is partition `index` of `plan`. `None` where the partition does not stand for itself; then `plan`
/// runs as it is.
pub fn own_partition(plan: &Plan, index: usize) -> Result<Option<Plan>> {
    let count = plan.output_partitioning().partition_count();
    // All that is below runs in this subtask.
    if count == 1 {
        return Ok((index == 0).then(|| Arc::clone(plan)));
    }
    if plan.children().is_empty() {
        return Ok(narrow_leaf(plan, index).filter(|leaf| leaf.output_partitioning().partition_count() == 1));
    }
    if let Some(union) = plan.downcast_ref::<PartitionwiseUnionExec>() {
        let inputs = union.children().into_iter();
        let inputs = inputs.filter(|input| index < input.output_partitioning().partition_count());
        let narrowed: Option<Vec<_>> =
            inputs.map(|input| own_partition(input, index)).collect::<Result<_>>()?;
        let Some(inputs) = narrowed else { return Ok(None) };
        return Ok(Some(Arc::new(PartitionwiseUnionExec::try_new(inputs, plan.schema())?)));
    }
    if moves_rows_between_partitions(plan) {
        return Ok(None);
    }
    let mut children = Vec::with_capacity(plan.children().len());
    for child in plan.children() {
        let narrowed = match child.output_partitioning().partition_count() {
            same if same == count => own_partition(child, index)?,
            // A broadcast build side.
            1 => Some(Arc::clone(child)),
            _ => None,
        };
        let Some(narrowed) = narrowed else { return Ok(None) };
        children.push(narrowed);
    }
    let properties = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    let narrowed = Arc::clone(plan).replace_children(children, properties)?;
    Ok((narrowed.output_partitioning().partition_count() == 1).then_some(narrowed))
}

fn narrow_leaf(leaf: &Plan, index: usize) -> Option<Plan> {
    if let Some(exchange) = leaf.downcast_ref::<ExchangeSourceExec>() {
        return (!exchange.per_producer).then(|| Arc::new(exchange.for_one_subtask()) as Plan);
    }
    match Scan::of(leaf)? {
        Scan::Files(config) => {
            let group = config.file_groups.get(index)?.clone();
            Some(with_file_groups(config, vec![group]))
        }
        Scan::Connector(source) => {
            let splits = source.splits.get(index)?.clone();
            Some(Arc::new(source.with_splits(vec![splits])))
        }
    }
}

/// Operators whose partition `i` is not made of partition `i` of their inputs. The planner puts none into a fragment of
/// several subtasks.
fn moves_rows_between_partitions(plan: &Plan) -> bool {
    plan.is::<RepartitionExec>() || plan.is::<UnionExec>() || plan.is::<InterleaveExec>()
}

#[cfg(test)]
mod tests {
    use datafusion::{
        arrow::datatypes::{DataType, Field, Schema},
        common::{JoinType, NullEquality},
        datasource::{
            physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource},
            source::DataSourceExec,
        },
        execution::object_store::ObjectStoreUrl,
        physical_expr::{EquivalenceProperties, Partitioning, expressions::col},
        physical_plan::{
            displayable,
            joins::{HashJoinExec, PartitionMode},
        },
    };
    use thalweg_graph::EdgeId;

    use super::*;

    fn schema() -> Arc<Schema> {
        Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true)]))
    }

    fn exchange(partitioning: Partitioning) -> Plan {
        let equivalences = EquivalenceProperties::new(schema());
        Arc::new(ExchangeSourceExec::new(EdgeId(0), false, equivalences, partitioning))
    }

    fn scan(partitions: usize) -> Plan {
        let groups = (0..partitions).map(|number| {
            FileGroup::new(vec![datafusion::datasource::listing::PartitionedFile::new(
                format!("f{number}"),
                1,
            )])
        });
        let source = Arc::new(ParquetSource::new(schema()));
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), source);
        DataSourceExec::from_data_source(config.with_file_groups(groups.collect()).build())
    }

    fn join(build: Plan, probe: Plan, mode: PartitionMode) -> Plan {
        let key = || col("k", &schema()).unwrap();
        let join = HashJoinExec::try_new(
            build,
            probe,
            vec![(key(), key())],
            None,
            &JoinType::Inner,
            None,
            mode,
            NullEquality::NullEqualsNothing,
            false,
        );
        Arc::new(join.unwrap())
    }

    fn own(plan: &Plan, index: usize) -> Option<Plan> {
        own_partition(plan, index).unwrap()
    }

    fn shown(plan: &Plan) -> String {
        displayable(plan.as_ref()).indent(false).to_string()
    }

    #[test]
    fn a_broadcast_join_keeps_its_build_side_whole() {
        let build = exchange(Partitioning::UnknownPartitioning(1));
        let plan = join(build, scan(3), PartitionMode::CollectLeft);
        let own = own(&plan, 2).unwrap();
        assert_eq!(own.output_partitioning().partition_count(), 1);
        let shown = shown(&own);
        assert!(shown.contains("{1 group: [[f2]]}"), "{shown}");
    }

    #[test]
    fn a_partitioned_join_keeps_one_partition_of_each_side() {
        let hash = || Partitioning::Hash(vec![col("k", &schema()).unwrap()], 4);
        let plan = join(exchange(hash()), exchange(hash()), PartitionMode::Partitioned);
        let own = own(&plan, 3).unwrap();
        assert!(own.children().iter().all(|side| side.output_partitioning().partition_count() == 1));
    }

    #[test]
    fn a_union_keeps_the_inputs_that_have_the_partition() {
        let plan: Plan = Arc::new(PartitionwiseUnionExec::try_new(vec![scan(3), scan(2)], schema()).unwrap());
        assert_eq!(own(&plan, 1).unwrap().children().len(), 2);
        assert_eq!(own(&plan, 2).unwrap().children().len(), 1);
    }

    #[test]
    fn rows_that_change_their_partition_leave_the_plan_whole() {
        let moved = RepartitionExec::try_new(scan(2), Partitioning::RoundRobinBatch(2)).unwrap();
        assert!(own(&(Arc::new(moved) as Plan), 1).is_none());
        assert!(own(&scan(2), 2).is_none());
    }
}
