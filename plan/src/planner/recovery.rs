//! What becomes of a checkpoint's state in a job that goes on from it: kept, begun anew, or left behind.

use std::collections::BTreeSet;

use thalweg_graph::{
    JobGraph, Options, SqlError,
    checkpoint::Manifest,
    options::{self, MAX_PARALLELISM},
    sql_error::SqlErrorCode,
};

use crate::stream::{Head, StreamFragment};

/// What becomes of the state of one operator or source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// `kept`, `rebuilt`, `dropped`.
    pub what: &'static str,
    /// The operator's or source's name for its state.
    pub uid: String,
    /// Why.
    pub why: &'static str,
}

/// What becomes of everything that a checkpoint keeps, and of everything in a job that keeps something.
pub fn fates(graph: &JobGraph, manifest: &Manifest) -> Result<Vec<Fate>, SqlError> {
    let old = kept(manifest);
    let new = stateful(graph, &old)?;
    let fate = |uid: &String| match (new.contains(uid), old.contains(uid)) {
        (true, true) => {
            Fate { what: "kept", uid: uid.clone(), why: "it stands in the checkpoint under this name" }
        }
        (true, false) => Fate {
            what: "rebuilt",
            uid: uid.clone(),
            why: "the checkpoint knows none of this name: it begins anew",
        },
        _ => Fate { what: "dropped", uid: uid.clone(), why: "the job has none of this name any more" },
    };
    Ok(new.union(&old).map(fate).collect())
}

/// Refuses a checkpoint that the job cannot go on from.
pub fn check(graph: &JobGraph, manifest: &Manifest, given: &Options) -> Result<(), SqlError> {
    let groups = given.get(&MAX_PARALLELISM).unwrap_or_default();
    if groups != u32::from(manifest.key_groups) {
        return Err(refused(format!(
            "the checkpoint divides its keys into {} groups and the job into {groups}: set `{}` to {0}",
            manifest.key_groups, MAX_PARALLELISM.name
        )));
    }
    let ignore = given.get(&options::RECOVERY_IGNORE_UNCLAIMED).unwrap_or_default();
    let dropped = fates(graph, manifest)?.into_iter().find(|fate| fate.what == "dropped");
    match dropped {
        Some(fate) if !ignore => Err(refused(format!(
            "the checkpoint keeps the state of `{}`, which the job does not have: set `{}` to `true` to leave it behind, or see \
             `EXPLAIN UPGRADE`",
            fate.uid,
            options::RECOVERY_IGNORE_UNCLAIMED.name
        ))),
        _ => Ok(()),
    }
}

fn refused(message: String) -> SqlError {
    SqlError::new(SqlErrorCode::Invalid, message)
}

/// The names of everything in a job that keeps something; of sinks, which seldom do, those that have.
fn stateful(graph: &JobGraph, old: &BTreeSet<String>) -> Result<BTreeSet<String>, SqlError> {
    let mut uids = BTreeSet::new();
    for vertex in &graph.vertices {
        let fragment = StreamFragment::decode(&vertex.fragment.plan)
            .map_err(|error| SqlError::new(SqlErrorCode::Internal, error.to_string()))?;
        match &fragment.head {
            Head::Source { uid, .. } | Head::Pair { uid, .. } => drop(uids.insert(uid.clone())),
            Head::Edges { .. } => {}
        }
        let operators = fragment.chain.iter().filter(|operator| operator.kind.has_state());
        uids.extend(operators.map(|operator| operator.uid.clone()));
        uids.extend(fragment.sink.filter(|uid| old.contains(uid)));
    }
    Ok(uids)
}

/// The names of everything that a checkpoint keeps.
fn kept(manifest: &Manifest) -> BTreeSet<String> {
    let subtasks = manifest.subtasks.iter().map(|(_, subtask)| subtask);
    let operators =
        subtasks.clone().flat_map(|subtask| &subtask.operators).map(|operator| operator.uid.clone());
    let sinks = subtasks.clone().filter_map(|subtask| subtask.sink.as_ref()).map(|sink| sink.uid.clone());
    let sources = subtasks.filter_map(|subtask| subtask.source.as_ref()).map(|source| source.uid.clone());
    operators.chain(sources).chain(sinks).collect()
}
