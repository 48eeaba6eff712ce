//! The `thalweg` binary.

use std::process::ExitCode;

use clap::Parser as _;
use thalweg::large_buffers::LargeBuffers;

#[global_allocator]
static ALLOCATOR: LargeBuffers = LargeBuffers;

fn main() -> ExitCode {
    thalweg::memory::keep_freed_buffers();
    thalweg::command::Cli::parse().run()
}
