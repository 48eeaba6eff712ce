//! A task's counters as the leader sees them: our own, and what DataFusion's operators count.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use thalweg_graph::TaskMetrics;
use thalweg_plan::exec::{ExchangeSourceExec, SKIPPED_ROWS};

use crate::counters::TaskCounters;

/// What a task has done so far.
pub fn sample(counters: &TaskCounters, plan: Option<&Arc<dyn ExecutionPlan>>) -> TaskMetrics {
    let (input_watermark_ms, watermark_ms, is_idle) = counters.event_time.get();
    let mut metrics = TaskMetrics {
        records_in: counters.records_in.get(),
        records_skipped: 0,
        records_out: counters.records_out.get(),
        bytes_in: counters.bytes_in.get(),
        bytes_out: counters.bytes_out.get(),
        bytes_spilled: 0,
        busy_ms: 0,
        backpressured_ms: counters.backpressured.get().as_millis() as u64,
        idle_ms: 0,
        records_late: counters.records_late.get(),
        records_ahead: counters.event_time.records_ahead.get(),
        input_watermark_ms,
        watermark_ms,
        is_idle,
    };
    let mut operators_ns = 0;
    if let Some(plan) = plan {
        add_operators(plan, &mut metrics, &mut operators_ns);
    }
    // Operators that run tasks of their own are not seen by whoever polls the root; those without counters are not seen by DataFusion.
    metrics.busy_ms = counters.busy_ns.get().max(operators_ns) / 1_000_000;
    let alive_ms = counters.alive.get().as_millis() as u64;
    metrics.idle_ms = alive_ms.saturating_sub(metrics.busy_ms + metrics.backpressured_ms);
    metrics
}

fn add_operators(plan: &Arc<dyn ExecutionPlan>, metrics: &mut TaskMetrics, operators_ns: &mut u64) {
    let children = plan.children();
    if let Some(counted) = plan.metrics() {
        metrics.bytes_spilled += counted.spilled_bytes().unwrap_or(0) as u64;
        *operators_ns += counted.elapsed_compute().unwrap_or(0) as u64;
        if children.is_empty() && !plan.is::<ExchangeSourceExec>() {
            metrics.records_in += counted.output_rows().unwrap_or(0) as u64;
            metrics.records_skipped +=
                counted.sum_by_name(SKIPPED_ROWS).map_or(0, |rows| rows.as_usize() as u64);
            metrics.bytes_in +=
                counted.sum_by_name("bytes_scanned").map_or(0, |bytes| bytes.as_usize() as u64);
        }
    }
    for child in children {
        add_operators(child, metrics, operators_ns);
    }
}
