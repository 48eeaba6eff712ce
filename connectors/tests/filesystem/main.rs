//! The connectors as planning and tasks use them, on real files of this machine: what is written is read, and each kind of
//! bad input gives one clear error.

// A test's helper that cannot go on fails the test.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod commit;
mod compression;
mod harness;
mod metadata;
mod overwrite;
mod read;
mod rolling;
mod watched;
mod write;
