//! Every test that needs more than one crate, in one binary: it is linked once, and its tests share one HDFS and one cluster.

// A client's future within a script's within a test's is too deep for the compiler's usual limit, depending on what it looks at first.
#![recursion_limit = "256"]
// A test's helper that cannot go on fails the test.
#![allow(clippy::unwrap_used)]

mod expect;
mod place;

mod bad_input;
mod exactly_once;
mod garbage;
mod hdfs;
mod kafka;
mod kill;
mod late_rows;
mod layout;
mod live;
mod memory;
mod metrics;
mod nexmark;
mod partitions;
mod quorum;
mod rest;
mod savepoints;
mod sql;
mod stream_kill;
mod tls;
mod tpch;
mod watched_folder;
