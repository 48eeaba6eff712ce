//! `OVER` in the order of event time: each row's aggregates over the rows of its key before it.
//!
//! `frame` says which rows those are, `key` keeps them and their accumulators, [`Over`] holds rows until event time has passed them and
//! then takes them in order.

mod frame;
mod key;
mod operator;
#[cfg(test)]
mod tests;

pub use frame::{Frame, Function, functions_of};
pub use operator::{Over, Shape};
