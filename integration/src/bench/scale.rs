//! What many workers and tasks take of the control plane: real code, workers in this process.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use thalweg_scheduler::bench::scale;

use super::{report::Report, usage};

/// How long the job runs while heartbeats come.
const RUNNING: Duration = Duration::from_secs(10);

/// Measures clusters of these sizes.
pub async fn run(workers: &[u32], tasks: u32) -> Result<Report> {
    let method = format!(
        "A pipelined job of about {tasks} tasks in four vertices on workers in this process, heartbeats every 2 s with a report of each task; \
         CPU and memory are those of JobManager and workers together, CPU over {} s while all tasks run.",
        RUNNING.as_secs()
    );
    let columns =
        ["workers", "tasks", "registered ms", "all run after ms", "CPU %", "cancelled after ms", "peak MB"];
    let mut report = Report::new("The control plane at scale", &method, &columns);
    let mut figures = Vec::new();
    for &count in workers {
        let mut looks = Vec::new();
        let measured =
            scale::measure(count, tasks, RUNNING, || looks.push((Instant::now(), usage::own()))).await?;
        let cpu = match looks.as_slice() {
            [(begun, before), (ended, after)] => {
                100.0 * (after.cpu - before.cpu).as_secs_f64() / (*ended - *begun).as_secs_f64()
            }
            _ => f64::NAN,
        };
        let ms = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e3);
        let peak_mb = usage::own().peak_bytes as f64 / 1e6;
        report.row([
            measured.workers.to_string(),
            measured.tasks.to_string(),
            ms(measured.registered),
            ms(measured.running),
            format!("{cpu:.1}"),
            ms(measured.canceled),
            format!("{peak_mb:.0}"),
        ]);
        figures.push(json!({ "workers": count, "tasks": measured.tasks, "running_ms": measured.running.as_millis() as u64, "cpu_percent": cpu, "peak_mb": peak_mb }));
    }
    report.figures = figures.into();
    Ok(report)
}
