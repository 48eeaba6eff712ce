//! Of tables that tell only the new row of a key: the row before it is taken back too.
//!
//! The last row of each key is kept (`operator`); where not all fit into memory, those of keys that did not come lately are on the disk
//! (`residence`).

mod cold;
mod operator;
mod residence;
#[cfg(test)]
mod tests;

pub use operator::ChangelogNormalize;
