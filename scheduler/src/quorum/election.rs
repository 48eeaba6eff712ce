//! When a member stands for election.
//!
//! The library draws one waiting time at the start of the process, looks at it once in a heartbeat and a half, and lets members stand that cannot
//! win, each of whom ends the leader's term or costs the others an election. So its timer is off. Here, a member that has not heard of the leader for as
//! long as the lease asks the others first, on which nothing is written, whether they would vote for it (pre-vote: Ongaro, Consensus:
//! bridging theory and practice, 2014, section 9.6), and stands if a majority would: one that was cut off drives out no leader, and one whose log is
//! behind keeps nobody up. Members have their turns one after another, so that two seldom stand at once. Who may be elected is decided by the
//! library's votes alone: this is only about when.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use openraft::{BasicNode, Raft, ServerState};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    command::MemberId,
    log_store::LogStore,
    network::Calls,
    types::{LogId, TypeConfig},
};

/// Behind the end of the leader's lease: others have heard of it a little later, and count from there.
const MARGIN: Duration = Duration::from_millis(30);
/// How long one that has the next turn waits for those before it: an election with two syncs of a disk fits in.
const TURN: Duration = Duration::from_millis(100);
/// Pause of one whom the others would not elect.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How often a member looks whether it has become one that stands.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Asks whether a member would get another one's vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreVote {
    /// Who would stand.
    pub candidate: MemberId,
    /// How far its log reaches.
    pub last_log_id: Option<LogId>,
}

/// What one member has heard.
#[derive(Debug)]
pub struct Silence {
    started: Instant,
    heard: Mutex<Option<Instant>>,
    lease: Duration,
}

impl Silence {
    /// Of a member that starts now; a leader that was heard is believed to lead for `lease`.
    pub fn new(lease: Duration) -> Self {
        Self { started: Instant::now(), heard: Mutex::new(None), lease }
    }

    /// The leader was heard, or somebody was voted for who may be it soon.
    pub fn broken(&self, now: Instant) {
        *self.heard.lock() = Some(now);
    }

    /// Whether a leader was heard so lately that it is believed to lead.
    pub fn hears(&self, now: Instant) -> bool {
        self.heard.lock().is_some_and(|heard| now.duration_since(heard) < self.lease)
    }

    /// Whether this member would vote for another whose log reaches so far.
    pub fn would_vote(&self, other: Option<LogId>, own: Option<LogId>, now: Instant) -> bool {
        !self.hears(now) && other >= own
    }

    /// When it is this member's turn to stand, which so many others have before it.
    fn turn(&self, rank: u32) -> Instant {
        let since = self.heard.lock().unwrap_or(self.started);
        since + self.lease + MARGIN + TURN * rank
    }
}

/// How many of those that vote have their turn before this member: they come in a ring behind the last leader, which has the last one.
fn rank(member: MemberId, last_leader: Option<MemberId>, voters: &BTreeSet<MemberId>) -> Option<u32> {
    let behind = |leader: MemberId| voters.range(leader + 1..).chain(voters.range(..=leader));
    let position = match last_leader {
        Some(leader) => behind(leader).position(|voter| *voter == member),
        None => voters.iter().position(|voter| *voter == member),
    };
    position.map(|position| position as u32)
}

/// A member as far as elections are concerned.
pub(super) struct Candidate {
    pub(super) raft: Raft<TypeConfig>,
    pub(super) member: MemberId,
    pub(super) log: LogStore,
    pub(super) calls: Calls,
    pub(super) silence: Arc<Silence>,
}

impl Candidate {
    /// Stands for election whenever it is its turn, until the member stops.
    pub(super) async fn run(self) {
        let mut metrics = self.raft.metrics();
        let mut last_leader = None;
        let mut not_before = Instant::now();
        loop {
            let seen = metrics.borrow_and_update().clone();
            last_leader = seen.current_leader.or(last_leader);
            let membership = seen.membership_config.membership();
            let voters: BTreeSet<MemberId> = membership.voter_ids().collect();
            let rank = rank(self.member, last_leader, &voters).filter(|_| seen.state != ServerState::Leader);
            let turn = rank.map(|rank| match voters.len() {
                1 => not_before,
                _ => self.silence.turn(rank).max(not_before),
            });
            let now = Instant::now();
            if turn.is_some_and(|turn| turn <= now) {
                let others = membership.nodes().filter(|(id, _)| voters.contains(id) && **id != self.member);
                let others = others.map(|(id, node)| (*id, node.clone())).collect();
                not_before = match self.would_win(others).await {
                    true => {
                        tracing::info!(member = self.member, term = seen.current_term, "stands for election");
                        if self.raft.trigger().elect().await.is_err() {
                            return;
                        }
                        Instant::now() + TURN * voters.len() as u32
                    }
                    false => Instant::now() + ASK_AGAIN,
                };
                continue;
            }
            let until = turn.unwrap_or(now + LOOK_AGAIN);
            if let Ok(Err(_)) = tokio::time::timeout_at(until, metrics.changed()).await {
                return;
            }
        }
    }

    /// Whether a majority would vote for this member.
    async fn would_win(&self, others: BTreeMap<MemberId, BasicNode>) -> bool {
        let last_log_id = match self.log.last_log_id() {
            Ok(last_log_id) => last_log_id,
            Err(error) => {
                tracing::error!(%error, "the quorum's log cannot be read");
                return false;
            }
        };
        let question = PreVote { candidate: self.member, last_log_id };
        let (needed, mut votes) = (others.len().div_ceil(2), 0);
        let mut answers: FuturesUnordered<_> = others
            .into_iter()
            .map(|(id, node)| self.calls.peer(id, &node))
            .map(|peer| {
                let question = &question;
                async move { peer.would_vote(question, self.silence.lease).await }
            })
            .collect();
        while votes < needed {
            match answers.next().await {
                Some(vote) => votes += usize::from(vote),
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, LogId};

    use super::*;

    fn log(term: u64, index: u64) -> Option<super::LogId> {
        Some(LogId::new(CommittedLeaderId::new(term, 1), index))
    }

    #[test]
    fn everybody_has_another_turn_and_the_last_leader_the_last() {
        let voters = BTreeSet::from([1, 2, 3, 7]);
        let ranks = |leader| [1, 2, 3, 7].map(|member| rank(member, leader, &voters).unwrap());
        assert_eq!(ranks(None), [0, 1, 2, 3]);
        assert_eq!(ranks(Some(2)), [2, 3, 0, 1]);
        assert_eq!(ranks(Some(7)), [0, 1, 2, 3]);
        // One that was removed meanwhile.
        assert_eq!(ranks(Some(5)), [1, 2, 3, 0]);
        assert_eq!(rank(4, Some(2), &voters), None, "one that does not vote does not stand");
    }

    #[test]
    fn a_vote_is_promised_in_silence_and_to_those_who_know_as_much() {
        let lease = Duration::from_millis(500);
        let silence = Silence::new(lease);
        let start = Instant::now();
        assert!(
            silence.would_vote(log(2, 5), log(2, 5), start),
            "one that has just started has heard nobody"
        );
        silence.broken(start);
        let nearly = start + lease - Duration::from_millis(1);
        assert!(!silence.would_vote(log(9, 9), log(1, 1), start));
        assert!(!silence.would_vote(log(9, 9), log(1, 1), nearly));
        let over = start + lease;
        assert!(silence.would_vote(log(2, 5), log(2, 5), over));
        assert!(silence.would_vote(log(3, 1), log(2, 5), over));
        assert!(
            !silence.would_vote(log(2, 4), log(2, 5), over) && !silence.would_vote(None, log(1, 0), over)
        );
    }

    #[test]
    fn turns_are_counted_from_what_was_heard_last() {
        let lease = Duration::from_millis(500);
        let silence = Silence::new(lease);
        assert_eq!(silence.turn(0), silence.started + lease + MARGIN);
        let heard = silence.started + Duration::from_millis(200);
        silence.broken(heard);
        assert_eq!(silence.turn(2), heard + lease + MARGIN + TURN * 2);
    }
}
