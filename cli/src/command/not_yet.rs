//! Flink's commands that need streaming jobs: known, and refused in one sentence.

use std::ffi::OsString;

use anyhow::{Result, bail};
use clap::Subcommand;

/// Commands that are known and do nothing yet.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Stops a streaming job with a savepoint (not supported yet)
    #[command(disable_help_flag = true)]
    Stop(Anything),
    /// Makes a savepoint of a streaming job (not supported yet)
    #[command(disable_help_flag = true)]
    Savepoint(Anything),
    /// Makes a checkpoint of a streaming job (not supported yet)
    #[command(disable_help_flag = true)]
    Checkpoint(Anything),
}

/// Any arguments.
#[derive(Debug, clap::Args)]
pub struct Anything {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _arguments: Vec<OsString>,
}

impl Command {
    /// Says what to use instead.
    pub fn refuse(&self) -> Result<()> {
        let (verb, instead) = match self {
            Command::Stop(_) => {
                ("stop", "a batch job keeps nothing to stop with; use `thalweg cancel <job>`")
            }
            Command::Savepoint(_) => ("savepoint", "a batch job has no state to keep; run its script again"),
            Command::Checkpoint(_) => {
                ("checkpoint", "a batch job recovers by running its failed parts again")
            }
        };
        bail!("`{verb}` is not supported yet: {instead}")
    }
}
