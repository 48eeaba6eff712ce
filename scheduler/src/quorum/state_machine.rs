//! Between the log and the dispatcher, which holds the replicated state: what is committed goes there in order.

use std::{io::Cursor, path::Path, sync::Arc};

use openraft::{
    EntryPayload, RaftSnapshotBuilder, StorageIOError,
    storage::{RaftStateMachine, Snapshot as RaftSnapshot},
};
use thalweg_graph::Term;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{
    command::Command,
    snapshot::{self, Snapshot, SnapshotFile},
    state::State,
    types::{Decision, Entry, LogId, SnapshotMeta, StorageError, StoredMembership, TypeConfig},
};
use crate::{beside::beside, disk::Disk};

/// What is asked of whoever holds the replicated state.
#[derive(Debug)]
pub enum ToState {
    /// Apply these, each of its term.
    Apply(Vec<(Command, Term)>, oneshot::Sender<Vec<Decision>>),
    /// Say how it stands.
    Copy(oneshot::Sender<State>),
    /// Take another one.
    Replace(Box<State>, oneshot::Sender<()>),
}

/// Whoever holds the state is gone.
#[derive(Debug, thiserror::Error)]
#[error("the dispatcher has stopped")]
struct Gone;

#[derive(Debug, Default, Clone)]
struct Applied {
    last: Option<LogId>,
    membership: StoredMembership,
}

/// The state machine of one member.
#[derive(Clone)]
pub struct StateMachine {
    file: SnapshotFile,
    to_state: mpsc::Sender<ToState>,
    applied: Arc<Mutex<Applied>>,
}

impl StateMachine {
    /// Takes the state up where the newest snapshot in a folder leaves it.
    pub async fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        to_state: mpsc::Sender<ToState>,
    ) -> Result<Self, snapshot::Error> {
        let file = SnapshotFile::in_folder(disk, folder);
        let machine = Self { file, to_state, applied: Arc::default() };
        if let Some((Snapshot { meta, state }, _)) = machine.file.read()? {
            let applied = Applied { last: meta.last_log_id, membership: meta.last_membership };
            // A dispatcher that has stopped has no use for it.
            let _ = machine.replace(state).await;
            *machine.applied.lock().await = applied;
        }
        Ok(machine)
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> ToState) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.to_state.send(question(reply)).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    async fn replace(&self, state: State) -> Result<(), Gone> {
        self.ask(|reply| ToState::Replace(Box::new(state), reply)).await
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    async fn build_snapshot(&mut self) -> Result<RaftSnapshot<TypeConfig>, StorageError> {
        // Nothing may be applied between the two.
        let (applied, state) = {
            let applied = self.applied.lock().await;
            let state = self.ask(ToState::Copy).await;
            (applied.clone(), state.map_err(|gone| StorageIOError::read_state_machine(&gone))?)
        };
        let index = applied.last.map_or(0, |last| last.index);
        let meta = SnapshotMeta {
            last_log_id: applied.last,
            last_membership: applied.membership,
            snapshot_id: format!("{index}-{}", applied.last.map_or(0, |last| last.leader_id.term)),
        };
        let file = self.file.clone();
        let snapshot = Snapshot { meta: meta.clone(), state };
        let written = beside(move || {
            let bytes = file.encode(&snapshot)?;
            file.write(&bytes)?;
            Ok::<_, snapshot::Error>(bytes)
        });
        let bytes = written.await.map_err(|error| StorageIOError::write_snapshot(None, &error))?;
        let bytes = bytes.map_err(|error| StorageIOError::write_snapshot(Some(meta.signature()), &error))?;
        Ok(RaftSnapshot { meta, snapshot: Box::new(Cursor::new(bytes)) })
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let applied = self.applied.lock().await.clone();
        Ok((applied.last, applied.membership))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Decision>, StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut applied = self.applied.lock().await;
        let (mut commands, mut is_command) = (Vec::new(), Vec::new());
        let mut next = applied.clone();
        for entry in entries {
            next.last = Some(entry.log_id);
            let term = Term(entry.log_id.leader_id.term);
            is_command.push(matches!(entry.payload, EntryPayload::Normal(_)));
            match entry.payload {
                EntryPayload::Normal(command) => commands.push((command, term)),
                EntryPayload::Membership(membership) => {
                    next.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
                EntryPayload::Blank => {}
            }
        }
        let mut decisions = match commands.is_empty() {
            true => Vec::new(),
            false => {
                let applied = self.ask(|reply| ToState::Apply(commands, reply)).await;
                applied.map_err(|gone| StorageIOError::write_state_machine(&gone))?
            }
        }
        .into_iter();
        *applied = next;
        Ok(is_command
            .into_iter()
            .map(|is| if is { decisions.next().unwrap_or(Ok(())) } else { Ok(()) })
            .collect())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let signature = Some(meta.signature());
        let broken = |error: snapshot::Error| StorageIOError::write_snapshot(signature.clone(), &error);
        let bytes = snapshot.into_inner();
        let decoded = self.file.decode(&bytes).map_err(broken)?;
        self.file.write(&bytes).map_err(broken)?;
        let mut applied = self.applied.lock().await;
        let replaced = self.replace(decoded.state).await;
        replaced.map_err(|gone| StorageIOError::write_state_machine(&gone))?;
        *applied = Applied { last: meta.last_log_id, membership: meta.last_membership.clone() };
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot<TypeConfig>>, StorageError> {
        let read = self.file.read().map_err(|error| StorageIOError::read_snapshot(None, &error))?;
        Ok(read.map(|(snapshot, bytes)| RaftSnapshot {
            meta: snapshot.meta,
            snapshot: Box::new(Cursor::new(bytes)),
        }))
    }
}
