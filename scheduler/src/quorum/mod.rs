//! What must outlive the leader, and how several JobManagers keep it: jobs with their graphs and wished state, decided commits and ends,
//! the newest complete checkpoints, scripts and their idempotency keys, the workers that a later leader waits for.
//!
//! `state` is the replicated state, `command` what changes it; both are pure. A `member` keeps the log of commands (`log_store`, `snapshot`,
//! in the words of `encoding`) and agrees with the others on it by Raft (Ongaro and Ousterhout, In search of an understandable consensus
//! algorithm, 2014) through `openraft`; `election` says when a member stands for it; `state_machine` brings what is committed to the dispatcher, which holds the state, and `proposer`
//! brings what the dispatcher wants decided. What can be asked of workers again is not here but in the job masters' memory.

mod command;
mod state;
mod runtime;
mod types;
pub mod encoding;
pub mod log_store;
pub mod snapshot;
mod state_machine;
pub mod network;
mod proposer;
mod election;
pub mod member;
#[cfg(test)]
mod old_log_tests;
#[cfg(test)]
mod storage_tests;

pub use self::{
    command::{Command, MemberId, PlannedLater, ScriptRecord},
    member::{Leadership, LogLimits, MemberAddress, MemberConfig, MemberStatus, QuorumMember, QuorumStatus},
    proposer::{Decided, Proposals, Proposer, Quorum, Undecided},
    state::{AcceptedScript, Effect, JobRecord, KeyRecord, Refusal, State},
    state_machine::ToState,
};
