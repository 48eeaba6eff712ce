//! The `thalweg` binary.

use std::process::ExitCode;

use clap::Parser as _;

/// Batches are allocated on one thread and freed on another all the time, which mimalloc is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    thalweg::command::Cli::parse().run()
}
