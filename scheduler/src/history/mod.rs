//! Jobs that have ended, in files of the storage that the operator names: they can be looked at when the JobManager that ran them has forgotten
//! them, or is gone with the whole cluster.
//!
//! Many jobs share a file (`segment`), small files are merged, and the oldest go when there are too many (`catalogue`); `store` writes
//! beside the dispatcher, and reads. The leader writes. Two that both believe to lead do no harm: no file is changed, each has a name of its
//! own, and a job that is in two files is shown once.

mod catalogue;
mod segment;
mod storage;
mod store;
#[cfg(test)]
pub(crate) mod testing;

pub use storage::HistoryStorage;
pub use store::History;
