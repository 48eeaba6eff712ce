//! One attempt of one subtask: its fragment is decoded, its partitions are driven to their ends, its rows go to other tasks, into
//! a sink or to the client, and how it ended is told once.

pub mod ended;
pub mod panic;
pub mod metrics;
pub mod fragment;
pub mod result_output;
pub mod explained;
pub mod stream_output;
pub mod input;
pub mod checkpointing;
pub mod lookups;
pub mod streaming;
pub mod build_streaming;
pub mod stream;
pub mod attempt;
