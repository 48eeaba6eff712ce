//! The `thalweg` binary.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    thalweg::memory::keep_freed_buffers();
    thalweg::command::Cli::parse().run()
}
