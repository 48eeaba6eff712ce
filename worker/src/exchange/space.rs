//! The room in a queue: taken by what is put in, given back by what has left, within a bound that may change meanwhile.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Room for bytes.
pub struct Space {
    room: Mutex<Room>,
    /// Room was given back, the bound was changed, or nobody wants more.
    changed: Notify,
}

#[derive(Debug)]
struct Room {
    taken: usize,
    limit: usize,
    closed: bool,
}

/// Bytes that are taken until this is dropped.
pub struct Share {
    space: Arc<Space>,
    bytes: usize,
}

/// Nobody wants more.
#[derive(Debug)]
pub struct Closed;

impl Space {
    /// Room for so many bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { room: Mutex::new(Room { taken: 0, limit, closed: false }), changed: Notify::new() })
    }

    /// Takes room at once: all that is asked for where nothing else is in it, however much that is. `None` if there is not enough.
    pub fn try_take(self: &Arc<Self>, bytes: usize) -> Result<Option<Share>, Closed> {
        let mut room = self.room.lock();
        if room.closed {
            return Err(Closed);
        }
        if room.taken > 0 && room.taken.saturating_add(bytes) > room.limit {
            return Ok(None);
        }
        room.taken += bytes;
        Ok(Some(Share { space: Arc::clone(self), bytes }))
    }

    /// Takes room, after waiting for it.
    pub async fn take(self: &Arc<Self>, bytes: usize) -> Result<Share, Closed> {
        loop {
            // Made before looking: what changes after the look wakes it.
            let changed = self.changed.notified();
            if let Some(share) = self.try_take(bytes)? {
                return Ok(share);
            }
            changed.await;
        }
    }

    /// The bound.
    pub fn limit(&self) -> usize {
        self.room.lock().limit
    }

    /// Changes the bound. What is taken stays so.
    pub fn set_limit(&self, limit: usize) {
        let before = std::mem::replace(&mut self.room.lock().limit, limit);
        if limit > before {
            self.changed.notify_waiters();
        }
    }

    /// Says that nobody wants more: who waits for room is told.
    pub fn close(&self) {
        self.room.lock().closed = true;
        self.changed.notify_waiters();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.space.room.lock().taken -= self.bytes;
        self.space.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn a_bound_may_change_while_somebody_waits() {
        let space = Space::new(100);
        let first = space.take(80).await.unwrap();
        let mut second = Box::pin(space.take(80));
        assert!(poll!(second.as_mut()).is_pending());
        space.set_limit(10);
        assert!(poll!(second.as_mut()).is_pending());
        space.set_limit(160);
        let second = second.await.unwrap();
        // Less than is taken: nobody else comes in until all have left, and then one, however large.
        space.set_limit(10);
        let mut third = Box::pin(space.take(20));
        drop(first);
        assert!(poll!(third.as_mut()).is_pending());
        drop(second);
        let _third = third.await.unwrap();
        let mut fourth = Box::pin(space.take(1));
        assert!(poll!(fourth.as_mut()).is_pending());
        space.close();
        assert!(fourth.await.is_err());
    }
}
