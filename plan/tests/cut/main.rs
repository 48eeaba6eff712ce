//! Plans, cut and run without a network: the answers must be those of the plan that was not cut.

// A test's helper that cannot go on fails the test.
#![allow(clippy::unwrap_used)]

mod driver;
mod fixture;
mod graphs;
mod operators;
mod tpch;
