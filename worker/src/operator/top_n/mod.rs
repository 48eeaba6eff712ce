//! The first rows in an order, of each partition: `ROW_NUMBER() <= n`, deduplication, `LIMIT`.
//!
//! Of rows that are only added no more are kept than can come out; of rows that are taken back too, all are, since any may move up.
//! Where not all fit into memory, those of partitions that were not asked for lately are on the disk (`cold`, `residence`).

mod rows;
mod cold;
mod operator;
mod residence;
#[cfg(test)]
mod tests;

pub use operator::{TopN, TopNPlan};
