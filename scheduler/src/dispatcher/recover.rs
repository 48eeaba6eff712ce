//! Makes visible what the checkpoint that a job begins with has left: its job's leader may have died before it had done so.

use std::{collections::BTreeSet, sync::Arc};

use thalweg_graph::{Failure, FailureKind, JobId, checkpoint::Manifest, table::SinkOutput};
use tokio::sync::mpsc;

use super::{
    commit::{abort, answer, commit_prepared, guarded, retry},
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
        let what = "making visible what a checkpoint has left";
        let outcome = guarded(what, async move { recover(recovery, &*committer, &*storage).await }).await;
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
    // A job whose leader died before any task of it was found again goes on from a checkpoint of its own.
    if !manifest.savepoint && old != job && running.contains(&old) {
        let message = format!(
            "`{url}` is a checkpoint of job `{old}`, which still runs and would write the same rows: cancel it first, or take a savepoint"
        );
        return Err(Failure::new(FailureKind::Deterministic, message));
    }
    let outputs = outputs(&manifest, &sinks);
    commit_prepared(job, old, &outputs, committer).await?;
    // That of a savepoint's job may go on.
    if manifest.savepoint {
        return Ok(());
    }
    // What a job has staged behind its last checkpoint belongs to nobody once it is gone. All is committed by now: sinks may share a
    // table or a prefix, and what one withdraws must not be what another has prepared.
    for SinkOutput { sink, .. } in &outputs {
        abort(old, sink, committer).await;
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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;
    use parking_lot::Mutex;
    use thalweg_graph::{
        CheckpointId,
        table::{Committable, SinkDescriptor},
    };

    use super::*;
    use crate::testing::sink;

    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Asked {
        Commit(String),
        Abort(String),
    }

    /// A checkpoint, and what is asked of its sinks.
    struct World {
        manifest: Manifest,
        asked: Mutex<Vec<Asked>>,
    }

    #[async_trait]
    impl Committer for World {
        async fn commit(&self, _: JobId, _: &SinkDescriptor, _: &[Committable]) -> Result<(), Failure> {
            Err(Failure::new(FailureKind::Internal, "the job has not ended"))
        }

        async fn commit_checkpoint(
            &self,
            _: JobId,
            sink: &SinkDescriptor,
            _: &[Committable],
        ) -> Result<(), Failure> {
            self.asked.lock().push(Asked::Commit(sink.table.path.table.clone()));
            Ok(())
        }

        async fn abort(&self, _: JobId, sink: &SinkDescriptor) -> Result<(), Failure> {
            self.asked.lock().push(Asked::Abort(sink.table.path.table.clone()));
            Ok(())
        }
    }

    #[async_trait]
    impl CheckpointStorage for World {
        fn check(&self, _: &str) -> Result<(), Failure> {
            Ok(())
        }

        async fn write(&self, _: &str, _: &Manifest) -> Result<(), Failure> {
            Ok(())
        }

        async fn read(&self, _: &str) -> Result<Manifest, Failure> {
            Ok(self.manifest.clone())
        }

        async fn remove(&self, _: &str, _: &[String]) -> Result<(), Failure> {
            Ok(())
        }

        async fn dispose(&self, _: &str) -> Result<(), Failure> {
            Ok(())
        }

        async fn remove_folder(&self, _: &str) -> Result<(), Failure> {
            Ok(())
        }
    }

    /// Of a checkpoint with two sinks that have prepared something and one that has not.
    async fn asked(savepoint: bool, running: &[u128], job: u128) -> Result<Vec<Asked>, Failure> {
        let output = |name: &str, count: usize| {
            let mut sink = sink();
            sink.table.path.table = name.to_owned();
            let committables = vec![Committable(Bytes::from_static(b"part")); count];
            SinkOutput { sink: Box::new(sink), committables }
        };
        let manifest = Manifest {
            version: Manifest::VERSION,
            job: JobId(1),
            checkpoint: CheckpointId(3),
            triggered_ms: 0,
            key_groups: 128,
            statement: String::new(),
            savepoint,
            subtasks: Vec::new(),
            sinks: vec![output("a", 1), output("b", 0), output("c", 2)],
        };
        let world = World { manifest, asked: Mutex::default() };
        let (job, running) = (JobId(job), running.iter().copied().map(JobId).collect());
        let recovery = Recovery { job, manifest: "file:///chk-3".to_owned(), sinks: Vec::new(), running };
        recover(recovery, &world, &world).await?;
        Ok(world.asked.into_inner())
    }

    #[tokio::test]
    async fn nothing_is_withdrawn_before_all_that_was_prepared_is_visible() {
        let commit = |name: &str| Asked::Commit(name.to_owned());
        let abort = |name: &str| Asked::Abort(name.to_owned());
        let committed = [commit("a"), commit("c")];
        let withdrawn = [abort("a"), abort("b"), abort("c")];
        assert_eq!(asked(false, &[], 2).await.unwrap(), [&committed[..], &withdrawn[..]].concat());
        assert_eq!(asked(true, &[1], 2).await.unwrap(), committed, "a savepoint's job may go on");
    }

    #[tokio::test]
    async fn a_checkpoint_of_a_job_that_runs_is_left_alone() {
        let failure = asked(false, &[1, 2], 2).await.unwrap_err();
        assert!(failure.message.contains("still runs"), "{failure}");
    }

    #[tokio::test]
    async fn a_job_goes_on_from_a_checkpoint_of_its_own() {
        let asked = asked(false, &[1], 1).await.unwrap();
        assert_eq!(asked[..2], [Asked::Commit("a".to_owned()), Asked::Commit("c".to_owned())]);
    }
}
