//! Log, snapshot and state machine against the suite that the Raft library brings for them, and against damage.

use std::{path::Path, sync::Arc};

use openraft::{
    RaftLogReader as _,
    storage::{RaftLogStorage as _, RaftLogStorageExt as _},
    testing::{StoreBuilder, Suite, blank_ent},
};
use redb::{Database, DatabaseError, ReadableDatabase as _};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{
    log_store::{LOG, LogStore},
    state::State,
    state_machine::{StateMachine, ToState},
    types::{LogId, StorageError, TypeConfig, Vote},
};
use crate::disk::Files;

/// Holds a replicated state, as the dispatcher does.
async fn hold(mut questions: mpsc::Receiver<ToState>) {
    let mut state = State::default();
    while let Some(question) = questions.recv().await {
        match question {
            ToState::Apply(commands, reply) => {
                let decisions =
                    commands.into_iter().map(|(command, term)| state.apply(command, term).map(|_| ()));
                let _ = reply.send(decisions.collect());
            }
            ToState::Copy(reply) => drop(reply.send(state.clone())),
            ToState::Replace(new, reply) => {
                state = *new;
                let _ = reply.send(());
            }
        }
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let folder = tempfile::tempdir().unwrap();
        let (to_state, questions) = mpsc::channel(1);
        tokio::spawn(hold(questions));
        let log = LogStore::open(&Files, folder.path()).unwrap();
        let machine = StateMachine::open(Arc::new(Files), folder.path(), to_state).await.unwrap();
        Ok((folder, log, machine))
    }
}

#[test]
fn the_storage_is_what_the_raft_library_expects() {
    Suite::test_all(Builder).unwrap();
}

fn id(term: u64, index: u64) -> LogId {
    openraft::testing::log_id(term, 1, index)
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_the_process_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(&Files, folder.path()).unwrap();
    log.save_vote(&Vote::new(3, 1)).await.unwrap();
    log.blocking_append((1..=200).map(|index| blank_ent::<TypeConfig>(3, 1, index))).await.unwrap();
    log.truncate(id(3, 151)).await.unwrap();
    log.purge(id(3, 50)).await.unwrap();
    // What a killed process leaves is what was written: the file as it is, while the log is still open.
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(folder.path().join("log.redb"), copy.path().join("log.redb")).unwrap();
    let mut again = LogStore::open(&Files, copy.path()).unwrap();
    assert_eq!(again.read_vote().await.unwrap(), Some(Vote::new(3, 1)));
    let state = again.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(3, 50)), Some(id(3, 150))));
    let entries = again.try_get_log_entries(..).await.unwrap();
    assert_eq!(
        entries.iter().map(|entry| entry.log_id).collect::<Vec<_>>(),
        (51..=150).map(|i| id(3, i)).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_member_that_led_keeps_its_vote_and_leads_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(&Files, folder.path()).unwrap();
    log.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
    assert!(!log.stand_down(2).unwrap(), "another led");
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(3, 1)));
    assert!(log.stand_down(1).unwrap());
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(3, 1)));
    assert!(!log.stand_down(1).unwrap());
}

/// The file of a log that is being closed, once it is.
async fn closed(file: &Path) -> Database {
    loop {
        match Database::open(file) {
            Err(DatabaseError::DatabaseAlreadyOpen) => tokio::task::yield_now().await,
            opened => return opened.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_damaged_entry_is_told_and_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(&Files, folder.path()).unwrap();
    log.blocking_append((1..=3).map(|index| blank_ent::<TypeConfig>(1, 1, index))).await.unwrap();
    drop(log);
    let database = closed(&folder.path().join("log.redb")).await;
    let mut bytes = {
        let read = database.begin_read().unwrap();
        read.open_table(LOG).unwrap().get(2).unwrap().unwrap().value().to_vec()
    };
    *bytes.last_mut().unwrap() ^= 0x10;
    let write = database.begin_write().unwrap();
    write.open_table(LOG).unwrap().insert(2, bytes.as_slice()).unwrap();
    write.commit().unwrap();
    drop(database);
    let error = LogStore::open(&Files, folder.path())
        .unwrap()
        .try_get_log_entries(1..4)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("entry 2") && error.contains("checksum"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("log.redb"), b"not a log").unwrap();
    let error = LogStore::open(&Files, folder.path()).err().unwrap().to_string();
    assert!(error.contains("log.redb"), "{error}");
    std::fs::write(folder.path().join("snapshot"), b"not a snapshot").unwrap();
    let error = StateMachine::open(Arc::new(Files), folder.path(), mpsc::channel(1).0)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("/snapshot`"), "{error}");
}
