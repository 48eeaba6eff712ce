//! Where files wait for the commit:
//! `<table>/.staging-<job>/v<vertex>/<subtask>_<attempt>-<partition>/part-<job>-<vertex>-<partition>-<n>.<format>`.

use thalweg_graph::{Attempt, JobId};

/// The folder of a job in a table.
pub fn of_job(table_path: &str, job: JobId) -> String {
    format!("{}/.staging-{job}", table_path.trim_end_matches('/'))
}

/// The folder of one sink of a job: a job may write into one table twice.
pub fn of_sink(table_path: &str, attempt: Attempt) -> String {
    format!("{}/v{}", of_job(table_path, attempt.job), attempt.subtask.vertex.0)
}

/// The folder of one partition of one attempt.
pub fn of_writer(table_path: &str, attempt: Attempt, partition: u32) -> String {
    let sink = of_sink(table_path, attempt);
    format!("{sink}/{}_{}-{partition}", attempt.subtask.index, attempt.number)
}

/// The name of a writer's n-th file. No two jobs, vertices, partitions or attempts give the same: of a stream, what an attempt has written
/// before its last checkpoint stays when the next one begins anew.
pub fn file_name(attempt: Attempt, partition: u32, n: u32, extension: &str) -> String {
    let job = attempt.job.to_string();
    let (vertex, number) = (attempt.subtask.vertex.0, attempt.number);
    format!("part-{}-{vertex}-{partition}-{number}-{n}.{extension}", &job[..16])
}
