//! What the Raft library is told of this quorum.

use std::io::Cursor;

use openraft::BasicNode;

use super::{command::Command, runtime::Runtime, state::Refusal};

/// What the state machine answers to an entry of the log.
pub type Decision = Result<(), Refusal>;

openraft::declare_raft_types!(
    /// The types of the quorum.
    pub TypeConfig:
        D = Command,
        R = Decision,
        NodeId = u64,
        Node = BasicNode,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = Runtime,
);

pub(super) type Entry = openraft::Entry<TypeConfig>;
pub(super) type LogId = openraft::LogId<u64>;
pub(super) type Vote = openraft::Vote<u64>;
pub(super) type StorageError = openraft::StorageError<u64>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<u64, BasicNode>;
pub(super) type StoredMembership = openraft::StoredMembership<u64, BasicNode>;
