//! `/metrics`: what is measured in the text format of Prometheus (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::Write as _;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use thalweg_graph::JobStatus;

use super::{Api, error::ApiError, metrics::job_metrics};
use crate::view::{JobDetails, SubtaskDetails, VertexDetails};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One measurement of each subtask.
struct Series {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&SubtaskDetails) -> Option<f64>,
}

const fn counter(
    name: &'static str,
    help: &'static str,
    value: fn(&SubtaskDetails) -> Option<f64>,
) -> Series {
    Series { name, kind: "counter", help, value }
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&SubtaskDetails) -> Option<f64>) -> Series {
    Series { name, kind: "gauge", help, value }
}

#[rustfmt::skip]
const TASKS: &[Series] = &[
    counter("thalweg_task_records_in_total", "Rows read.", |task| Some(task.metrics.records_in as f64)),
    counter("thalweg_task_records_out_total", "Rows written.", |task| Some(task.metrics.records_out as f64)),
    counter("thalweg_task_bytes_in_total", "Bytes read.", |task| Some(task.metrics.bytes_in as f64)),
    counter("thalweg_task_bytes_out_total", "Bytes written.", |task| Some(task.metrics.bytes_out as f64)),
    counter("thalweg_task_bytes_spilled_total", "Bytes written to disk for lack of memory.", |task| Some(task.metrics.bytes_spilled as f64)),
    counter("thalweg_task_busy_seconds_total", "Time spent computing.", |task| Some(seconds(task.metrics.busy_ms))),
    counter("thalweg_task_idle_seconds_total", "Time spent waiting for rows.", |task| Some(seconds(task.metrics.idle_ms))),
    counter("thalweg_task_backpressured_seconds_total", "Time spent waiting for consumers.", |task| Some(seconds(task.metrics.backpressured_ms))),
    counter("thalweg_task_records_late_total", "Rows left out because their windows were complete.", |task| Some(task.metrics.records_late as f64)),
    counter("thalweg_task_records_malformed_total", "Rows left out because they could not be read.", |task| Some(task.metrics.records_skipped as f64)),
    counter("thalweg_task_records_ahead_total", "Rows whose event time was too far ahead of the clock to count.", |task| Some(task.metrics.records_ahead as f64)),
    gauge("thalweg_task_input_watermark_seconds", "How far event time has come in what is read, since 1970.", |task| watermark(task.metrics.input_watermark_ms)),
    gauge("thalweg_task_watermark_seconds", "How far event time has come in what is put out, since 1970.", |task| watermark(task.metrics.watermark_ms)),
];

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// The end of event time is no time.
fn watermark(ms: Option<i64>) -> Option<f64> {
    ms.filter(|ms| *ms < i64::MAX).map(|ms| ms as f64 / 1_000.0)
}

pub async fn serve(State(api): State<Api>) -> Result<Response, ApiError> {
    let overview = api.dispatcher.overview().await?;
    let mut text = String::new();
    one(&mut text, "thalweg_workers", "gauge", "Registered workers.", f64::from(overview.workers));
    one(&mut text, "thalweg_slots", "gauge", "Slots of all workers.", f64::from(overview.slots_total));
    one(&mut text, "thalweg_slots_free", "gauge", "Slots that no job has.", f64::from(overview.slots_free));
    head(&mut text, "thalweg_worker_memory_used_bytes", "gauge", "Bytes of a worker's memory pool in use.");
    for worker in api.dispatcher.workers().await? {
        let labels = [("worker", worker.worker.0.as_str())];
        line(&mut text, "thalweg_worker_memory_used_bytes", &labels, worker.memory_used_bytes as f64);
    }
    let jobs = api.dispatcher.jobs().await?;
    head(&mut text, "thalweg_jobs", "gauge", "Jobs that are remembered, by state.");
    for status in JobStatus::ALL {
        let count = jobs.iter().filter(|job| job.status == status).count();
        line(&mut text, "thalweg_jobs", &[("state", &status.to_string())], count as f64);
    }
    let mut running = Vec::new();
    for job in jobs.iter().filter(|job| !job.status.is_terminal()) {
        // One that ends meanwhile is left out.
        let Ok(details) = api.dispatcher.job(job.job).await else { continue };
        let mut vertices = Vec::new();
        for vertex in &details.vertices {
            vertices.extend(api.dispatcher.vertex(job.job, vertex.id).await);
        }
        running.push((details, vertices));
    }
    jobs_text(&mut text, running.iter().map(|(details, _)| details.as_ref()));
    for series in TASKS {
        head(&mut text, series.name, series.kind, series.help);
        for (details, vertices) in &running {
            vertices.iter().for_each(|vertex| task_lines(&mut text, series, details, vertex));
        }
    }
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// Flink's measurements of whole jobs, each of all jobs.
fn jobs_text<'a>(text: &mut String, jobs: impl Iterator<Item = &'a JobDetails> + Clone) {
    for (measured, name, help) in [
        ("uptime", "thalweg_job_uptime_ms", "Milliseconds since the job was submitted."),
        ("numRestarts", "thalweg_job_restarts", "How often some part of the job was restarted."),
        ("numberOfCompletedCheckpoints", "thalweg_job_checkpoints_completed", "Complete checkpoints."),
        (
            "lastCheckpointDuration",
            "thalweg_job_last_checkpoint_ms",
            "Milliseconds that the newest checkpoint took.",
        ),
        (
            "lastCheckpointSize",
            "thalweg_job_last_checkpoint_stored_bytes",
            "Bytes stored for the newest checkpoint.",
        ),
        (
            "lastCheckpointFullSize",
            "thalweg_job_last_checkpoint_state_bytes",
            "Bytes of state that the newest checkpoint keeps.",
        ),
    ] {
        head(text, name, "gauge", help);
        for job in jobs.clone() {
            let value = job_metrics(job).into_iter().find(|(of, _)| *of == measured);
            if let Some((_, value)) = value {
                let id = job.summary.job.to_string();
                line(text, name, &[("job", &id), ("job_name", &job.summary.name)], value);
            }
        }
    }
}

fn task_lines(
    text: &mut String,
    series: &Series,
    job: &JobDetails,
    (vertex, subtasks): &(VertexDetails, Vec<SubtaskDetails>),
) {
    let (id, number) = (job.summary.job.to_string(), vertex.id.0.to_string());
    for subtask in subtasks {
        let Some(value) = (series.value)(subtask) else { continue };
        let index = subtask.index.to_string();
        let labels = [
            ("job", id.as_str()),
            ("job_name", &job.summary.name),
            ("vertex", &number),
            ("vertex_name", &vertex.name),
            ("subtask", &index),
        ];
        line(text, series.name, &labels, value);
    }
}

fn one(text: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    head(text, name, kind, help);
    line(text, name, &[], value);
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    text.push_str(name);
    for (position, (label, value)) in labels.iter().enumerate() {
        let _ = write!(text, "{}{label}=\"{}\"", if position == 0 { '{' } else { ',' }, escaped(value));
    }
    let _ = writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" });
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_numbers_are_as_prometheus_reads_them() {
        let mut text = String::new();
        line(&mut text, "a", &[("name", "INSERT INTO \"t\"\n\\")], 1_700_000_000.5);
        one(&mut text, "b", "gauge", "Bees.", 3.0);
        assert_eq!(
            text,
            "a{name=\"INSERT INTO \\\"t\\\"\\n\\\\\"} 1700000000.5\n# HELP b Bees.\n# TYPE b gauge\nb 3\n"
        );
    }
}
