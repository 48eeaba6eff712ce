//! Whether a cluster has healed: all members follow one leader and know what it knows, every worker is there, the stream runs and takes checkpoints.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use thalweg_graph::JobId;
use thalweg_scheduler::QuorumStatus;

use super::place::{MEMBERS, WORKERS};
use crate::processes::Cluster;

/// Pause between two looks.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Time to heal.
const HEAL_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits until the cluster has healed; tells how long that took and how often the job has been restarted.
pub async fn healed(cluster: &Cluster, job: JobId) -> Result<(Duration, u64)> {
    let (start, since) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64);
    members_agree(cluster).await?;
    let restarts = until(async || is_whole(cluster, job, since).await).await.context("not healed")?;
    Ok((start.elapsed(), restarts))
}

/// Waits until all members follow one leader and have applied what it had.
pub async fn members_agree(cluster: &Cluster) -> Result<()> {
    until(async || agree(cluster).await).await.context("no agreement")
}

/// Looks until what is looked for is there; the error says what was seen last.
async fn until<T>(look: impl AsyncFn() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(error) if start.elapsed() > HEAL_TIMEOUT => {
                return Err(error.context(format!("after {} s", HEAL_TIMEOUT.as_secs())));
            }
            Err(_) => tokio::time::sleep(LOOK_INTERVAL).await,
        }
    }
}

/// How the quorum stands for one of its members.
pub async fn quorum(cluster: &Cluster, index: usize) -> Result<QuorumStatus> {
    Ok(serde_json::from_value(cluster.get_from(index, "/v1/quorum").await?)?)
}

/// Waits until no job holds a slot, and every worker is there.
pub async fn at_rest(cluster: &Cluster) -> Result<()> {
    let looking = until(async || {
        let overview = cluster.get("/v1/overview").await?;
        let is_whole = overview["taskmanagers"] == WORKERS;
        ensure!(
            is_whole && overview["slots-available"] == overview["slots-total"],
            "the cluster is {overview}"
        );
        Ok(())
    });
    looking.await.context("no job runs, and slots are taken or workers missing")
}

async fn agree(cluster: &Cluster) -> Result<()> {
    let leader = quorum(cluster, 0).await?.leader.context("member 1 knows of no leader")?;
    let leading = quorum(cluster, leader as usize - 1).await?;
    for index in 0..MEMBERS {
        let member = quorum(cluster, index).await?;
        let follows = (member.term, member.leader) == (leading.term, Some(leader));
        ensure!(follows && member.applied_index >= leading.applied_index, "{member:?} beside {leading:?}");
        let leads = cluster.leads(index).await;
        ensure!(leads == (member.member == leader), "{member:?}, and it leads: {leads}");
    }
    Ok(())
}

/// The job's restarts, if it has finished, or runs and has taken a checkpoint that was begun since.
async fn is_whole(cluster: &Cluster, job: JobId, since_ms: u64) -> Result<u64> {
    let workers = cluster.get("/v1/overview").await?["taskmanagers"].clone();
    ensure!(workers == WORKERS, "there are {workers} workers");
    let details = cluster.get(&format!("/v1/jobs/{job}")).await?;
    let restarts = details["restarts"].as_u64().context("a job has `restarts`")?;
    match details["state"].as_str() {
        Some("FINISHED") => Ok(restarts),
        Some("RUNNING") => {
            let checkpoints = cluster.get(&format!("/v1/jobs/{job}/checkpoints")).await?;
            let newest = &checkpoints["latest"]["completed"];
            let begun_ms = newest["trigger_timestamp"].as_u64().unwrap_or_default();
            ensure!(
                begun_ms >= since_ms,
                "the newest complete checkpoint is {newest}; {}",
                checkpoints["counts"]
            );
            Ok(restarts)
        }
        state => bail!("the job is {state:?}"),
    }
}
