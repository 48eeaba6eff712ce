//! Sessions: rows of the same keys without a pause.
//!
//! `sessions` knows which are open and merges two when a row joins them; `keys` numbers keys. [`SessionAggregate`] keeps aggregates
//! of sessions, [`AssignSessions`] their rows. A session comes out when no row can join it any more, a gap after its last row. A row
//! exactly a gap after the last one still does: so event time behind these operators is one millisecond behind that before them.

mod keys;
mod sessions;
mod aggregate;
mod assign;
#[cfg(test)]
mod tests;

pub use aggregate::SessionAggregate;
pub use assign::{AssignSessions, Shape};
pub use keys::Keys;

use crate::watermark::Watermark;

/// How far event time is behind an operator of sessions.
fn held_back(watermark: Watermark) -> Watermark {
    if watermark == Watermark::END { watermark } else { Watermark(watermark.0.saturating_sub(1)) }
}
