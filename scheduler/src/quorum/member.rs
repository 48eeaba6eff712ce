//! One member of the quorum: its log, its part in the consensus, and what others may ask of it.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use openraft::{
    BasicNode, Config, Raft, ServerState, SnapshotPolicy,
    error::{CheckIsLeaderError, ClientWriteError, Fatal, ForwardToLeader, InitializeError, RaftError},
    raft::{AppendEntriesRequest, InstallSnapshotRequest, VoteRequest},
};
use serde::{Deserialize, Serialize};
use thalweg_rpc::Trust;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    command::MemberId,
    election::{Candidate, PreVote, Silence},
    encoding,
    log_store::{self, LogStore},
    network::Calls,
    proposer::{self, Proposals},
    snapshot,
    state_machine::{StateMachine, ToState},
    types::{TypeConfig, Vote},
};
use crate::ground::Ground;

/// Shortest lease of a leader: several heartbeats and syncs of a disk fit in.
const LEASE_MS_MIN: u64 = 50;
/// Signs of life of a leader in its lease.
const HEARTBEATS: u64 = 6;
/// Times for an election behind which a quorum begins without its first member.
const FIRST_IS_LATE: u32 = 10;
/// How often it is looked after.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// Time for a part of a snapshot to arrive and be written.
const SNAPSHOT_TIMEOUT_MS: u64 = 10_000;
/// Time for a change of the members.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// A member and where its control port is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "MemberFields")]
pub struct MemberAddress {
    /// Its number.
    pub member: MemberId,
    /// `host:port`.
    pub address: String,
}

/// The text is not `number@host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a member: expected `number@host:port`")]
pub struct InvalidMember(String);

impl FromStr for MemberAddress {
    type Err = InvalidMember;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidMember(text.chars().take(100).collect());
        let (member, address) = text.trim().split_once('@').ok_or_else(invalid)?;
        let member = member.parse().ok().filter(|member| *member > 0).ok_or_else(invalid)?;
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        port.and_then(|port| port.parse::<u16>().ok()).ok_or_else(invalid)?;
        Ok(Self { member, address: address.to_owned() })
    }
}

/// What is given as fields is held to the same as what is given as text.
impl TryFrom<MemberFields> for MemberAddress {
    type Error = InvalidMember;

    fn try_from(MemberFields { member, address }: MemberFields) -> Result<Self, InvalidMember> {
        format!("{member}@{address}").parse()
    }
}

/// A member as JSON has it.
#[derive(Deserialize)]
struct MemberFields {
    member: MemberId,
    address: String,
}

impl fmt::Display for MemberAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.member, self.address)
    }
}

/// What a member is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberConfig {
    /// Its number, which it keeps for life.
    pub member: MemberId,
    /// All members of a quorum that begins; none for one that waits to be added to a quorum.
    pub members: Vec<MemberAddress>,
    /// Its own folder on a local disk.
    pub folder: PathBuf,
    /// Silence of the leader behind which another member may stand for election.
    pub election_timeout: Duration,
    /// How long the log becomes.
    pub log: LogLimits,
}

/// How long a member's log becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Entries between two snapshots.
    pub snapshot_every: u64,
    /// Entries that stay in the log behind a snapshot, for members that are a little late.
    pub kept: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { snapshot_every: 4096, kept: 1024 }
    }
}

/// How long members wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Patience {
    /// Time between a leader's signs of life.
    heartbeat_ms: u64,
    /// For so long a leader that was heard is believed to lead, and nobody else is voted for; one that has not heard of a majority for so
    /// long leads no more.
    lease_ms: u64,
}

impl Patience {
    fn of(election_timeout: Duration) -> Self {
        let lease_ms = (election_timeout.as_millis() as u64).max(LEASE_MS_MIN);
        Self { heartbeat_ms: lease_ms / HEARTBEATS, lease_ms }
    }

    fn lease(self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

/// A member that cannot start, or a change that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its log.
    #[error(transparent)]
    Log(#[from] log_store::Error),
    /// Its snapshot.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// It could not start.
    #[error("this member of the quorum cannot start: {0}")]
    Start(String),
    /// It has stopped.
    #[error("this member of the quorum has stopped: {0}")]
    Stopped(String),
    /// Another member leads, or none for the time being.
    #[error("this member does not lead")]
    NotLeader {
        /// Where the one is that does.
        leader: Option<String>,
    },
    /// A change of the members was refused.
    #[error("the members cannot be changed so: {0}")]
    Change(String),
    /// A change of the members takes too long.
    #[error("the members were not changed within {} s: is a majority of them there, and the new one?", CHANGE_TIMEOUT.as_secs())]
    Timeout,
    /// What another member sent cannot be read.
    #[error("a call of another member: {0}")]
    Call(#[from] encoding::Error),
}

/// Who leads, as one member sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The member that sees it.
    pub member: MemberId,
    /// Whether that one leads.
    pub leads: bool,
    /// The newest term that it has seen.
    pub term: u64,
    /// Where the leader is, if one is known.
    pub leader: Option<String>,
    /// Where all members are that vote.
    pub members: Vec<String>,
}

/// A member for those who look after the quorum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MemberStatus {
    /// Its number.
    pub member: MemberId,
    /// Where its control port is found.
    pub address: String,
    /// Whether it votes; one that does not is learning the log.
    pub votes: bool,
    /// Whether it leads.
    pub leads: bool,
    /// How far its log is known to be like the leader's; only the leader knows.
    pub matched: Option<u64>,
}

/// The quorum for those who look after it, as one member sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct QuorumStatus {
    /// The member that answers.
    pub member: MemberId,
    /// The newest term that it has seen.
    pub term: u64,
    /// Who leads.
    pub leader: Option<MemberId>,
    /// How far its log reaches.
    pub last_log_index: Option<u64>,
    /// How far of it is applied.
    pub applied_index: Option<u64>,
    /// How far the newest snapshot reaches.
    pub snapshot_index: Option<u64>,
    /// All members.
    pub members: Vec<MemberStatus>,
}

/// A running member.
#[derive(Clone)]
pub struct QuorumMember {
    raft: Raft<TypeConfig>,
    config: MemberConfig,
    log: LogStore,
    silence: Arc<Silence>,
    /// How many entries are decided, as leaders have told since the start; 0 where none has.
    told: Arc<AtomicU64>,
    leadership: watch::Receiver<Leadership>,
    failure: watch::Receiver<Option<String>>,
}

impl QuorumMember {
    /// Starts a member, which proves itself to the others by `trust`. The replicated state is held by whoever answers `to_state`; what it is to decide comes as `proposals`.
    pub async fn start(
        config: MemberConfig,
        trust: Trust,
        ground: &Ground,
        to_state: mpsc::Sender<ToState>,
        proposals: Proposals,
    ) -> Result<Self, Error> {
        let log = LogStore::open(&*ground.disk, &config.folder)?;
        log.stand_down(config.member)?;
        let machine = StateMachine::open(ground.disk.clone(), &config.folder, to_state).await?;
        let patience = Patience::of(config.election_timeout);
        let raft_config = Config {
            cluster_name: "thalweg".to_owned(),
            heartbeat_interval: patience.heartbeat_ms,
            // The greater one is the lease, the lesser one means nothing: see `election`.
            election_timeout_min: patience.lease_ms / 2,
            election_timeout_max: patience.lease_ms,
            enable_elect: false,
            install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(config.log.snapshot_every),
            max_in_snapshot_log_to_keep: config.log.kept,
            replication_lag_threshold: config.log.snapshot_every + config.log.kept,
            purge_batch_size: 256,
            ..Config::default()
        };
        let raft_config = raft_config.validate().map_err(|error| Error::Start(error.to_string()))?;
        let (member, calls) = (config.member, Calls::new(trust));
        let raft = Raft::new(member, Arc::new(raft_config), calls.clone(), log.clone(), machine).await;
        let raft = raft.map_err(|error| Error::Start(error.to_string()))?;
        begin(&raft, &config).await?;
        let (leadership, seen) =
            watch::channel(Leadership { member: config.member, ..Leadership::default() });
        let (failure, failed) = watch::channel(None);
        tokio::spawn(proposer::propose(raft.clone(), proposals));
        tokio::spawn(look_after(raft.clone(), member, patience, leadership, failure));
        let silence = Arc::new(Silence::new(patience.lease()));
        let candidate =
            Candidate { raft: raft.clone(), member, log: log.clone(), calls, silence: silence.clone() };
        tokio::spawn(candidate.run());
        let told = Arc::default();
        Ok(Self { raft, config, log, silence, told, leadership: seen, failure: failed })
    }

    /// What it was started with.
    pub fn config(&self) -> &MemberConfig {
        &self.config
    }

    /// Who leads, now and when it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Waits until the member has failed; says why. Its process is to end then.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        let why = failure.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.unwrap_or_else(|| "it was stopped".to_owned())
    }

    /// Makes sure that this member leads and that its state has all that was decided when this was asked.
    pub async fn ensure_leads(&self) -> Result<(), Error> {
        match self.raft.ensure_linearizable().await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(forward))) => {
                Err(not_leader(forward))
            }
            Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
                Err(Error::NotLeader { leader: None })
            }
            Err(RaftError::Fatal(fatal)) => Err(stopped(&fatal)),
        }
    }

    /// Whether its state has what was decided, but for the newest: one that has just started, or does not hear its leader, lacks more.
    pub fn is_in_step(&self) -> bool {
        let metrics = self.raft.metrics().borrow().clone();
        let Some(applied) = metrics.last_applied else { return false };
        if metrics.current_leader == Some(self.config.member) {
            // A term begins with an entry of its own, behind all that was decided before.
            return applied.leader_id.term == metrics.current_term;
        }
        let told = self.told.load(Relaxed);
        self.silence.hears(Instant::now()) && (1..=applied.index + 1).contains(&told)
    }

    /// How the quorum stands.
    pub fn status(&self) -> QuorumStatus {
        let metrics = self.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let voters: Vec<_> = membership.voter_ids().collect();
        let matched = |member: &u64| {
            let replication = metrics.replication.as_ref()?;
            replication.get(member).copied().flatten().map(|log_id| log_id.index)
        };
        let members = membership.nodes().map(|(member, node)| MemberStatus {
            member: *member,
            address: node.addr.clone(),
            votes: voters.contains(member),
            leads: metrics.current_leader == Some(*member),
            matched: matched(member),
        });
        QuorumStatus {
            member: self.config.member,
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_log_index: metrics.last_log_index,
            applied_index: metrics.last_applied.map(|log_id| log_id.index),
            snapshot_index: metrics.snapshot.map(|log_id| log_id.index),
            members: members.collect(),
        }
    }

    /// Adds a member: it learns the log first, then it votes. One that is there already gets another address.
    pub async fn add(&self, new: MemberAddress) -> Result<(), Error> {
        let node = BasicNode { addr: new.address };
        let adding = async {
            self.raft.add_learner(new.member, node, true).await.map_err(change_failed)?;
            let voters = openraft::ChangeMembers::AddVoterIds([new.member].into());
            self.raft.change_membership(voters, false).await.map_err(change_failed)
        };
        within_time(adding).await
    }

    /// Removes a member.
    pub async fn remove(&self, member: MemberId) -> Result<(), Error> {
        let removing = async {
            let known: Vec<_> = self.status().members.into_iter().map(|known| known.member).collect();
            if !known.contains(&member) {
                return Err(Error::Change(format!("there is no member {member}")));
            }
            let voters = openraft::ChangeMembers::RemoveVoters([member].into());
            self.raft.change_membership(voters, false).await.map_err(change_failed)
        };
        within_time(removing).await
    }

    /// Answers the call of another member.
    pub async fn answer(&self, call: &str, question: &[u8]) -> Option<Result<Vec<u8>, Error>> {
        Some(match call {
            "append" => self.append(question).await,
            "vote" => self.vote(question).await,
            "would-vote" => self.would_vote(question),
            "snapshot" => self.snapshot(question).await,
            _ => return None,
        })
    }

    async fn append(&self, question: &[u8]) -> Result<Vec<u8>, Error> {
        let request: AppendEntriesRequest<TypeConfig> = encoding::decode(question)?;
        self.heard(&request.vote);
        let decided = request.leader_commit.map_or(0, |log_id| log_id.index + 1);
        let answer = self.raft.append_entries(request).await;
        self.told.fetch_max(decided, Relaxed);
        Ok(encoding::encode(&answer)?)
    }

    async fn vote(&self, question: &[u8]) -> Result<Vec<u8>, Error> {
        let request: VoteRequest<u64> = encoding::decode(question)?;
        let answer = self.raft.vote(request).await;
        if answer.as_ref().is_ok_and(|answer| answer.vote_granted) {
            self.silence.broken(Instant::now());
        }
        Ok(encoding::encode(&answer)?)
    }

    fn would_vote(&self, question: &[u8]) -> Result<Vec<u8>, Error> {
        let PreVote { last_log_id, .. } = encoding::decode(question)?;
        let leads = self.leadership.borrow().leads;
        // One that cannot read its log has no vote to give.
        let own = self.log.last_log_id();
        let would = !leads && own.is_ok_and(|own| self.silence.would_vote(last_log_id, own, Instant::now()));
        Ok(encoding::encode(&would)?)
    }

    /// A call of whoever leads, unless another one is known that does since then. It counts when it comes: the disk may take its time.
    fn heard(&self, of: &Vote) {
        if *of >= self.raft.metrics().borrow().vote {
            self.silence.broken(Instant::now());
        }
    }

    async fn snapshot(&self, question: &[u8]) -> Result<Vec<u8>, Error> {
        let request: InstallSnapshotRequest<TypeConfig> = encoding::decode(question)?;
        self.heard(&request.vote);
        Ok(encoding::encode(&self.raft.install_snapshot(request).await)?)
    }

    /// Stops it.
    pub async fn stop(&self) {
        // One that has failed has stopped.
        let _ = self.raft.shutdown().await;
    }
}

/// Begins the quorum, unless it has begun. Whoever begins it stands for election at once, so that the first of its members does; another does
/// if nothing was heard of the first for a while: it begins in the same way.
async fn begin(raft: &Raft<TypeConfig>, config: &MemberConfig) -> Result<(), Error> {
    let members = config.members.iter();
    let members: BTreeMap<_, _> =
        members.map(|member| (member.member, BasicNode { addr: member.address.clone() })).collect();
    match members.keys().next() {
        // It waits to be added.
        None => Ok(()),
        Some(first) if *first == config.member => initialize(raft, members).await,
        Some(_) => {
            let (raft, wait) = (raft.clone(), config.election_timeout * FIRST_IS_LATE);
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                // What has failed by then says so itself.
                if matches!(raft.is_initialized().await, Ok(false))
                    && let Err(error) = initialize(&raft, members).await
                {
                    tracing::error!(%error, "the quorum cannot begin");
                }
            });
            Ok(())
        }
    }
}

async fn initialize(raft: &Raft<TypeConfig>, members: BTreeMap<u64, BasicNode>) -> Result<(), Error> {
    match raft.initialize(members).await {
        Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
        Err(error) => Err(Error::Start(error.to_string())),
    }
}

async fn look_after(
    raft: Raft<TypeConfig>,
    member: MemberId,
    patience: Patience,
    leadership: watch::Sender<Leadership>,
    failure: watch::Sender<Option<String>>,
) {
    let mut metrics = raft.metrics();
    loop {
        let seen = metrics.borrow_and_update().clone();
        if let Err(fatal) = &seen.running_state {
            tracing::error!(error = %fatal, "this member of the quorum has stopped");
            failure.send_replace(Some(fatal.to_string()));
            leadership.send_if_modified(|last| std::mem::take(&mut last.leads));
            return;
        }
        let alone = seen.membership_config.membership().voter_ids().count() == 1;
        let is_heard =
            alone || seen.millis_since_quorum_ack.is_some_and(|silent| silent <= patience.lease_ms);
        let leader = seen.current_leader.and_then(|leader| {
            seen.membership_config.membership().get_node(&leader).map(|node| node.addr.clone())
        });
        let leads = seen.state == ServerState::Leader && is_heard;
        let leader = leader.filter(|_| leads || seen.current_leader != Some(member));
        let membership = seen.membership_config.membership();
        let members =
            membership.voter_ids().filter_map(|id| membership.get_node(&id)).map(|node| node.addr.clone());
        let members = members.collect();
        let now = Leadership { member, leads, term: seen.current_term, leader, members };
        leadership.send_if_modified(|last| {
            let changed = *last != now;
            *last = now;
            changed
        });
        let wait = tokio::time::timeout(WATCH_INTERVAL, metrics.changed());
        if let Ok(Err(_)) = wait.await {
            failure.send_replace(Some("it was stopped".to_owned()));
            return;
        }
    }
}

async fn within_time<T>(change: impl Future<Output = Result<T, Error>>) -> Result<(), Error> {
    tokio::time::timeout(CHANGE_TIMEOUT, change).await.map_err(|_| Error::Timeout)?.map(|_| ())
}

fn change_failed(error: RaftError<u64, ClientWriteError<u64, BasicNode>>) -> Error {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => not_leader(forward),
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
            Error::Change(error.to_string())
        }
        RaftError::Fatal(fatal) => stopped(&fatal),
    }
}

fn not_leader(forward: ForwardToLeader<u64, BasicNode>) -> Error {
    Error::NotLeader { leader: forward.leader_node.map(|node| node.addr) }
}

fn stopped(fatal: &Fatal<u64>) -> Error {
    Error::Stopped(fatal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_heard_several_times_in_its_lease() {
        for ms in [0, 50, 500, 10_000] {
            let Patience { heartbeat_ms, lease_ms } = Patience::of(Duration::from_millis(ms));
            assert!(0 < heartbeat_ms && heartbeat_ms * 5 < lease_ms);
        }
    }

    #[test]
    fn members_have_a_number_and_an_address() {
        let member: MemberAddress = "2@jm-2:8081".parse().unwrap();
        assert_eq!((member.member, member.address.as_str()), (2, "jm-2:8081"));
        for wrong in ["jm:8081", "0@jm:1", "x@jm:1", "1@jm", "1@:1", "1@jm:http"] {
            let error = wrong.parse::<MemberAddress>().unwrap_err().to_string();
            assert!(error.contains(wrong) && error.contains("number@host:port"), "{error}");
        }
    }
}
