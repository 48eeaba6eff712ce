//! Why a job waits for slots, in words.

use std::{fmt, sync::Arc};

/// Why a job does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// Slots that must be free at once.
    pub needed: u32,
    /// Slots that are free.
    pub free: u32,
    /// All slots.
    pub total: u32,
    /// Registered workers.
    pub workers: u32,
    /// What its queue has to say.
    pub queue: Option<QueueFull>,
}

/// A queue without room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueFull {
    /// Its jobs hold as many slots as they may.
    Slots {
        /// Which.
        queue: Arc<str>,
        /// Slots that they hold.
        held: u32,
        /// Those that they may.
        max: u32,
    },
    /// As many jobs run as may.
    Jobs {
        /// Which.
        queue: Arc<str>,
        /// So many.
        max: u32,
    },
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortfall { needed, free, total, workers, queue } = self;
        let slots = if *needed == 1 { "slot" } else { "slots" };
        match queue {
            Some(QueueFull::Slots { queue, held, max }) => {
                return write!(f, "needs {needed} {slots}, queue `{queue}` holds {held} of its {max}");
            }
            Some(QueueFull::Jobs { queue, max }) => {
                let jobs = if *max == 1 { "job runs" } else { "jobs run" };
                return write!(f, "waits for its turn: in queue `{queue}` {max} {jobs} at a time");
            }
            None => {}
        }
        let are = if *free == 1 { "is" } else { "are" };
        let on = if *workers == 1 { "worker" } else { "workers" };
        write!(f, "needs {needed} {slots}, {free} {are} free on {workers} {on}")?;
        match total >= needed {
            true => write!(f, " ({total} in all, held by other jobs)"),
            false => Ok(()),
        }
    }
}
