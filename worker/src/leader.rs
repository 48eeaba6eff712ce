//! Whom a worker tells what its tasks do: the leader, through the session that there is at the moment.

use std::time::Duration;

use parking_lot::Mutex;
use thalweg_rpc::ToLeader;
use tokio::sync::mpsc;

/// A leader that does not take a message in this time will be told when it is back.
const TELL_TIMEOUT: Duration = Duration::from_secs(10);

/// The session with the leader, while there is one.
#[derive(Debug, Default)]
pub struct Leader(Mutex<Option<mpsc::Sender<ToLeader>>>);

impl Leader {
    /// A session begins.
    pub fn connect(&self, session: mpsc::Sender<ToLeader>) {
        *self.0.lock() = Some(session);
    }

    /// The session is over.
    pub fn disconnect(&self) {
        *self.0.lock() = None;
    }

    /// The session of the moment.
    pub fn session(&self) -> Option<mpsc::Sender<ToLeader>> {
        self.0.lock().clone()
    }

    /// Tells the leader something, if it listens.
    pub async fn tell(&self, message: ToLeader) {
        let Some(session) = self.session() else { return };
        if session.send_timeout(message, TELL_TIMEOUT).await.is_err() {
            tracing::debug!("the leader does not listen; it will be told when it is back");
        }
    }
}
