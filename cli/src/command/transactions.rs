//! `thalweg transactions`: the open transactions of Kafka sinks, for those that no job will end any more.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use anyhow::{Context as _, Result, bail};
use chrono::DateTime;
use clap::Subcommand;
use thalweg_connectors::{Error, checkpoint_storage, commit, kafka::sink::Operator};

use crate::{
    config::{self, ConfigArgs},
    connectors,
};

/// Lists, commits or aborts what jobs have written to Kafka exactly once and not made visible
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists open transactions: readers of committed records wait behind them
    List {
        #[command(flatten)]
        kafka: KafkaArgs,
        /// Only those of sinks with this `sink.transactional-id-prefix`
        #[arg(long)]
        prefix: Option<String>,
    },
    /// Makes visible what a checkpoint or savepoint has prepared, of all its sinks, for a job that will not go on from it
    Commit {
        #[command(flatten)]
        config: ConfigArgs,
        /// The checkpoint's folder, as a URL
        checkpoint: String,
        /// Passwords and the like, which checkpoints do not keep, as a table has them: `properties.sasl.password=...`
        #[arg(short = 'P', long = "property", value_name = "NAME=VALUE")]
        properties: Vec<String>,
    },
    /// Aborts open transactions: their rows are never seen, and a job that still writes them fails
    Abort {
        #[command(flatten)]
        kafka: KafkaArgs,
        /// Those of sinks with this `sink.transactional-id-prefix`
        #[arg(long)]
        prefix: String,
    },
}

#[derive(Debug, clap::Args)]
struct KafkaArgs {
    /// The brokers, as a table has them in `properties.bootstrap.servers`
    #[arg(long, value_name = "HOST:PORT,...")]
    servers: String,
    /// How to reach them, as a table has it: `properties.security.protocol=SASL_SSL`
    #[arg(short = 'P', long = "property", value_name = "NAME=VALUE")]
    properties: Vec<String>,
}

impl KafkaArgs {
    async fn connect(&self) -> Result<Operator> {
        Operator::connect(&self.servers, &properties(&self.properties)?).await.map_err(chained)
    }
}

/// Runs the command.
pub async fn run(args: Args) -> Result<()> {
    match args.action {
        Action::List { kafka, prefix } => list(&kafka, prefix.as_deref()).await,
        Action::Commit { config, checkpoint, properties } => commit(&config, &checkpoint, &properties).await,
        Action::Abort { kafka, prefix } => abort(&kafka, &prefix).await,
    }
}

async fn list(kafka: &KafkaArgs, prefix: Option<&str>) -> Result<()> {
    let open = kafka.connect().await?.open_transactions(prefix).await.map_err(chained)?;
    let mut out = io::stdout().lock();
    for transaction in &open {
        let begun = transaction.begun_ms.and_then(DateTime::from_timestamp_millis);
        let begun = begun.map_or("unknown".to_owned(), |begun| begun.to_rfc3339());
        writeln!(
            out,
            "{} ({}), begun {begun}, aborted after {} s, in {}",
            transaction.id,
            transaction.state,
            transaction.timeout_ms / 1_000,
            transaction.partitions.join(", ")
        )?;
    }
    Ok(writeln!(out, "Open transactions: {}.", open.len())?)
}

async fn commit(config: &ConfigArgs, checkpoint: &str, given: &[String]) -> Result<()> {
    let options = config::load(config)?.options;
    let connectors = connectors::open(&options)?;
    let manifest = checkpoint_storage::read(connectors.file_systems(), checkpoint).await.map_err(chained)?;
    let secrets = properties(given)?;
    let mut out = io::stdout().lock();
    for mut output in manifest.sinks {
        output.sink.table.options.extend(secrets.clone());
        let done = commit::commit_checkpoint(&connectors, &output.sink, &output.committables).await;
        let done = done.map_err(chained).with_context(|| format!("table {}", output.sink.table.path))?;
        writeln!(out, "{}: {} rows are visible.", output.sink.table.path, done.rows)?;
    }
    Ok(())
}

async fn abort(kafka: &KafkaArgs, prefix: &str) -> Result<()> {
    let aborted = kafka.connect().await?.abort(prefix).await.map_err(chained)?;
    let mut out = io::stdout().lock();
    aborted.iter().try_for_each(|id| writeln!(out, "{id}"))?;
    Ok(writeln!(out, "Aborted transactions: {}.", aborted.len())?)
}

fn properties(given: &[String]) -> Result<BTreeMap<String, String>> {
    let mut properties = BTreeMap::new();
    for property in given {
        match property.split_once('=') {
            Some((name, value)) if name.starts_with("properties.") => {
                properties.insert(name.to_owned(), value.to_owned());
            }
            _ => bail!("`{property}`: expected `properties.name=value`"),
        }
    }
    Ok(properties)
}

fn chained(error: Error) -> anyhow::Error {
    anyhow::anyhow!(error.chain())
}
