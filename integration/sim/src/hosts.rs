//! The processes: real JobManagers, and workers whose way to the leader is real.

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc, time::Duration};

use rand::Rng as _;
use thalweg_graph::{Options, Term, WorkerId};
use thalweg_rpc::Trust;
use thalweg_scheduler::{
    Ground, JobManager, JobManagerConfig, LogLimits, Login, MemberAddress, MemberConfig, clock::Timestamp,
};
use tokio_util::sync::CancellationToken;
use turmoil::net::TcpListener;

use crate::{
    disk::SimDisk,
    event::Event,
    leader_link::{self, LeaderLink},
    network::{SimListener, SimNetwork},
    plan::SimPlanner,
    storage::Storage,
    task_table::TaskTable,
    world::World,
};

/// JobManagers.
pub const MEMBERS: u64 = 3;
/// Workers.
pub const WORKERS: u32 = 3;
/// Slots of each.
const SLOTS: u32 = 2;
/// The control port.
const PORT: u16 = 8081;
/// Silence of the leader behind which another is elected.
const ELECTION_TIMEOUT: Duration = Duration::from_millis(500);

/// A life has several snapshots, and those who were away longer than a moment get one.
const LOG: LogLimits = LogLimits { snapshot_every: 40, kept: 10 };

/// Times are short, so that a life is.
const OPTIONS: &[(&str, &str)] = &[
    ("heartbeat.interval", "300 ms"),
    ("heartbeat.timeout", "1500 ms"),
    ("execution.checkpointing.interval", "300 ms"),
    ("execution.checkpointing.timeout", "2 s"),
    ("execution.checkpointing.tolerable-failed-checkpoints", "3"),
    ("execution.checkpointing.dir", "sim:///checkpoints"),
    ("restart-strategy.exponential-delay.initial-backoff", "50 ms"),
    ("restart-strategy.exponential-delay.max-backoff", "500 ms"),
    ("restart-strategy.exponential-delay.attempts-before-reset-backoff", "1000000"),
];

/// The host of a JobManager.
pub fn job_manager_host(member: u64) -> String {
    format!("jm-{member}")
}

/// The host of a worker.
pub fn worker_host(number: u32) -> String {
    format!("worker-{number}")
}

/// The address of a JobManager.
pub fn address(member: u64) -> String {
    format!("{}:{PORT}", job_manager_host(member))
}

/// The member at an address; none has the number 0.
pub fn member_at(address: &str) -> u64 {
    (1..=MEMBERS).find(|member| self::address(*member) == address).unwrap_or(0)
}

fn wall_clock() -> Timestamp {
    Timestamp(turmoil::since_epoch().unwrap_or_default().as_millis() as u64)
}

fn members() -> Vec<MemberAddress> {
    (1..=MEMBERS).map(|member| MemberAddress { member, address: address(member) }).collect()
}

/// A JobManager's process, until it fails.
pub async fn job_manager(world: World, member: u64, disk: SimDisk) -> turmoil::Result {
    let host = job_manager_host(member);
    let incarnation = world.next_incarnation(&host);
    world.tell(Event::Started { host: host.clone() });
    let why = match serve(&world, member, incarnation, disk).await {
        Ok(()) => "it was told to".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    world.tell(Event::Stopped { host, why });
    Ok(())
}

async fn serve(world: &World, member: u64, incarnation: u32, disk: SimDisk) -> anyhow::Result<()> {
    let quorum = MemberConfig {
        member,
        members: members(),
        folder: PathBuf::from("quorum"),
        election_timeout: ELECTION_TIMEOUT,
        log: LOG,
    };
    let config = JobManagerConfig {
        options: OPTIONS.iter().copied().collect::<Options>(),
        quorum: Some(quorum),
        trust: Trust { network: Arc::new(SimNetwork::default()), ..Trust::default() },
        login: Login::Nobody,
        ground: Ground { disk: Arc::new(disk), wall_clock },
        ..JobManagerConfig::default()
    };
    let storage = Arc::new(Storage::new(world.clone(), member, incarnation));
    let manager = JobManager::start(config, Arc::new(SimPlanner), storage.clone(), storage).await?;
    if let Some(quorum) = manager.quorum() {
        let (world, mut leadership) = (world.clone(), quorum.leadership());
        tokio::spawn(async move {
            let mut told = None;
            loop {
                let seen = leadership.borrow_and_update().clone();
                if seen.leads && told != Some(seen.term) {
                    told = Some(seen.term);
                    world.tell(Event::Leads { member, term: Term(seen.term) });
                }
                if leadership.changed().await.is_err() {
                    return;
                }
            }
        });
    }
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    manager.serve(SimListener(listener)).await?;
    Ok(())
}

/// A worker's process, until it is told to stop.
pub async fn worker(world: World, number: u32) -> turmoil::Result {
    let host = worker_host(number);
    let incarnation = world.next_incarnation(&host);
    world.tell(Event::Started { host: host.clone() });
    let worker = worker_id(number, incarnation);
    world.tell(Event::Offers { worker: worker.clone(), slots: SLOTS });
    let network = Arc::new(SimNetwork::default());
    let tasks = Arc::new(TaskTable::new(world.clone(), worker.clone(), network.clone()));
    let registration =
        leader_link::introduction(worker.clone(), host.clone(), format!("{host}:1"), SLOTS, 1 << 30);
    // Its process's number is shown to people only, and is the system's.
    let registration = thalweg_rpc::Registration { pid: incarnation, ..registration };
    // Not all workers of a cluster are told its JobManagers in the same order.
    let turn = world.generator(&format!("addresses of {worker}")).random_range(0..MEMBERS);
    let addresses = (0..MEMBERS).map(|next| address((turn + next) % MEMBERS + 1)).collect();
    let link = LeaderLink::Remote { addresses };
    let stopped = leader_link::run(
        link,
        Trust { network, ..Trust::default() },
        registration,
        tasks,
        CancellationToken::new(),
    )
    .await;
    world.tell(Event::WorkerGone { worker });
    world.tell(Event::Stopped { host, why: format!("{stopped:?}") });
    Ok(())
}

/// The worker of a process.
pub fn worker_id(number: u32, incarnation: u32) -> WorkerId {
    WorkerId(format!("w{number}.{incarnation}"))
}
