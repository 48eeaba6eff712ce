//! `thalweg run`: submits a script to a cluster; attached, shows progress and results until it has ended.

use std::{fs, io::Write as _, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, bail};
use thalweg_graph::SqlError;

use super::address::ClusterArgs;
use crate::{
    output::Format,
    remote::Rest,
    report,
    runner::{self, Interrupted, StatementFailed},
};

/// Submits a script to a cluster
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// Print the ids of the script's jobs and leave
    #[arg(short, long)]
    detached: bool,

    /// Subtasks of each vertex
    #[arg(short, long, value_name = "N")]
    parallelism: Option<u32>,

    /// The name of its jobs [default: the start of each statement]
    #[arg(short = 'N', long, value_name = "NAME")]
    name: Option<String>,

    /// How rows are printed
    #[arg(long, short = 'o', value_enum, default_value = "table", value_name = "FORMAT")]
    output: Format,

    /// Where the jobs run: only `remote` is known to this command; `thalweg sql -f` runs a script in its own process
    #[arg(short, long, value_name = "TARGET", default_value = "remote")]
    target: String,

    /// Savepoint to start from (not supported yet)
    #[arg(short = 's', long = "fromSavepoint", value_name = "PATH", hide = true)]
    from_savepoint: Option<String>,

    /// Taken from Flink's scripts; without a savepoint it means nothing
    #[arg(short = 'n', long = "allowNonRestoredState", hide = true)]
    _allow_non_restored_state: bool,

    /// The script
    script: PathBuf,
}

/// Runs the command.
pub async fn run(args: Args) -> Result<()> {
    refuse_unsupported(&args)?;
    let (options, address) = args.cluster.load()?;
    let script = fs::read_to_string(&args.script)
        .with_context(|| format!("cannot read the script `{}`", args.script.display()))?;
    let rest = Rest::new(&address, &options)?;
    let accepted = rest.submit(&script, args.name.as_deref(), &options, args.parallelism).await;
    let jobs = match accepted {
        Ok(jobs) => jobs,
        Err(error) if error.is::<SqlError>() => {
            eprintln!("{}", report::statement_error(&error, &script));
            return Err(StatementFailed.into());
        }
        Err(error) => return Err(error),
    };
    for job in &jobs {
        let line = format!("Job has been submitted with JobID {}", job.jobid);
        // Attached, the standard output is for rows.
        if args.detached { writeln!(std::io::stdout(), "{line}")? } else { eprintln!("{line}") }
    }
    if args.detached {
        return Ok(());
    }
    let mut follower = runner::Follower::new(std::sync::Arc::new(rest))?;
    for job in jobs {
        let started = Instant::now();
        let ended = match job.is_query {
            true => follower.print_query(job.jobid, args.output, &options, None).await,
            false => follower.follow(job.jobid).await,
        };
        match ended {
            Ok(()) => {}
            Err(error) if crate::output::is_closed_pipe(&error) || error.is::<Interrupted>() => {
                return Err(error);
            }
            Err(error) => {
                eprintln!("{}", report::statement_error(&error, &script));
                return Err(StatementFailed.into());
            }
        }
        eprintln!(
            "Job with JobID {} has finished.\nJob Runtime: {} ms",
            job.jobid,
            started.elapsed().as_millis()
        );
    }
    Ok(())
}

fn refuse_unsupported(args: &Args) -> Result<()> {
    if args.from_savepoint.is_some() {
        bail!("`--fromSavepoint` is not supported yet: jobs are batch jobs, which keep no state");
    }
    match args.target.as_str() {
        "remote" => Ok(()),
        "local" => bail!("`--target local`: run the script in one process with `thalweg sql -f <script>`"),
        other => bail!("the target `{other}` is not supported yet; use `remote`"),
    }
}
