//! The benchmarks: what each measures and how it prints. `integration/src/bin/bench.rs` is their command line.

pub mod usage;
pub mod report;
pub mod engine;
pub mod tpch;
pub mod cluster;
pub mod latency;
pub mod window_latency;
pub mod stream_job;
pub mod backpressure;
pub mod recovery;
pub mod startup;
pub mod state;
pub mod scheduling;
pub mod scale;
pub mod submissions;
pub mod nexmark;
