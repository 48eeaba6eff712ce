//! Names of vertices in Flink's manner: the chain of their operators, `Source: lineitem -> Filter -> HashAggregate`.

use std::sync::Arc;

use datafusion::physical_plan::{
    ExecutionPlan,
    aggregates::{AggregateExec, AggregateMode},
    sorts::sort::SortExec,
};
use thalweg_graph::VertexOutput;

use super::deal::table_name;
use crate::exec::splits::Scan;

/// The name of a vertex that runs `plan`.
pub(super) fn vertex_name(plan: &Arc<dyn ExecutionPlan>, output: &VertexOutput) -> String {
    let mut chain = Vec::new();
    collect(plan, &mut chain);
    match output {
        VertexOutput::Edges => {}
        VertexOutput::Sink(sink) => chain.push(format!("Sink: {}", sink.table.path.table)),
        VertexOutput::Result | VertexOutput::LiveResult => chain.push("Sink: Collect".to_owned()),
    }
    if chain.is_empty() { "Forward".to_owned() } else { chain.join(" -> ") }
}

/// Operators from the source up. Of several inputs the last is followed: a join's probe side.
fn collect(plan: &Arc<dyn ExecutionPlan>, chain: &mut Vec<String>) {
    if let Some(input) = plan.children().last() {
        collect(input, chain);
    }
    if let Some(name) = operator_name(plan)
        && chain.last() != Some(&name)
    {
        chain.push(name);
    }
}

fn operator_name(plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    if let Some(scan) = Scan::of(plan) {
        return Some(format!("Source: {}", table_name(&scan)));
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let local = *aggregate.mode() == AggregateMode::Partial;
        return Some(if local { "LocalHashAggregate" } else { "HashAggregate" }.to_owned());
    }
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        return Some(if sort.fetch().is_some() { "SortLimit" } else { "Sort" }.to_owned());
    }
    let name = match plan.name() {
        "ExchangeSourceExec"
        | "CooperativeExec"
        | "CoalesceBatchesExec"
        | "CoalescePartitionsExec"
        | "RepartitionExec"
        | "BufferExec"
        | "OutputRequirementExec"
        | "RuntimeFilteredScanExec" => return None,
        "ProjectionExec" => "Calc",
        "WindowAggExec" | "BoundedWindowAggExec" => "OverAggregate",
        "SortPreservingMergeExec" => "Merge",
        "GlobalLimitExec" | "LocalLimitExec" => "Limit",
        "PartitionwiseUnionExec" | "InterleaveExec" | "UnionExec" => "Union",
        "UnnestExec" => "Correlate",
        "PlaceholderRowExec" | "EmptyExec" | "DataSourceExec" => "Values",
        other => return Some(other.trim_end_matches("Exec").to_owned()),
    };
    Some(name.to_owned())
}
