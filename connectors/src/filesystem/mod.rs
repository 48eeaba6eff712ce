//! The `filesystem` connector: tables that are folders of files.

pub mod partition;
pub mod partition_time;
pub mod options;
pub mod metadata;
pub mod files;
pub mod splits;
pub mod bucket;
pub mod table;
pub mod reader;
pub mod lookup;
pub mod watched;
pub mod sink;
