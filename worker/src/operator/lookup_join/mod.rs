//! Joins rows with what a table holds when they come.
//!
//! The rows of the table are loaded beside the task, which hands each new [`table::LookupTable`] over; nothing waits in here.

pub mod table;
mod operator;
#[cfg(test)]
mod tests;

pub use operator::{LookupJoin, LookupPlan};
