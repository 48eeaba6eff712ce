//! Aggregation by windows: rows or states into panes, complete windows out.
//!
//! `kernel` knows keys and aggregates, `table` holds those of one pane, `pane` is a table with the states drained from it before;
//! [`WindowAggregate`] decides by the watermark which windows go out, and [`LocalWindowAggregate`] which panes are sent to where
//! windows are put together.

mod global;
mod kernel;
mod local;
mod pane;
mod table;
#[cfg(test)]
mod tests;

pub use global::WindowAggregate;
pub use kernel::{Input, Kernel};
pub use local::LocalWindowAggregate;
