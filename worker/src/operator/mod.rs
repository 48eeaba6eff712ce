//! The operators of streams: each takes rows and watermarks in order and hands on what follows from them.
//!
//! An operator computes and does not wait: rows come from and go to the task, which does ([`crate::task`]). [`mod@build`] makes a
//! vertex's operators and [`chain`] links them; one file or folder for each of the others.

pub mod link;
#[cfg(test)]
mod testing;
pub mod calc;
pub mod expand;
pub mod watermarks;
pub mod times;
pub mod assign_windows;
pub mod clock_time;
pub mod progress;
pub mod window_aggregate;
pub mod held_rows;
pub mod session;
pub mod over;
pub mod sub_plan;
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
pub mod chain;
pub mod build;

pub use chain::Chain;
pub use link::Element;
