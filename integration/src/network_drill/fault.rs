//! What can happen to the processes and to the links between them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::ValueEnum as _;

use super::{
    healing,
    place::{MEMBERS, Place, STORAGE, WORKERS, worker_node},
};
use crate::{
    namespaces::{CLIENT, Ways},
    processes::{Node, job_manager_node},
};

/// How often a flapping link goes, and for how long it is gone and there again each time.
const FLAPS: u32 = 5;
const FLAP: Duration = Duration::from_millis(400);
/// For how long a leader that was stopped is watched when it goes on.
const STALE_WATCH: Duration = Duration::from_secs(1);

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
pub enum Fault {
    /// SIGKILL of the leader; it comes back.
    KillLeader,
    /// SIGSTOP of the leader until another leads and for some seconds, then SIGCONT: it must not act any more.
    StopLeader,
    /// SIGKILL of another member; it comes back.
    KillFollower,
    /// SIGKILL of a worker; another one comes.
    KillWorker,
    /// SIGSTOP of a worker for some seconds.
    StopWorker,
    /// SIGTERM of all members, one after the other, each when the one before is back and has caught up.
    RestartMembers,
    /// The same of the workers.
    RestartWorkers,
    /// The leader does not reach the other members, nor they it; workers, clients and storage still do.
    CutLeaderFromMembers,
    /// What the leader says does not reach the other members.
    MuteLeader,
    /// The leader and the workers do not reach each other; it still leads.
    CutLeaderFromWorkers,
    /// The leader does not reach the storage.
    CutLeaderFromStorage,
    /// The leader reaches nobody.
    CutLeader,
    /// A worker and the leader do not reach each other.
    CutWorkerFromLeader,
    /// A worker and another one do not reach each other.
    CutWorkerFromWorker,
    /// A worker does not reach the storage.
    CutWorkerFromStorage,
    /// The leader's link to all others goes and comes several times.
    FlapLeader,
    /// A worker's link to all others goes and comes several times.
    FlapWorker,
}

impl std::fmt::Display for Fault {
    /// As it is named on the command line.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.to_possible_value().map(|value| value.get_name().to_owned());
        formatter.write_str(&name.unwrap_or_default())
    }
}

/// What chance says of a fault.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw {
    /// A worker.
    pub worker: usize,
    /// Another one.
    pub other: usize,
    /// For how long.
    pub time: Duration,
}

impl Fault {
    /// Those for which links must be cut.
    pub fn needs_network(self) -> bool {
        match self {
            Fault::KillLeader | Fault::StopLeader | Fault::KillFollower | Fault::KillWorker => false,
            Fault::StopWorker | Fault::RestartMembers | Fault::RestartWorkers => false,
            Fault::CutLeaderFromMembers | Fault::MuteLeader | Fault::CutLeaderFromWorkers => true,
            Fault::CutLeaderFromStorage | Fault::CutLeader | Fault::CutWorkerFromLeader => true,
            Fault::CutWorkerFromWorker | Fault::CutWorkerFromStorage => true,
            Fault::FlapLeader | Fault::FlapWorker => true,
        }
    }

    /// Whether tasks may start again: not where a leader is there whom all workers reach in time.
    pub fn takes_tasks(self) -> bool {
        match self {
            Fault::KillLeader | Fault::StopLeader | Fault::KillFollower | Fault::RestartMembers => false,
            Fault::CutLeaderFromMembers | Fault::MuteLeader | Fault::CutLeader => false,
            Fault::CutLeaderFromStorage | Fault::FlapLeader => false,
            Fault::KillWorker | Fault::StopWorker | Fault::RestartWorkers => true,
            Fault::CutLeaderFromWorkers | Fault::CutWorkerFromLeader => true,
            Fault::CutWorkerFromWorker | Fault::CutWorkerFromStorage | Fault::FlapWorker => true,
        }
    }

    /// All that can happen in a network, or without one.
    pub fn all(network: bool) -> Vec<Fault> {
        let all = Self::value_variants().iter().copied();
        all.filter(|fault| network || !fault.needs_network()).collect()
    }

    /// Lets it happen; returns when all processes are there and all links are whole again. Tells how long nobody led, where the leader was disturbed.
    pub(super) async fn strike(self, place: &Place, draw: Draw) -> Result<Option<Duration>> {
        let cluster = &place.cluster;
        let leader = cluster.leader(&[]).await?;
        let disturbance = Disturbance { place, draw, leader };
        let worker = worker_node(draw.worker);
        match self {
            Fault::KillLeader => return disturbance.kill_leader().await,
            Fault::StopLeader => return disturbance.stop_leader().await,
            Fault::KillFollower => {
                let follower = (leader + 1) % MEMBERS;
                cluster.with_job_managers(|nodes: &[Node]| nodes[follower].kill());
                cluster.replace_job_manager(follower).await?;
            }
            Fault::KillWorker => {
                cluster.kill_worker(draw.worker);
                cluster.replace_worker(draw.worker).await?;
            }
            Fault::StopWorker => {
                let signal = |signal| cluster.with_workers(|workers| workers[draw.worker].signal(signal));
                signal(libc::SIGSTOP);
                tokio::time::sleep(draw.time).await;
                signal(libc::SIGCONT);
            }
            Fault::RestartMembers => restart_members(place, leader).await?,
            Fault::RestartWorkers => {
                for worker in 0..WORKERS {
                    cluster.with_workers(|workers| workers[worker].signal(libc::SIGTERM));
                    cluster.replace_worker(worker).await?;
                }
            }
            Fault::CutLeaderFromMembers => {
                return disturbance.depose(&disturbance.members(), Ways::Both).await;
            }
            Fault::MuteLeader => return disturbance.depose(&disturbance.members(), Ways::One).await,
            Fault::CutLeader => return disturbance.depose(&disturbance.everybody(), Ways::Both).await,
            Fault::CutLeaderFromWorkers => disturbance.cut_leader_from(&workers()).await?,
            Fault::CutLeaderFromStorage => disturbance.cut_leader_from(&[STORAGE.to_owned()]).await?,
            Fault::CutWorkerFromLeader => disturbance.cut_leader_from(&[worker]).await?,
            Fault::CutWorkerFromWorker => disturbance.cut(&worker, &[worker_node(draw.other)]).await?,
            Fault::CutWorkerFromStorage => disturbance.cut(&worker, &[STORAGE.to_owned()]).await?,
            Fault::FlapLeader => disturbance.flap(&job_manager_node(leader)).await?,
            Fault::FlapWorker => disturbance.flap(&worker).await?,
        }
        Ok(None)
    }
}

/// Ends all members in good order, the leader last, and brings each back before the next goes.
async fn restart_members(place: &Place, leader: usize) -> Result<()> {
    let cluster = &place.cluster;
    for step in 1..=MEMBERS {
        let member = (leader + step) % MEMBERS;
        cluster.with_job_managers(|nodes| nodes[member].signal(libc::SIGTERM));
        cluster.replace_job_manager(member).await?;
        healing::members_agree(cluster).await?;
    }
    Ok(())
}

fn workers() -> Vec<String> {
    (0..WORKERS).map(worker_node).collect()
}

/// What happens to a leader, and whom it can be kept from.
struct Disturbance<'a> {
    place: &'a Place,
    draw: Draw,
    leader: usize,
}

impl Disturbance<'_> {
    /// The other members.
    fn members(&self) -> Vec<String> {
        (0..MEMBERS).filter(|member| *member != self.leader).map(job_manager_node).collect()
    }

    /// All nodes but the leader, and this process.
    fn everybody(&self) -> Vec<String> {
        let others = [STORAGE.to_owned(), CLIENT.to_owned()];
        self.members().into_iter().chain(workers()).chain(others).collect()
    }

    async fn kill_leader(&self) -> Result<Option<Duration>> {
        let cluster = &self.place.cluster;
        let start = Instant::now();
        cluster.with_job_managers(|nodes: &[Node]| nodes[self.leader].kill());
        cluster.leader(&[self.leader]).await?;
        let failover = start.elapsed();
        cluster.replace_job_manager(self.leader).await?;
        Ok(Some(failover))
    }

    async fn stop_leader(&self) -> Result<Option<Duration>> {
        let cluster = &self.place.cluster;
        let signal = |signal| cluster.with_job_managers(|nodes| nodes[self.leader].signal(signal));
        let start = Instant::now();
        signal(libc::SIGSTOP);
        let next = cluster.leader(&[self.leader]).await;
        let failover = start.elapsed();
        tokio::time::sleep_until((start + self.draw.time).into()).await;
        signal(libc::SIGCONT);
        self.is_deposed_by(next?, STALE_WATCH).await?;
        Ok(Some(failover))
    }

    /// Keeps the leader from others until another one leads, and for some time.
    async fn depose(&self, from: &[String], ways: Ways) -> Result<Option<Duration>> {
        let start = Instant::now();
        let cut = self.place.network()?.cut(&[job_manager_node(self.leader)], from, ways)?;
        let next = self.place.cluster.leader(&[self.leader]).await?;
        let failover = start.elapsed();
        self.is_deposed_by(next, self.draw.time.saturating_sub(failover)).await?;
        cut.heal()?;
        self.is_deposed_by(next, STALE_WATCH).await?;
        Ok(Some(failover))
    }

    /// Watches that the leader of before does not answer as one, unless it was elected again.
    async fn is_deposed_by(&self, next: usize, time: Duration) -> Result<()> {
        let cluster = &self.place.cluster;
        let term = healing::quorum(cluster, next).await?.term;
        let until = Instant::now() + time;
        loop {
            if cluster.leads(self.leader).await {
                let own = healing::quorum(cluster, self.leader).await?.term;
                ensure!(own > term, "a leader of term {own} still answers as one; another leads in {term}");
            }
            if Instant::now() >= until {
                return Ok(());
            }
            tokio::time::sleep(healing::LOOK_INTERVAL).await;
        }
    }

    async fn cut_leader_from(&self, others: &[String]) -> Result<()> {
        self.cut(&job_manager_node(self.leader), others).await
    }

    async fn cut(&self, node: &str, others: &[String]) -> Result<()> {
        let cut = self.place.network()?.cut(&[node.to_owned()], others, Ways::Both)?;
        tokio::time::sleep(self.draw.time).await;
        cut.heal()
    }

    async fn flap(&self, node: &str) -> Result<()> {
        let members = (0..MEMBERS).map(job_manager_node);
        let all = members.chain(workers()).chain([STORAGE.to_owned()]);
        let others: Vec<String> = all.filter(|other| other != node).collect();
        for _ in 0..FLAPS {
            let cut = self.place.network()?.cut(&[node.to_owned()], &others, Ways::Both)?;
            tokio::time::sleep(FLAP).await;
            cut.heal()?;
            tokio::time::sleep(FLAP).await;
        }
        Ok(())
    }
}
