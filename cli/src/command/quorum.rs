//! `thalweg quorum`: how the quorum of JobManagers stands, and who belongs to it.

use std::io;

use anyhow::Result;
use thalweg_scheduler::{MemberAddress, QuorumStatus};

use super::address::ClusterArgs;
use crate::remote::Rest;

/// Shows the quorum of JobManagers, or changes who belongs to it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Shows the members, who leads, and how far each is
    Status {
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Adds a JobManager that was started without members: it learns the log first, then it votes
    Add {
        #[command(flatten)]
        cluster: ClusterArgs,
        /// Its number and where its control port is found
        #[arg(value_name = "NUMBER@HOST:PORT")]
        member: MemberAddress,
    },
    /// Removes a JobManager
    Remove {
        #[command(flatten)]
        cluster: ClusterArgs,
        /// Its number
        #[arg(value_name = "NUMBER")]
        member: u64,
    },
}

/// Runs the command.
pub async fn run(args: Args) -> Result<()> {
    let status = match args.verb {
        Verb::Status { cluster } => rest(&cluster)?.quorum().await?,
        Verb::Add { cluster, member } => rest(&cluster)?.add_member(&member).await?,
        Verb::Remove { cluster, member } => rest(&cluster)?.remove_member(member).await?,
    };
    print(&mut io::stdout().lock(), &status)
}

fn rest(cluster: &ClusterArgs) -> Result<Rest> {
    let (options, address) = cluster.load()?;
    Rest::new(&address, &options)
}

fn print(out: &mut impl io::Write, status: &QuorumStatus) -> Result<()> {
    let index = |index: Option<u64>| index.map_or("-".to_owned(), |index| index.to_string());
    writeln!(
        out,
        "Member {}: term {}, log up to {}, applied up to {}, snapshot up to {}",
        status.member,
        status.term,
        index(status.last_log_index),
        index(status.applied_index),
        index(status.snapshot_index)
    )?;
    for member in &status.members {
        let role = match (member.leads, member.votes) {
            (true, _) => "leads",
            (false, true) => "follows",
            (false, false) => "learns",
        };
        let matched =
            member.matched.map_or(String::new(), |matched| format!("  has the log up to {matched}"));
        writeln!(out, "{:>4}  {:<24} {role}{matched}", member.member, member.address)?;
    }
    Ok(())
}
