//! Measurements of several together: the subtasks of a vertex, jobs, workers.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Deserialize;
use serde_json::{Value, json};
use thalweg_graph::{JobId, WorkerId};

use super::{
    Api,
    error::ApiError,
    ids::VertexPath,
    metrics::{Measured, job_metrics, subtask_metrics},
    parameters,
    workers::worker_metrics,
};

/// Ways to put values together.
const KINDS: [&str; 5] = ["min", "max", "avg", "sum", "skew"];

#[derive(Deserialize)]
pub struct Wanted {
    /// Names, separated by commas; without it all are listed.
    get: Option<String>,
    /// Of [`KINDS`], separated by commas; without it all are given.
    agg: Option<String>,
    /// Indices or ranges such as `0,2-4`.
    subtasks: Option<String>,
    /// Ids, separated by commas.
    jobs: Option<String>,
    /// The same.
    taskmanagers: Option<String>,
}

/// Without `jobs` those that run.
pub async fn of_jobs(
    State(api): State<Api>,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let wanted = parameters::query(query)?;
    let mut measured = Vec::new();
    match parameters::list(wanted.jobs.as_deref()) {
        Some(ids) => {
            for id in ids {
                let job: JobId = id
                    .parse()
                    .map_err(|error| ApiError::bad_request("malformed-id", format!("in `jobs`: {error}")))?;
                measured.push(job_metrics(&*api.dispatcher.job(job).await?));
            }
        }
        None => {
            for job in api.dispatcher.jobs().await?.iter().filter(|job| !job.status.is_terminal()) {
                // One that ends meanwhile is left out.
                measured.extend(api.dispatcher.job(job.job).await.map(|job| job_metrics(&job)));
            }
        }
    }
    answer(&measured, &wanted)
}

pub async fn of_workers(
    State(api): State<Api>,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let wanted = parameters::query(query)?;
    let workers = match parameters::list(wanted.taskmanagers.as_deref()) {
        None => api.dispatcher.workers().await?,
        Some(ids) => {
            let mut workers = Vec::new();
            for id in ids {
                workers.push(api.dispatcher.worker(&WorkerId(id.to_owned())).await?);
            }
            workers
        }
    };
    answer(&workers.iter().map(worker_metrics).collect::<Vec<_>>(), &wanted)
}

pub async fn of_subtasks(
    State(api): State<Api>,
    VertexPath(job, vertex): VertexPath,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let wanted = parameters::query(query)?;
    let ranges = ranges(wanted.subtasks.as_deref())?;
    let (_, mut subtasks) = api.dispatcher.vertex(job, vertex).await?;
    if let Some(ranges) = ranges {
        subtasks.retain(|subtask| ranges.iter().any(|range| range.contains(&subtask.index)));
    }
    answer(&subtasks.iter().map(subtask_metrics).collect::<Vec<_>>(), &wanted)
}

fn ranges(text: Option<&str>) -> Result<Option<Vec<std::ops::RangeInclusive<u32>>>, ApiError> {
    let read = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let parsed = first.trim().parse().ok().zip(last.trim().parse().ok());
        parsed.map(|(first, last)| first..=last).ok_or_else(|| {
            let text = format!("`subtasks` cannot be `{range}`: expected numbers and ranges such as `0,2-4`");
            ApiError::bad_request("malformed-query", text)
        })
    };
    parameters::list(text).map(|ranges| ranges.into_iter().map(read).collect()).transpose()
}

fn answer(measured: &[Measured], wanted: &Wanted) -> Result<Json<Value>, ApiError> {
    let kinds = match parameters::list(wanted.agg.as_deref()) {
        None => KINDS.to_vec(),
        Some(asked) => asked.into_iter().map(kind).collect::<Result<_, _>>()?,
    };
    let mut names: Vec<&'static str> = Vec::new();
    for (name, _) in measured.iter().flatten() {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let Some(get) = parameters::list(wanted.get.as_deref()) else {
        return Ok(Json(names.iter().map(|name| json!({ "id": name })).collect()));
    };
    names.retain(|name| get.contains(name));
    let line = |name: &&'static str| {
        let values = measured.iter().flatten().filter(|(of, _)| of == name).map(|(_, value)| *value);
        aggregated(name, &values.collect::<Vec<_>>(), &kinds)
    };
    Ok(Json(names.iter().map(line).collect()))
}

fn kind(asked: &str) -> Result<&'static str, ApiError> {
    KINDS.into_iter().find(|kind| kind.eq_ignore_ascii_case(asked)).ok_or_else(|| {
        let text = format!("`agg` cannot be `{asked}`: expected some of `{}`", KINDS.join("`, `"));
        ApiError::bad_request("malformed-query", text)
    })
}

fn aggregated(name: &str, values: &[f64], kinds: &[&str]) -> Value {
    let sum: f64 = values.iter().sum();
    let average = sum / values.len().max(1) as f64;
    let mut line = json!({ "id": name });
    for kind in kinds {
        line[*kind] = json!(match *kind {
            "min" => values.iter().copied().fold(f64::INFINITY, f64::min),
            "max" => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            "avg" => average,
            "skew" => skew(values, average),
            _ => sum,
        });
    }
    line
}

/// How far values are from their average on average, in percent of it, and not more than 100.
fn skew(values: &[f64], average: f64) -> f64 {
    if average == 0.0 {
        return 0.0;
    }
    let deviation: f64 = values.iter().map(|value| (value - average).abs()).sum();
    (deviation / values.len() as f64 / average.abs() * 100.0).min(100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew_is_the_average_deviation_in_percent_of_the_average() {
        let of = |values: &[f64]| skew(values, values.iter().sum::<f64>() / values.len() as f64);
        assert_eq!((of(&[1.0, 3.0]), of(&[5.0, 5.0, 5.0]), of(&[0.0, 0.0])), (50.0, 0.0, 0.0));
        assert_eq!(of(&[0.0, 0.0, 30.0]), 100.0);
    }
}
