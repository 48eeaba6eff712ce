//! What scheduling costs for each task: the control plane alone, on workers in this process that do nothing.

use anyhow::Result;
use serde_json::json;
use thalweg_graph::exchange::ExchangeKind;
use thalweg_scheduler::bench::measure;

use super::report::{Report, median};

const ROUNDS: usize = 5;

/// Schedules jobs of so many tasks, with either exchange.
pub async fn run(sizes: &[u32]) -> Result<Report> {
    let method = format!(
        "Jobs of four vertices, all to all, on eight workers that do nothing, from submission to the end; medians of {ROUNDS}."
    );
    let mut report = Report::new("Scheduling", &method, &["tasks", "exchange", "total ms", "us a task"]);
    let mut figures = Vec::new();
    for kind in [ExchangeKind::Blocking, ExchangeKind::Pipelined] {
        for &size in sizes {
            let mut times_ms = Vec::with_capacity(ROUNDS);
            let mut tasks = size;
            for _ in 0..ROUNDS {
                let measured = measure(size, kind).await?;
                tasks = measured.tasks;
                times_ms.push(measured.elapsed.as_secs_f64() * 1e3);
            }
            let total_ms = median(&times_ms);
            let us_per_task = total_ms * 1e3 / f64::from(tasks);
            let exchange = format!("{kind:?}").to_lowercase();
            report.row([
                tasks.to_string(),
                exchange.clone(),
                format!("{total_ms:.1}"),
                format!("{us_per_task:.1}"),
            ]);
            figures.push(json!({ "tasks": tasks, "exchange": exchange, "total_ms": total_ms, "us_per_task": us_per_task }));
        }
    }
    report.figures = figures.into();
    Ok(report)
}
