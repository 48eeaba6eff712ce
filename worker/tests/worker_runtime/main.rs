//! Real workers driven by a hand-made leader: plans made by DataFusion in, rows and reports out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod leader;
mod plans;

mod exchange;
mod failures;
mod link;
mod memory;
mod results;
mod sinks;
