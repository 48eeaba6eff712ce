//! The `filesystem` connector: tables that are folders of files.

pub mod options;
pub mod partition;
pub mod metadata;
pub mod files;
pub mod splits;
pub mod table;
pub mod reader;
pub mod lookup;
pub mod sink;
