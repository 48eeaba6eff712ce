//! The parallelism of a running stream: shown and changed in the shape of Flink's resource requirements.
//!
//! All vertices of a job that can have several subtasks have the same number, so what is asked of them must not differ. The lower bounds
//! say nothing here: subtasks share slots where there are fewer.

use std::collections::BTreeMap;

use axum::{Json, body::Bytes, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thalweg_graph::VertexId;

use super::{Api, error::ApiError, ids::JobPath, parameters};
use crate::view::VertexDetails;

/// What is wanted of a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    parallelism: Bounds,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bounds {
    #[serde(default = "one")]
    lower_bound: u32,
    upper_bound: u32,
}

fn one() -> u32 {
    1
}

pub async fn requirements(
    State(api): State<Api>,
    JobPath(job): JobPath,
) -> Result<Json<BTreeMap<String, Requirement>>, ApiError> {
    let details = api.dispatcher.job(job).await?;
    let lines = details.vertices.iter().map(|vertex| {
        let parallelism = Bounds { lower_bound: 1, upper_bound: vertex.parallelism };
        (vertex.id.to_string(), Requirement { parallelism })
    });
    Ok(Json(lines.collect()))
}

pub async fn require(
    State(api): State<Api>,
    JobPath(job): JobPath,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let wanted: BTreeMap<String, Requirement> = parameters::optional_body(&body)?;
    let details = api.dispatcher.job(job).await?;
    if wanted.is_empty() {
        return Err(ApiError::bad_request("invalid-requirements", "the body names no vertex"));
    }
    if let Some(parallelism) = parallelism(&details.vertices, &wanted)? {
        api.dispatcher.rescale(job, parallelism).await?;
    }
    Ok(Json(json!({})))
}

/// The one parallelism that is asked for; `None` where nothing is to change.
fn parallelism(
    vertices: &[VertexDetails],
    wanted: &BTreeMap<String, Requirement>,
) -> Result<Option<u32>, ApiError> {
    let refused = |text: String| Err(ApiError::bad_request("invalid-requirements", text));
    let mut asked = BTreeMap::<u32, VertexId>::new();
    // One subtask may be all that a vertex can have: it takes no side.
    let mut kept = BTreeMap::<u32, VertexId>::new();
    for (name, Requirement { parallelism: Bounds { lower_bound, upper_bound } }) in wanted {
        let vertex = vertices.iter().find(|vertex| vertex.id.to_string() == *name);
        let Some(vertex) = vertex else { return refused(format!("the job has no vertex `{name}`")) };
        if *lower_bound == 0 || lower_bound > upper_bound {
            return refused(format!(
                "vertex `{name}` cannot have from {lower_bound} to {upper_bound} subtasks: expected `lowerBound` of 1 at least, and \
                 `upperBound` not below it"
            ));
        }
        match *upper_bound == vertex.parallelism {
            false => asked.insert(*upper_bound, vertex.id),
            true if vertex.parallelism > 1 => kept.insert(*upper_bound, vertex.id),
            true => None,
        };
    }
    let Some((parallelism, vertex)) = asked.pop_first() else { return Ok(None) };
    let other = asked.pop_first().or_else(|| kept.into_iter().find(|(kept, _)| *kept < parallelism));
    match other {
        None => Ok(Some(parallelism)),
        Some((other, of)) => refused(format!(
            "vertex `{vertex}` is to have {parallelism} subtasks and `{of}` {other}: those of a job that have several have the same \
             number; give all the same `upperBound`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::TaskCounts;

    fn asked(now: &[u32], wanted: &[(u32, u32)]) -> Result<Option<u32>, ApiError> {
        let vertices: Vec<_> = now
            .iter()
            .zip(0..)
            .map(|(parallelism, id)| VertexDetails {
                id: VertexId(id),
                name: String::new(),
                parallelism: *parallelism,
                tasks: TaskCounts::default(),
                started: None,
                ended: None,
                metrics: Default::default(),
            })
            .collect();
        let wanted = wanted.iter().map(|(id, upper_bound)| {
            let parallelism = Bounds { lower_bound: 1, upper_bound: *upper_bound };
            (VertexId(*id).to_string(), Requirement { parallelism })
        });
        parallelism(&vertices, &wanted.collect())
    }

    #[test]
    fn a_job_has_one_parallelism() {
        assert_eq!(asked(&[2, 2, 1], &[(0, 4), (1, 4), (2, 1)]).unwrap(), Some(4));
        assert_eq!(asked(&[2, 2, 1], &[(0, 4), (1, 4), (2, 4)]).unwrap(), Some(4));
        assert_eq!(asked(&[4, 4, 1], &[(0, 1), (1, 1), (2, 1)]).unwrap(), Some(1));
        assert_eq!(asked(&[1, 1], &[(1, 3)]).unwrap(), Some(3));
        // A bound that is not reached is none.
        assert_eq!(asked(&[4, 3], &[(0, 2), (1, 3)]).unwrap(), Some(2));
        assert_eq!(asked(&[2, 2], &[(0, 2), (1, 2)]).unwrap(), None);
        assert_eq!(asked(&[2, 2], &[]).unwrap(), None);
    }

    #[test]
    fn what_differs_is_refused() {
        assert!(asked(&[2, 2], &[(0, 4), (1, 3)]).is_err());
        assert!(asked(&[2, 2], &[(0, 4), (1, 2)]).is_err());
        assert!(asked(&[2], &[(0, 0)]).is_err());
        assert!(asked(&[2], &[(7, 3)]).is_err());
    }
}
