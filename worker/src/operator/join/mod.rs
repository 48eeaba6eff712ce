//! Joins of all rows of two streams.
//!
//! Both sides are kept (`side`), their keys numbered by one table. Rows that come are paired with those of the other side that have
//! the same key; weights are multiplied. Where rows without a partner matter (outer, semi and anti joins), rows that come
//! may also give partners to rows of the other side, or take the last one away (`operator`). Where not all rows fit into memory,
//! those of keys that were not asked for lately are on the disk (`residence`).

mod cold_side;
mod side;
mod operator;
mod residence;
#[cfg(test)]
mod tests;

pub use operator::{Join, JoinPlan};
