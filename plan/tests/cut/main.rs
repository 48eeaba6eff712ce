//! Plans, cut and run without a network: the answers must be those of the plan that was not cut.

mod driver;
mod fixture;
mod graphs;
mod operators;
mod tpch;
