//! Makes visible what the checkpoint that a job begins with has left: its job's leader may have died before it had done so.

use std::{collections::BTreeSet, sync::Arc};

use thalweg_graph::{Failure, FailureKind, JobId, checkpoint::Manifest, table::SinkOutput};
use tokio::sync::mpsc;

use super::{
    commit::{abort, answer, retry},
    input::Input,
};
use crate::{checkpoint_storage::CheckpointStorage, committer::Committer};

/// What is to be recovered.
pub(super) struct Recovery {
    /// The job that begins.
    pub job: JobId,
    /// The checkpoint's manifest, or its folder, as a URL.
    pub manifest: String,
    /// The job's sinks.
    pub sinks: Vec<SinkOutput>,
    /// The jobs that run.
    pub running: BTreeSet<JobId>,
}

/// Recovers it; the outcome comes back as input.
pub(super) fn spawn(
    recovery: Recovery,
    committer: Arc<dyn Committer>,
    storage: Arc<dyn CheckpointStorage>,
    inbox: mpsc::WeakSender<Input>,
) {
    tokio::spawn(async move {
        let job = recovery.job;
        // In a task of its own, so that a panic in a connector is an answer too.
        let recovering = tokio::spawn(async move { recover(recovery, &*committer, &*storage).await });
        let outcome = recovering.await.unwrap_or_else(|error| {
            Err(Failure::new(FailureKind::Internal, format!("recovering output stopped: {error}")))
        });
        answer(&inbox, Input::OutputRecovered(job, outcome)).await;
    });
}

async fn recover(
    recovery: Recovery,
    committer: &dyn Committer,
    storage: &dyn CheckpointStorage,
) -> Result<(), Failure> {
    let Recovery { job, manifest: url, sinks, running } = recovery;
    let manifest = retry(job, "manifest", || storage.read(&url)).await?;
    let old = manifest.job;
    if !manifest.savepoint && running.contains(&old) {
        let message = format!(
            "`{url}` is a checkpoint of job `{old}`, which still runs and would write the same rows: cancel it first, or take a savepoint"
        );
        return Err(Failure::new(FailureKind::Deterministic, message));
    }
    for SinkOutput { sink, committables } in outputs(&manifest, &sinks) {
        if !committables.is_empty() {
            retry(job, "commit of a checkpoint", || committer.commit_checkpoint(old, &sink, &committables))
                .await?;
        }
        // What a job has staged behind its last checkpoint belongs to nobody once it is gone. That of a savepoint may go on.
        if !manifest.savepoint {
            abort(old, &sink, committer).await;
        }
    }
    Ok(())
}

/// What the checkpoint has of each sink, reached as the new job does where it has the same table: the checkpoint keeps no secrets.
fn outputs(manifest: &Manifest, sinks: &[SinkOutput]) -> Vec<SinkOutput> {
    let reached = manifest.sinks.iter().map(|output| {
        let same = |new: &&SinkOutput| {
            let (old, new) = (&output.sink.table, &new.sink.table);
            old.path == new.path && old.connector() == new.connector()
        };
        let mut output = output.clone();
        if let Some(new) = sinks.iter().find(same) {
            let options = &mut output.sink.table.options;
            for (key, value) in &new.sink.table.options {
                options.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        output
    });
    reached.collect()
}
