//! The command line: one module for each command. Verbs, flags and wording are Flink's where Flink has them.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use thalweg_scheduler::LogRing;
use tokio::runtime::{Builder, Runtime};

use crate::{
    logging::{self, LogArgs},
    output,
    runner::{Interrupted, StatementFailed},
};

mod address;
mod cancel;
mod info;
mod jobmanager;
mod list;
mod quorum;
mod rescale;
mod run;
mod savepoint;
mod sql;
mod token;
mod transactions;
mod worker;

/// SQL on batch and stream data: the shell, the cluster's processes, and what submits and watches jobs.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Sql(sql::Args),
    Run(run::Args),
    List(list::Args),
    Info(info::Args),
    Cancel(cancel::Args),
    Jobmanager(jobmanager::Args),
    Quorum(quorum::Args),
    Token(token::Args),
    #[command(alias = "taskmanager")]
    Worker(worker::Args),
    Stop(savepoint::StopArgs),
    Savepoint(savepoint::SavepointArgs),
    Checkpoint(savepoint::CheckpointArgs),
    Rescale(rescale::Args),
    Transactions(transactions::Args),
}

impl Cli {
    /// Runs the command that was asked for; its exit code is 0 only if all went well.
    pub fn run(self) -> ExitCode {
        match self.dispatch() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) if output::is_closed_pipe(&error) => ExitCode::from(SIGPIPE_CODE),
            Err(error) if error.is::<Interrupted>() => ExitCode::from(SIGINT_CODE),
            // Said on stderr already.
            Err(error) if error.is::<StatementFailed>() => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn dispatch(self) -> Result<()> {
        let is_server = matches!(self.command, Command::Jobmanager(_) | Command::Worker(_));
        // What goes wrong for a user is said in the command's own words.
        let log = LogRing::default();
        let ring = matches!(self.command, Command::Jobmanager(_)).then(|| log.clone());
        logging::init(&self.log, if is_server { SERVER_LOG } else { "error" }, ring)?;
        let runtime = runtime()?;
        match self.command {
            Command::Sql(args) => sql::run(&runtime, args),
            Command::Run(args) => runtime.block_on(run::run(args)),
            Command::List(args) => runtime.block_on(list::run(args)),
            Command::Info(args) => runtime.block_on(info::run(args)),
            Command::Cancel(args) => runtime.block_on(cancel::run(args)),
            Command::Jobmanager(args) => runtime.block_on(jobmanager::run(args, log)),
            Command::Token(args) => runtime.block_on(token::run(args)),
            Command::Quorum(args) => runtime.block_on(quorum::run(args)),
            Command::Worker(args) => runtime.block_on(worker::run(args)),
            Command::Stop(args) => runtime.block_on(savepoint::stop(args)),
            Command::Savepoint(args) => runtime.block_on(savepoint::savepoint(args)),
            Command::Transactions(args) => runtime.block_on(transactions::run(args)),
            Command::Rescale(args) => runtime.block_on(rescale::run(args)),
            Command::Checkpoint(args) => runtime.block_on(savepoint::checkpoint(args)),
        }
    }
}

/// What a server logs where nothing is said: what it does itself. The Raft library tells each of its steps at this level.
const SERVER_LOG: &str = "info,openraft=warn";

/// What a shell reports for a program that a signal ended: 128 and the signal's number.
const SIGINT_CODE: u8 = 130;
const SIGPIPE_CODE: u8 = 141;

/// The runtime of all waiting: RPC, files, timers. Rows are computed on the worker's own threads.
fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).thread_name("thalweg-io").enable_all().build()?)
}

/// Prints what is worth a warning in the configuration.
fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| eprintln!("[WARNING] {warning}"));
}
