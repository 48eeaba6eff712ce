//! The `thalweg` binary.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    thalweg::command::Cli::parse().run()
}
