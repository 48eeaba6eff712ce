//! Writing `filesystem` tables in two phases. Each attempt writes files into its own folder below
//! `<table>/.staging-<job>/`, which no reader sees; the committer lists all that is to be moved in a manifest, which is the
//! decision, and then moves it, again and again after a crash, until nothing is left to do.

pub mod committable;
pub mod staging;
mod manifest;
pub mod target;
mod output;
mod part;
mod merge;
mod rolling;
mod partition_commits;
mod marks;
pub mod writer;
pub mod commit;
