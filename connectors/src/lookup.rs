//! What a stream's rows look up a table through.
//!
//! A source gives all rows of its table; who looks up keeps them by key and asks again as often as the table's options say. A system
//! that finds rows by key itself would be asked for the rows of some keys instead.

use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use thalweg_graph::table::TableDescriptor;

use crate::{
    error::{Error, Result},
    options::{Known, TableOptions, Takes, known},
};

/// The options of tables that are looked up whole.
pub const FULL_CACHE_OPTIONS: &[Known] = &[
    known("lookup.cache", Takes::OneOf(&["NONE", "PARTIAL", "FULL"])),
    known("lookup.max-retries", Takes::Number),
    known("lookup.full-cache.reload-strategy", Takes::OneOf(&["PERIODIC", "TIMED"])),
    known("lookup.full-cache.periodic-reload.interval", Takes::Duration),
    known("lookup.full-cache.periodic-reload.schedule-mode", Takes::OneOf(&["FIXED_DELAY", "FIXED_RATE"])),
    known("lookup.full-cache.timed-reload.iso-time", Takes::Refused(PERIODIC_ONLY)),
    known("lookup.full-cache.timed-reload.interval-in-days", Takes::Refused(PERIODIC_ONLY)),
    known("lookup.partial-cache.expire-after-access", Takes::Refused(FULL_ONLY)),
    known("lookup.partial-cache.expire-after-write", Takes::Refused(FULL_ONLY)),
    known("lookup.partial-cache.cache-missing-key", Takes::Refused(FULL_ONLY)),
    known("lookup.partial-cache.max-rows", Takes::Refused(FULL_ONLY)),
];

const PERIODIC_ONLY: &str = "set `lookup.full-cache.periodic-reload.interval`";
const FULL_ONLY: &str = "no row is found by its key without reading all: set `lookup.cache` to `FULL`";

/// How often a load that fails is tried again.
const RETRIES: u64 = 3;

/// A table that is looked up.
#[async_trait]
pub trait LookupSource: Send + Sync {
    /// All rows of the table as it is now, with the columns that are wanted.
    async fn rows(&self) -> Result<Vec<RecordBatch>>;
}

/// How a table's rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FullCache {
    /// After how long they are read again; never where not given.
    pub reload_interval: Option<Duration>,
    /// Whether that is counted from the beginning of the last reading rather than from its end.
    pub at_fixed_rate: bool,
    /// How often a reading that fails is tried again.
    pub max_retries: u64,
}

impl FullCache {
    /// What a table's options say.
    pub fn of(table: &TableDescriptor) -> Result<Self> {
        let given = TableOptions(&table.options);
        let is =
            |name: &str, word: &str| given.text(name).is_some_and(|text| text.eq_ignore_ascii_case(word));
        if given.text("lookup.cache").is_some() && !is("lookup.cache", "FULL") {
            return Err(Error::Unsupported(format!(
                "table {} cannot be looked up with `lookup.cache` = `{}`: {FULL_ONLY}",
                table.path,
                given.text("lookup.cache").unwrap_or_default()
            )));
        }
        if is("lookup.full-cache.reload-strategy", "TIMED") {
            return Err(Error::Unsupported(format!(
                "`lookup.full-cache.reload-strategy` = `TIMED` of table {} is not supported: {PERIODIC_ONLY}",
                table.path
            )));
        }
        let interval: Option<Duration> = given.value("lookup.full-cache.periodic-reload.interval");
        Ok(Self {
            reload_interval: interval.filter(|interval| !interval.is_zero()),
            at_fixed_rate: is("lookup.full-cache.periodic-reload.schedule-mode", "FIXED_RATE"),
            max_retries: given.value("lookup.max-retries").unwrap_or(RETRIES),
        })
    }
}
