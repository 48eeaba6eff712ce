//! From logical plans to a job graph.
