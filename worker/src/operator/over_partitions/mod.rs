//! Functions over whole partitions of rows in any order: those in which rows come or go are computed again.
//!
//! Where all that is computed looks at the rows before a row in the order of event time, a row waits until that has passed it and comes
//! out once ([`SettledOver`]). Else rows come out at once and are changed ([`OverPartitions`]): what is kept are the rows as they were put out, with what was computed for them: they are taken back as they are, so that rows
//! whose order is open may be in another one the next time.

mod partitions;
mod operator;
mod settled;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod settled_tests;

pub use operator::{OverPartitions, Shape};
pub use settled::{SettledOver, SettledShape};
