//! Joins each row with the version of another row that was valid at its time.
//!
//! Rows of the left side wait until event time has passed them; of the right side the versions are kept by key, in the order of the
//! times at which they begin, and thrown out when none that comes can ask for them any more.

mod versions;
mod operator;
#[cfg(test)]
mod tests;

pub use operator::{TemporalJoin, TemporalPlan};
pub use versions::Versions;
