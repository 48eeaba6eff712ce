//! Aggregation without windows: a result for each key, put out again whenever it changes.
//!
//! Each batch of input gives one batch of changes: of each key whose result is another than before, the old one is taken back and the
//! new one added. `values` is what an aggregate keeps of all groups; a file for each kind. `entries` counts single values for
//! those that need them: `DISTINCT`, and the least and greatest of rows that may be taken back. `cold` is where groups are that are not in
//! memory, `cold_entries` where their values are; `residence` decides which those are. `local` is the first of two phases, where there are
//! two: what it puts out, `operator` takes in the place of rows.

mod values;
mod count;
mod sum;
mod extreme;
mod cold_entries;
mod entries;
mod distinct;
mod ordered;
mod by_group;
mod choice;
mod cold;
mod local;
mod operator;
mod residence;
#[cfg(test)]
mod tests;

pub use local::LocalGroupAggregate;
pub use operator::{Arriving, GroupAggregate};
