//! The `kafka` and `upsert-kafka` connectors: topics as tables.
//!
//! Everything that is said to a cluster goes through the client in `client`; docs/decisions/0006 tells why it is that one.

mod properties;
mod client;
pub mod options;
mod metadata;
mod columns;
mod topics;
mod offsets;
mod rows;
mod dead_letters;
mod poller;
mod reader;
mod table;
pub mod sink;

pub use self::{
    reader::open_reader,
    table::{KafkaTable, open},
};

use thalweg_graph::table::TableDescriptor;
use thalweg_plan::changes::Changes;

use self::{columns::Sides, options::KafkaOptions};
use crate::error::Result;

/// The files of this machine that a table names.
pub fn files_of(table: &TableDescriptor) -> impl Iterator<Item = &str> {
    FILES.iter().filter_map(|name| table.options.get(*name)).map(String::as_str)
}

const FILES: [&str; 3] =
    ["properties.ssl.ca.location", "properties.ssl.certificate.location", "properties.ssl.key.location"];

/// Checks a table's options, columns and metadata.
pub fn check(table: &TableDescriptor) -> Result<()> {
    let options = KafkaOptions::of(table)?;
    metadata::check(table)?;
    Sides::of(table, &options).map(|_| ())
}

/// What becomes of the rows of a table, read or written.
pub fn changes(table: &TableDescriptor) -> Result<Changes> {
    let options = KafkaOptions::of(table)?;
    Ok(match options.value.format.is_changelog() {
        true => Changes::All,
        false if options.is_upsert() => Changes::Upsert,
        false => Changes::Append,
    })
}

/// Whether a table's rows come to an end.
pub fn is_bounded(table: &TableDescriptor) -> Result<bool> {
    Ok(KafkaOptions::of(table)?.bounded.is_some())
}
