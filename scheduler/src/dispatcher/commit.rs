//! Runs commits and aborts beside the dispatcher, again after failures that may pass.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use thalweg_graph::{
    CheckpointId, Failure, FailureKind, JobId,
    checkpoint::Manifest,
    table::{SinkDescriptor, SinkOutput},
};
use tokio::{sync::mpsc, time};

use super::input::Input;
use crate::{checkpoint_storage::CheckpointStorage, committer::Committer};

/// Tries of one sink before the job fails.
const TRIES: u32 = 8;
/// Delay after the first failed try; doubled after each, up to a limit.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(10);
/// Time for one try: renaming many files takes its time, a name node that hangs takes all of it.
const TRY_TIMEOUT: Duration = Duration::from_secs(300);
/// How long the end of a failed job waits for its staged output to be removed; the removal goes on after that.
const ABORT_WAIT: Duration = Duration::from_secs(10);

/// Makes the output of all sinks visible; the outcome comes back as input.
pub(super) fn spawn_commit(
    job: JobId,
    sinks: Vec<SinkOutput>,
    committer: Arc<dyn Committer>,
    inbox: mpsc::WeakSender<Input>,
) {
    tokio::spawn(async move {
        let committing = guarded("the commit", async move {
            for SinkOutput { sink, committables } in &sinks {
                retry(job, "commit", || committer.commit(job, sink, committables)).await?;
            }
            // What checkpoints have made visible has left its staging folders behind.
            for SinkOutput { sink, .. } in sinks.iter().filter(|output| output.committables.is_empty()) {
                abort(job, sink, &*committer).await;
            }
            Ok(())
        });
        answer(&inbox, Input::Committed(job, committing.await)).await;
    });
}

/// Makes visible what sinks have prepared for a checkpoint; the outcome comes back as input.
pub(super) fn spawn_commit_checkpoint(
    job: JobId,
    checkpoint: CheckpointId,
    sinks: Vec<SinkOutput>,
    committer: Arc<dyn Committer>,
    inbox: mpsc::WeakSender<Input>,
) {
    tokio::spawn(async move {
        let what = format!("the commit of checkpoint {checkpoint}");
        let committing = guarded(&what, async move { commit_prepared(job, job, &sinks, &*committer).await });
        answer(&inbox, Input::CheckpointCommitted(job, checkpoint, committing.await)).await;
    });
}

/// Makes visible what sinks of the job `of` have prepared for a checkpoint, all at once: they wait for one another where they share a topic,
/// and one that waits holds up no other.
pub(super) async fn commit_prepared(
    job: JobId,
    of: JobId,
    sinks: &[SinkOutput],
    committer: &dyn Committer,
) -> Result<(), Failure> {
    let prepared = sinks.iter().filter(|output| !output.committables.is_empty());
    let commits = prepared.map(|SinkOutput { sink, committables }| {
        retry(job, "commit of a checkpoint", || committer.commit_checkpoint(of, sink, committables))
    });
    join_all(commits).await.into_iter().collect()
}

/// Writes a checkpoint's manifest; the outcome comes back as input.
pub(super) fn spawn_store(
    job: JobId,
    url: String,
    manifest: Box<Manifest>,
    storage: Arc<dyn CheckpointStorage>,
    inbox: mpsc::WeakSender<Input>,
) {
    let checkpoint = manifest.checkpoint;
    tokio::spawn(async move {
        let what = format!("writing the manifest of checkpoint {checkpoint}");
        let storing =
            guarded(&what, async move { retry(job, "manifest", || storage.write(&url, &manifest)).await });
        answer(&inbox, Input::CheckpointStored(job, checkpoint, storing.await)).await;
    });
}

/// Removes what a job's checkpoints have left: one that is not kept any more, or the folder of all. Nobody waits for it.
pub(super) fn spawn_removal(job: JobId, removal: Removal, storage: Arc<dyn CheckpointStorage>) {
    tokio::spawn(async move {
        let removed = match &removal {
            Removal::Checkpoint { manifest, kept } => {
                retry(job, "removal", || storage.remove(manifest, kept)).await
            }
            Removal::Folder(folder) => retry(job, "removal", || storage.remove_folder(folder)).await,
        };
        if let Err(failure) = removed {
            tracing::warn!(%job, ?removal, %failure, "files of a checkpoint are left behind");
        }
    });
}

/// What is to be removed.
#[derive(Debug)]
pub(super) enum Removal {
    /// A checkpoint, by its manifest, as far as the others do not need it.
    Checkpoint { manifest: String, kept: Vec<String> },
    /// A folder.
    Folder(String),
}

/// Withdraws the output of all sinks. What cannot be withdrawn stays in the staging folders, where no reader looks.
pub(super) fn spawn_abort(
    job: JobId,
    sinks: Vec<SinkOutput>,
    committer: Arc<dyn Committer>,
    inbox: mpsc::WeakSender<Input>,
) {
    tokio::spawn(async move {
        let mut aborting = tokio::spawn(async move {
            for SinkOutput { sink, .. } in &sinks {
                abort(job, sink, &*committer).await;
            }
        });
        match time::timeout(ABORT_WAIT, &mut aborting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%job, %error, "staged output may be left behind"),
            Err(_) => tracing::warn!(%job, "removing staged output takes long; the job ends before it"),
        }
        answer(&inbox, Input::Aborted(job)).await;
    });
}

/// Withdraws what a job has left of its output to a sink; tells where that fails.
pub(super) async fn abort(job: JobId, sink: &SinkDescriptor, committer: &dyn Committer) {
    if let Err(failure) = retry(job, "abort", || committer.abort(job, sink)).await {
        tracing::warn!(%job, table = %sink.table.path, %failure, "staged output is left behind");
    }
}

/// Does something in a task of its own, so that a panic in a connector is an answer too.
pub(super) async fn guarded(
    what: &str,
    work: impl Future<Output = Result<(), Failure>> + Send + 'static,
) -> Result<(), Failure> {
    let ended = tokio::spawn(work).await;
    ended.unwrap_or_else(|error| Err(Failure::new(FailureKind::Internal, format!("{what} stopped: {error}"))))
}

/// Calls until it succeeds or fails in a way that does not pass, with growing pauses.
pub(super) async fn retry<T, F>(job: JobId, what: &str, mut call: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut delay = FIRST_DELAY;
    for left in (0..TRIES).rev() {
        let outcome = time::timeout(TRY_TIMEOUT, call()).await.unwrap_or_else(|_| {
            let message = format!("no answer within {} s", TRY_TIMEOUT.as_secs());
            Err(Failure::new(FailureKind::Io, message))
        });
        match outcome {
            Err(failure) if may_pass(&failure) && left > 0 => {
                tracing::warn!(%job, what, %failure, left, "trying again");
                time::sleep(delay).await;
                delay = (delay * 2).min(DELAY_MAX);
            }
            outcome => return outcome,
        }
    }
    unreachable!("the last try returns")
}

fn may_pass(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Io | FailureKind::Unreachable)
}

pub(super) async fn answer(inbox: &mpsc::WeakSender<Input>, input: Input) {
    if let Some(inbox) = inbox.upgrade() {
        // A dispatcher that is gone needs no answer.
        let _ = inbox.send(input).await;
    }
}
