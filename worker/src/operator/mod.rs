//! The operators of streams: each takes rows and watermarks in order and hands on what follows from them.
//!
//! An operator computes and does not wait: rows come from and go to the task, which does ([`crate::task`]). [`mod@build`] makes a
//! vertex's operators and [`chain`] links them; one file or folder for each of the others.

pub mod link;
#[cfg(test)]
mod testing;
pub mod predicate;
pub mod keys;
pub mod calc;
pub mod expand;
pub mod watermarks;
pub mod times;
pub mod late_rows;
pub mod assign_windows;
pub mod clock_time;
pub mod progress;
pub mod window_aggregate;
pub mod held_rows;
pub mod session;
pub mod over;
pub mod sub_plan;
pub mod unnest;
pub mod within_windows;
#[cfg(test)]
mod within_windows_tests;
pub mod two_sides;
pub mod window_join;
pub mod interval_join;
#[cfg(test)]
mod window_join_tests;
#[cfg(test)]
mod interval_join_tests;
pub mod changelog;
pub mod marks;
pub mod row_store;
pub mod integer_keys;
pub mod key_table;
pub mod state_log;
pub mod expiry;
pub mod hot_keys;
pub mod cold_rows;
pub mod sort_order;
#[cfg(test)]
mod zset;
pub mod lookup_join;
pub mod temporal_join;
pub mod changelog_normalize;
pub mod over_partitions;
pub mod group_aggregate;
pub mod join;
pub mod top_n;
pub mod final_result;
pub mod chain;
pub mod build;

pub use chain::Chain;
pub use link::Element;
