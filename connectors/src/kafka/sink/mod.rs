//! Rows to records of a topic. With `sink.delivery-guarantee` = `exactly-once` they are written in transactions: one for what lies
//! between two checkpoints, ended by whoever leads the job once the checkpoint is complete.
//!
//! A transaction is known by its transactional id and by producer id and epoch, which are in the committable: any process can
//! commit it. Ids belong to one attempt (`ids`): one that is cut off, or has stood still, ends no transaction of its successor. That one
//! aborts what was left open when it begins, and whoever commits aborts what was left open later.

mod committable;
mod ids;
mod records;
mod deliveries;
mod plain;
mod transactions;
mod transactional;
mod commit;
mod open_transactions;
mod target;

pub use self::{
    commit::{abort, commit},
    open_transactions::{OpenTransaction, Operator},
    target::{open, validate},
};
