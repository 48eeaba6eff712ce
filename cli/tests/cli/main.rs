//! The binary as a user meets it: exit codes, what goes to stdout and stderr, and a cluster of real processes on loopback ports.

// A test's helper that cannot go on fails the test.
#![allow(clippy::unwrap_used)]

mod cluster;
mod configuration_page;
mod shell;
mod sql;
mod terminal;
mod thalweg;
