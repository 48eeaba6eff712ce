//! Where data enters and leaves: file systems, formats, connectors.
//!
//! A table's `connector` option names what reads and writes it. Planning asks [`BuiltinConnectors`] through
//! `thalweg_plan::Connectors`; a stream's task reads through a [`source::SourceReader`] and opens its sink with [`sink::open`]; whoever leads the job makes the written files visible
//! with [`commit::commit`], or withdraws them with [`commit::abort`].
//!
//! Modules are listed lowest first; a module uses only those above it.

pub mod error;
mod random;
pub mod options;
pub mod file_system;
pub mod format;
pub mod checkpoint_storage;
pub mod source;
pub mod lookup;
pub mod writer;
pub mod filesystem;
pub mod numbered;
pub mod datagen;
pub mod nexmark;
pub mod kafka;
pub mod print;
pub mod blackhole;
pub mod builtin;
mod not_null;
pub mod sink;
pub mod commit;

pub use builtin::{BuiltinConnectors, ConnectorsConfig};
pub use error::Error;
