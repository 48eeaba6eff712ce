//! How the dispatcher has something decided.

use openraft::{
    Raft,
    error::{ClientWriteError, ForwardToLeader},
};
use tokio::sync::mpsc;

use super::{command::Command, state::Refusal, types::TypeConfig};

/// Why something was not decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// It was decided and changes nothing.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Another member leads, or none for the time being.
    #[error("this member does not lead")]
    NotLeader {
        /// Where the one is that does.
        leader: Option<String>,
    },
    /// The member stops. Whether it was decided is not known.
    #[error("this member stops")]
    Stopped,
}

/// Called once it is known whether something was decided.
pub type Decided = Box<dyn FnOnce(Result<(), Undecided>) + Send>;

/// Who decides.
pub enum Quorum {
    /// The dispatcher itself: there is no other member, and nothing is kept.
    Alone,
    /// The members of a quorum.
    Member(Proposer),
}

/// Brings proposals to the leader of a quorum, which this member is believed to be.
#[derive(Clone)]
pub struct Proposer(mpsc::UnboundedSender<(Command, Decided)>);

/// Proposals on their way to a member.
pub struct Proposals(mpsc::UnboundedReceiver<(Command, Decided)>);

impl Proposer {
    /// A way to a member that is still to be started.
    pub fn pair() -> (Self, Proposals) {
        // Not bounded here: a client's proposals wait for their answers, and a job has few of its own.
        let (proposals, queue) = mpsc::unbounded_channel();
        (Self(proposals), Proposals(queue))
    }

    /// Proposes something.
    pub fn propose(&self, command: Command, decided: Decided) {
        if let Err(mpsc::error::SendError((_, decided))) = self.0.send((command, decided)) {
            decided(Err(Undecided::Stopped));
        }
    }
}

/// Brings proposals to a member, in the order in which they come.
pub(super) async fn propose(raft: Raft<TypeConfig>, mut proposals: Proposals) {
    while let Some((command, decided)) = proposals.0.recv().await {
        let answer = match raft.client_write_ff(command).await {
            Ok(answer) => answer,
            Err(_) => {
                decided(Err(Undecided::Stopped));
                continue;
            }
        };
        tokio::spawn(async move {
            decided(match answer.await {
                Ok(Ok(response)) => response.data.map_err(Undecided::Refused),
                Ok(Err(ClientWriteError::ForwardToLeader(ForwardToLeader { leader_node, .. }))) => {
                    Err(Undecided::NotLeader { leader: leader_node.map(|node| node.addr) })
                }
                Ok(Err(ClientWriteError::ChangeMembershipError(_))) | Err(_) => Err(Undecided::Stopped),
            });
        });
    }
}
