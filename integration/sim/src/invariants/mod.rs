//! What must hold in every life, a file each. Pure: events in, a sentence out where one breaks it.

mod checkpoint_once;
mod no_old_epoch;
mod no_submission_lost;
mod one_leader_per_term;
mod rows_once;
mod runs_once;
mod slot_given_once;
#[cfg(test)]
mod tests;

use crate::event::Event;

/// Something that must hold.
pub trait Invariant: Send {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// Takes note of what was seen; says what is wrong with it.
    fn see(&mut self, event: &Event) -> Result<(), String>;

    /// The life is over: every job has ended and the client has gone.
    fn end(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// All of them.
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<one_leader_per_term::OneLeaderPerTerm>::default(),
        Box::<no_submission_lost::NoSubmissionLost>::default(),
        Box::<runs_once::RunsOnce>::default(),
        Box::<rows_once::RowsOnce>::default(),
        Box::<slot_given_once::SlotGivenOnce>::default(),
        Box::<no_old_epoch::NoOldEpoch>::default(),
        Box::<checkpoint_once::CheckpointOnce>::default(),
    ]
}
