//! `thalweg sql`: the interactive shell, or a script from a file, an argument or a pipe.

use std::{
    fs,
    io::{self, IsTerminal as _, Read as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;

use super::{
    address::{self, TokenArgs},
    warn,
};
use crate::{
    client::Client,
    config::{self, ConfigArgs},
    output::Format,
    runner::{Next, Runner},
    shell,
};

/// Runs SQL: interactively, or from -f, -e or a pipe; in this process, or on a cluster with -m
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// Script to run; `-` is the standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "execute")]
    file: Option<PathBuf>,

    /// Statements to run
    #[arg(short, long, value_name = "SQL")]
    execute: Option<String>,

    /// Script to run before anything else: tables, views, options
    #[arg(short, long, value_name = "FILE")]
    init: Option<PathBuf>,

    /// How rows are printed
    #[arg(long, short = 'o', value_enum, default_value = "table", value_name = "FORMAT")]
    output: Format,

    /// Run jobs on the cluster whose JobManager is at HOST:PORT
    #[arg(short = 'm', long, value_name = "HOST:PORT")]
    jobmanager: Option<String>,

    #[command(flatten)]
    token: TokenArgs,

    /// Where the shell keeps its history
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

/// Runs the command.
pub fn run(runtime: &Runtime, args: Args) -> Result<()> {
    let mut config = config::load(&args.config)?;
    args.token.put(&mut config.options);
    warn(&config.warnings);
    let init = args.init.as_deref().map(|path| read(&path.to_string_lossy())).transpose()?;
    let script = match (&args.file, &args.execute) {
        (Some(path), _) => Some(read(&path.to_string_lossy())?),
        (None, Some(text)) => Some(text.clone()),
        (None, None) if !io::stdin().is_terminal() => Some(read("-")?),
        (None, None) => None,
    };
    let mut runner = runtime.block_on(async {
        let client = match &args.jobmanager {
            Some(given) => {
                address::take_scheme(given, &mut config.options)?;
                let address = address::jobmanager(Some(given), &config.options)?;
                Client::remote(&address, config.options).await?
            }
            None => Client::embedded(config.options).await?,
        };
        anyhow::Ok(Runner::new(client, args.output, script.is_none())?)
    })?;
    if let Some(init) = init
        && runtime.block_on(runner.run_script(&init))? == Next::Quit
    {
        return runtime.block_on(runner.finish());
    }
    match script {
        Some(script) => runtime.block_on(async {
            runner.run_script(&script).await?;
            runner.finish().await
        }),
        None => shell::run(runtime, &mut runner, args.history),
    }
}

fn read(path: &str) -> Result<String> {
    if path != "-" {
        return fs::read_to_string(path).with_context(|| format!("cannot read the script `{path}`"));
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).context("cannot read a script from the standard input")?;
    Ok(text)
}
