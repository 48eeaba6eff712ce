//! Flink's built-in functions, by their Flink names and with their semantics.
//!
//! [`register`] fills a DataFusion registry, for planning as well as for the workers that decode plans by function name.
//! What needs more than a function (operators, casts, SQL forms such as `CEIL(x TO DAY)`) is in [`operators`], [`conversion`]
//! and [`syntax`]. One folder per family; each family lists its functions in one table.
//!
//! Modules are listed lowest first; a module uses only those above it.

pub mod argument;
pub mod builtin;
pub mod reuse;
pub mod zone;
pub mod moment;
pub mod conversion;
pub mod string;
pub mod temporal;
pub mod math;
pub mod conditional;
pub mod hash;
pub mod collection;
pub mod json;
pub mod window;
pub mod aggregate;
pub mod operators;
pub mod syntax;

mod catalog;

pub use builtin::Family;
pub use catalog::{FunctionDoc, expr_planners, find, is_callable, names, register};
