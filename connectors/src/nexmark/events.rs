//! What the events of all kinds have in common: time, prices, who and what is around at an event.

use super::{
    options::NexmarkOptions,
    run::{Run, each},
    texts::{Letters, TextColumn, filling},
};
use crate::random::{Sequence, below, fraction};

/// Ids begin here.
pub const FIRST_ID: i64 = 1_000;
/// One of so many persons and auctions is hot for a while.
pub const HOT_EVERY: u64 = 100;
/// Auctions that are taken to be open at any time.
pub const OPEN_AUCTIONS: u64 = 100;
/// Persons that are taken to bid and sell at any time.
const ACTIVE_PERSONS: u64 = 1_000;
/// Ids that are used before their person or auction comes, as when events have changed places.
pub const LEAD: u64 = 10;

/// Prices rise by this factor from one entry of the table to the next: a thousand-and-twenty-fourth of six powers of ten.
const PRICE_STEP: f64 = 1.013_583_133_334_065_8;
const PRICE_STEPS: usize = 1_024;

/// Makes the values of events.
#[derive(Debug, Clone)]
pub struct Events {
    /// How they are asked to be.
    pub options: NexmarkOptions,
    /// The letters of texts without spaces.
    pub letters: Letters,
    prices: Vec<f64>,
}

/// The values of a field.
#[derive(Debug, Clone)]
pub enum Values {
    /// Numbers.
    Numbers(Vec<i64>),
    /// Milliseconds.
    Times(Vec<i64>),
    /// Texts.
    Texts(TextColumn),
}

impl Events {
    /// Events by these options.
    pub fn new(options: NexmarkOptions) -> Self {
        // Multiplied up, since powers are not the same to the last bit everywhere.
        let prices = std::iter::successors(Some(100.0), |price| Some(price * PRICE_STEP));
        let prices = prices.take(PRICE_STEPS + 2).collect();
        Self { letters: Letters::new(options.seed, 0), prices, options }
    }

    /// The random numbers of a field.
    pub fn random(&self, field: &str) -> Sequence {
        Sequence::named(self.options.seed, field)
    }

    /// The time of an event.
    pub fn time(&self, event: u64) -> i64 {
        let passed = u128::from(event) * 1_000 / u128::from(self.options.rate.get());
        self.options.base_ms.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }

    /// The times of events. Divides once for a run.
    pub fn times(&self, runs: &[Run]) -> Vec<i64> {
        let rate = self.options.rate.get();
        let (step, rest) = ((1_000 / rate) as i64, 1_000 % rate);
        each(runs, |run| {
            let mut time = self.time(run.event);
            let mut part = (u128::from(run.event) * 1_000 % u128::from(rate)) as u64;
            move |_| {
                let now = time;
                time += step;
                part += rest;
                if part >= rate {
                    part -= rate;
                    time += 1;
                }
                now
            }
        })
    }

    /// A price, spread evenly over the powers of ten from 1 to a million dollars, in cents.
    #[inline]
    pub fn price(&self, random: u64) -> i64 {
        let place = fraction(random) * PRICE_STEPS as f64;
        let (low, high) = (self.prices[place as usize], self.prices[place as usize + 1]);
        (low + (high - low) * place.fract() + 0.5) as i64
    }

    /// The last person that came up to a run of auctions or bids.
    pub fn last_person(&self, run: &Run) -> u64 {
        (run.round + 1) * self.options.proportions.of[0] - 1
    }

    /// Any of the persons around, or one that is to come soon.
    #[inline]
    pub fn any_person(last: u64, random: u32) -> i64 {
        let active = (last + 1).min(ACTIVE_PERSONS);
        let chosen = u64::from(below(random, (active + LEAD) as u32));
        (last + 1 - active + chosen) as i64 + FIRST_ID
    }

    /// Texts that bring events to the length that their kind has on average.
    pub fn extra(&self, field: &str, average: u32, used: u32, runs: &[Run]) -> TextColumn {
        let (random, (min, span)) = (self.random(field), filling(average, used));
        self.letters.column(super::run::events(runs).map(|event| random.at(event)), min, span)
    }
}
