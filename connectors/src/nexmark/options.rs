//! What a table says of its events: the options of the public generator, and what makes ours repeatable.

use std::num::NonZeroU64;

use chrono::NaiveDateTime;
use thalweg_graph::{options::MemorySize, table::TableDescriptor};

use super::kind::Kind;
use crate::{
    error::{Error, Result},
    numbered::Numbering,
    options::{self, Known, TableOptions, Takes, known},
};

const CONNECTOR: &str = "nexmark";

const OPTIONS: &[Known] = &[
    known("connector", Takes::Text),
    known("events.num", Takes::Number),
    known("stop-at", Takes::Text),
    known("keep-alive", Takes::Bool),
    known("first-event.rate", Takes::Number),
    known("next-event.rate", Takes::Number),
    known("max-emit-speed", Takes::Bool),
    known("rate.limited", Takes::Bool),
    known("rate.shape", Takes::OneOf(&["square", "sine"])),
    known("rate.period", Takes::Duration),
    known("person.proportion", Takes::Number),
    known("auction.proportion", Takes::Number),
    known("bid.proportion", Takes::Number),
    known("person.avg-size", Takes::Size),
    known("auction.avg-size", Takes::Size),
    known("bid.avg-size", Takes::Size),
    known("bid.hot-ratio.auctions", Takes::Number),
    known("bid.hot-ratio.bidders", Takes::Number),
    known("auction.hot-ratio.sellers", Takes::Number),
    known("table", Takes::OneOf(&["events", "person", "auction", "bid"])),
    known("base-time", Takes::Text),
    known("seed", Takes::Number),
    known("scan.parallelism", Takes::Number),
];

/// Events of each kind in a round of events: persons first, then auctions, then bids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proportions {
    /// Of all three.
    pub total: u64,
    /// Of each kind, by its number.
    pub of: [u64; 3],
}

impl Proportions {
    /// Where a kind's events begin in a round.
    pub fn offset(&self, kind: Kind) -> u64 {
        self.of[..kind as usize].iter().sum()
    }
}

/// A table's options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NexmarkOptions {
    /// How many events, and how fast.
    pub numbering: Numbering,
    /// Events a second of event time.
    pub rate: NonZeroU64,
    /// How many events are of which kind.
    pub proportions: Proportions,
    /// About how long an event of each kind is.
    pub bytes: [u32; 3],
    /// One bid of so many is not for the hot auction.
    pub hot_auctions: u32,
    /// One bid of so many is not of the hot bidder.
    pub hot_bidders: u32,
    /// One auction of so many is not of the hot seller.
    pub hot_sellers: u32,
    /// The one kind that the table has; `None` for all events, each kind a column of its own.
    pub only: Option<Kind>,
    /// The time of the first event, in milliseconds.
    pub base_ms: i64,
    /// Another seed, other events.
    pub seed: u64,
}

impl NexmarkOptions {
    /// Checks and reads the options of a table.
    pub fn of(table: &TableDescriptor) -> Result<Self> {
        options::check(CONNECTOR, &table.options, OPTIONS)?;
        let options = TableOptions(&table.options);
        let rate = positive(options, "first-event.rate", 10_000)?;
        let next = positive(options, "next-event.rate", rate.get())?;
        if next != rate {
            return Err(Error::Unsupported(format!(
                "a rate that changes is not supported: set `next-event.rate` to `first-event.rate`, {rate}"
            )));
        }
        let paced = options.is_set("rate.limited") || options.value::<bool>("max-emit-speed") == Some(false);
        let numbering = Numbering {
            end: end(options)?,
            rate: paced.then_some(rate.get()),
            stays: options.is_set("keep-alive"),
        };
        Ok(Self {
            numbering,
            rate,
            proportions: proportions(options)?,
            bytes: [("person", 200), ("auction", 500), ("bid", 100)].map(|(kind, default)| {
                let size = options.value::<MemorySize>(&format!("{kind}.avg-size"));
                size.map_or(default, |MemorySize(bytes)| u32::try_from(bytes).unwrap_or(u32::MAX))
            }),
            hot_auctions: ratio(options, "bid.hot-ratio.auctions", 2)?,
            hot_bidders: ratio(options, "bid.hot-ratio.bidders", 4)?,
            hot_sellers: ratio(options, "auction.hot-ratio.sellers", 4)?,
            only: options.text("table").and_then(Kind::named),
            base_ms: base_time(options)?,
            seed: options.value("seed").unwrap_or_default(),
        })
    }

    /// Whether the events come to an end.
    pub fn is_bounded(&self) -> bool {
        self.numbering.end.is_some() && !self.numbering.stays
    }
}

fn positive(options: TableOptions<'_>, name: &str, default: u64) -> Result<NonZeroU64> {
    NonZeroU64::new(options.value(name).unwrap_or(default))
        .ok_or_else(|| Error::InvalidOption(format!("option `{name}` cannot be 0")))
}

fn ratio(options: TableOptions<'_>, name: &str, default: u32) -> Result<u32> {
    let given = positive(options, name, default.into())?.get();
    u32::try_from(given)
        .map_err(|_| Error::InvalidOption(format!("option `{name}` cannot be more than {}", u32::MAX)))
}

/// The number of events; as in the public generator 0 and -1 say that there is no last one.
fn end(options: TableOptions<'_>) -> Result<Option<u64>> {
    let stop = options.text("stop-at").unwrap_or("-1");
    let stop: i64 = stop.trim().parse().map_err(|_| {
        Error::InvalidOption(format!("option `stop-at` cannot be `{stop}`: expected a whole number"))
    })?;
    let events = options.value::<u64>("events.num").filter(|events| *events > 0);
    Ok(events.into_iter().chain(u64::try_from(stop).ok()).min())
}

/// Larger ones would make a round too long to be made at once.
const PROPORTION_MAX: u64 = 1 << 20;

fn proportions(options: TableOptions<'_>) -> Result<Proportions> {
    let mut of = [1, 3, 46];
    for (proportion, kind) in of.iter_mut().zip(["person", "auction", "bid"]) {
        let name = format!("{kind}.proportion");
        *proportion = options.value(&name).unwrap_or(*proportion);
        // Bids are for auctions, which persons have offered.
        let least = if kind == "bid" { 0 } else { 1 };
        if !(least..=PROPORTION_MAX).contains(proportion) {
            return Err(Error::InvalidOption(format!(
                "option `{name}` cannot be {proportion}: expected a number from {least} to {PROPORTION_MAX}"
            )));
        }
    }
    Ok(Proportions { total: of.iter().sum(), of })
}

/// Like Apache Beam's Nexmark, so that every run has the same events.
const BASE_TIME: &str = "2015-07-15 00:00:00";

fn base_time(options: TableOptions<'_>) -> Result<i64> {
    let text = options.text("base-time").unwrap_or(BASE_TIME).trim();
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").map_err(|_| {
        Error::InvalidOption(format!(
            "option `base-time` cannot be `{text}`: expected a time such as `{BASE_TIME}`"
        ))
    })?;
    Ok(time.and_utc().timestamp_millis())
}
