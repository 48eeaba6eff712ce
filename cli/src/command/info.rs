//! `thalweg info`: plans a script and prints the plans, as `flink info` does; runs nothing.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use thalweg_graph::{explain, options};
use thalweg_plan::{Outcome, Session, Target};

use super::{
    address::{self, TokenArgs},
    warn,
};
use crate::{
    config::{self, ConfigArgs},
    connectors, job_id, output,
    remote::Rest,
    report,
    runner::StatementFailed,
};

/// Prints the plan of each job of a script as JSON, without running it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// Plan for the slots of the cluster whose JobManager is at HOST:PORT
    #[arg(short = 'm', long, value_name = "HOST:PORT")]
    jobmanager: Option<String>,

    #[command(flatten)]
    token: TokenArgs,

    /// Parallelism to plan for
    #[arg(short, long, value_name = "N")]
    parallelism: Option<u32>,

    /// The script
    script: PathBuf,
}

/// Runs the command.
pub async fn run(args: Args) -> Result<()> {
    let mut config = config::load(&args.config)?;
    args.token.put(&mut config.options);
    warn(&config.warnings);
    let script = fs::read_to_string(&args.script)
        .with_context(|| format!("cannot read the script `{}`", args.script.display()))?;
    let parallelism = match args.parallelism {
        Some(parallelism) => parallelism,
        None => config.options.get(&options::PARALLELISM_DEFAULT)?,
    };
    let max_slots = match &args.jobmanager {
        Some(given) => {
            address::take_scheme(given, &mut config.options)?;
            let address = address::jobmanager(Some(given), &config.options)?;
            Rest::new(&address, &config.options)?.slots().await?
        }
        None => parallelism,
    };
    let target = Target::Cluster { parallelism, max_slots: max_slots.max(1) };
    let mut session = Session::new(connectors::open(&config.options)?, config.options, target);
    if let Err(error) = print_plans(&mut session, &script).await {
        if output::is_closed_pipe(&error) {
            return Err(error);
        }
        eprintln!("{}", report::statement_error(&error, &script));
        return Err(StatementFailed.into());
    }
    Ok(())
}

async fn print_plans(session: &mut Session, script: &str) -> Result<()> {
    for statement in Session::parse(script)? {
        if let Outcome::Job(graph) = session.execute(&statement, job_id::random()).await? {
            writeln!(io::stdout(), "{:#}", explain::json(&graph))?;
        }
    }
    Ok(())
}
