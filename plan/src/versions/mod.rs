//! Tables as they were at a time: the logical node of `FOR SYSTEM_TIME AS OF` in a join, and what it means for tables that end.
//!
//! The node stands on the right side of an ordinary join, so that all rules for joins hold. In event time the join's condition
//! says besides which time is looked up ([`at`]).

mod condition;
mod lower;
mod node;

pub use condition::{at, times_of};
pub use lower::lower;
pub use node::{AsOf, AsOfTime, Dimension};
