//! Sinks and the storage of checkpoints as one JobManager reaches them: they answer late, sometimes they refuse, and sometimes they do what
//! they were asked and the answer is lost.

use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{Rng as _, rngs::StdRng};
use thalweg_graph::{
    Failure, FailureKind, JobId,
    checkpoint::Manifest,
    table::{Committable, SinkDescriptor},
};
use thalweg_scheduler::{CheckpointStorage, Committer};

use crate::{event::Event, rows::Rows, world::World};

/// How one call goes.
enum Fate {
    Done,
    Refused,
    AnswerLost,
}

/// What one process of a JobManager sees of them.
pub struct Storage {
    world: World,
    member: u64,
    random: Mutex<StdRng>,
}

impl Storage {
    /// As one process sees them.
    pub fn new(world: World, member: u64, incarnation: u32) -> Self {
        let random = Mutex::new(world.generator(&format!("storage of jm-{member}.{incarnation}")));
        Self { world, member, random }
    }

    async fn fate(&self) -> Fate {
        let (wait, fate) = {
            let random = &mut *self.random.lock();
            let wait = if random.random_bool(0.1) {
                random.random_range(50..400)
            } else {
                random.random_range(1..20)
            };
            let fate = match random.random_range(0..100) {
                _ if self.world.is_healed() => Fate::Done,
                0..5 => Fate::Refused,
                5..10 => Fate::AnswerLost,
                _ => Fate::Done,
            };
            (wait, fate)
        };
        tokio::time::sleep(Duration::from_millis(wait)).await;
        fate
    }

    /// Does something as its fate has it.
    async fn call<T>(&self, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        match self.fate().await {
            Fate::Refused => Err(Failure::new(FailureKind::Io, "the simulated storage refused")),
            Fate::AnswerLost => {
                work()?;
                Err(Failure::new(FailureKind::Io, "the answer of the simulated storage was lost"))
            }
            Fate::Done => work(),
        }
    }

    async fn make_visible(&self, job: JobId, committables: &[Committable]) -> Result<(), Failure> {
        let rows = committables.iter().filter_map(Rows::of).collect();
        let member = self.member;
        self.call(|| {
            self.world.tell(Event::Committed { member, job, rows });
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Committer for Storage {
    async fn commit(&self, job: JobId, _: &SinkDescriptor, staged: &[Committable]) -> Result<(), Failure> {
        self.make_visible(job, staged).await
    }

    async fn commit_checkpoint(
        &self,
        job: JobId,
        _: &SinkDescriptor,
        prepared: &[Committable],
    ) -> Result<(), Failure> {
        self.make_visible(job, prepared).await
    }

    async fn abort(&self, job: JobId, _: &SinkDescriptor) -> Result<(), Failure> {
        let member = self.member;
        self.call(|| {
            self.world.tell(Event::Withdrawn { member, job });
            Ok(())
        })
        .await
    }
}

/// The same manifest has the same number: when it was begun does not count.
fn fingerprint(manifest: &Manifest) -> u64 {
    let content = serde_json::to_vec(&(&manifest.subtasks, &manifest.sinks, manifest.savepoint));
    content.unwrap_or_default().iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[async_trait]
impl CheckpointStorage for Storage {
    fn check(&self, _url: &str) -> Result<(), Failure> {
        Ok(())
    }

    async fn write(&self, url: &str, manifest: &Manifest) -> Result<(), Failure> {
        let (member, job, checkpoint) = (self.member, manifest.job, manifest.checkpoint);
        self.call(|| {
            self.world.tell(Event::Stored { member, job, checkpoint, manifest: fingerprint(manifest) });
            self.world.manifests(|kept| drop(kept.insert(url.to_owned(), manifest.clone())));
            Ok(())
        })
        .await
    }

    async fn read(&self, url: &str) -> Result<Manifest, Failure> {
        self.call(|| {
            let found = self.world.manifests(|kept| kept.get(url).cloned());
            found.ok_or_else(|| Failure::new(FailureKind::Io, format!("there is no `{url}`")))
        })
        .await
    }

    async fn remove(&self, manifest: &str, _: &[String]) -> Result<(), Failure> {
        self.call(|| {
            self.world.manifests(|kept| drop(kept.remove(manifest)));
            Ok(())
        })
        .await
    }

    async fn dispose(&self, url: &str) -> Result<(), Failure> {
        self.call(|| {
            let file = format!("{}/_metadata", url.trim_end_matches('/'));
            self.world.manifests(|kept| drop(kept.remove(&file)));
            Ok(())
        })
        .await
    }

    async fn remove_folder(&self, folder: &str) -> Result<(), Failure> {
        self.call(|| {
            self.world.manifests(|kept| kept.retain(|url, _| !url.starts_with(folder)));
            Ok(())
        })
        .await
    }
}
