//! `thalweg token`: who may come in from other hosts.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use anyhow::{Context as _, Result};
use chrono::DateTime;
use serde::Deserialize;
use serde_json::json;
use thalweg_graph::options::Value as _;
use thalweg_scheduler::Role;

use super::address::ClusterArgs;
use crate::remote::Operator;

/// Makes, lists and revokes the tokens by which callers on other hosts come in
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Makes a token and prints it; it is not shown again
    Create {
        #[command(flatten)]
        cluster: ClusterArgs,
        /// What its bearer may do: `read` sees jobs, `submit` also runs and ends them and reads their rows, `admin` everything
        #[arg(long, value_name = "ROLE")]
        role: Role,
        /// Its name, for lists, logs and its end [default: a random one]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// How long it is to last, such as `90 d`, `12 h` [default: until it is revoked]
        #[arg(long, value_name = "TIME", value_parser = duration)]
        expires: Option<Duration>,
    },
    /// Lists the tokens
    List {
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Lets a token count no more
    Revoke {
        #[command(flatten)]
        cluster: ClusterArgs,
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    name: String,
    role: Role,
    created: i64,
    expires: Option<i64>,
    created_by: String,
}

fn duration(text: &str) -> Result<Duration, String> {
    Duration::parse(text).ok_or_else(|| format!("expected {}", Duration::EXPECTED))
}

/// Runs the command.
pub async fn run(args: Args) -> Result<()> {
    let mut out = io::stdout();
    match args.verb {
        Verb::Create { cluster, role, name, expires } => {
            let mut wanted = json!({ "role": role });
            if let Some(name) = name {
                wanted["name"] = json!(name);
            }
            if let Some(expires) = expires {
                wanted["expiresInMs"] = json!(expires.as_millis() as u64);
            }
            let made = operator(&cluster)?.post("/tokens", &wanted).await?;
            let token = made["token"].as_str().context("the JobManager gave no token")?;
            eprintln!("Token {} ({role}); it is not shown again:", made["name"].as_str().unwrap_or_default());
            writeln!(out, "{token}")?;
        }
        Verb::List { cluster } => {
            let mut listed = operator(&cluster)?.get("/tokens").await?;
            let tokens: Vec<Token> = serde_json::from_value(listed["tokens"].take())?;
            for Token { name, role, created, expires, created_by } in tokens {
                let expires = expires.map_or("never".to_owned(), date);
                writeln!(out, "{name:<24} {role:<7} made {} by {created_by}, ends {expires}", date(created))?;
            }
        }
        Verb::Revoke { cluster, name } => {
            operator(&cluster)?.delete(&format!("/tokens/{name}")).await?;
            writeln!(out, "Token {name} is revoked.")?;
        }
    }
    Ok(())
}

fn operator(cluster: &ClusterArgs) -> Result<Operator> {
    let (options, address) = cluster.load()?;
    Operator::new(&address, &options)
}

fn date(ms: i64) -> String {
    let date = DateTime::from_timestamp_millis(ms);
    date.map_or("the end of time".to_owned(), |date| date.format("%Y-%m-%d %H:%M UTC").to_string())
}
