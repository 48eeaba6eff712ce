//! Auctions.

use super::{
    events::{Events, FIRST_ID, HOT_EVERY, OPEN_AUCTIONS, Values},
    run::{Run, each, events},
    texts::Letters,
};
use crate::random::{Sequence, below};

const FIRST_CATEGORY: i64 = 10;
const CATEGORIES: u32 = 5;
/// Numbers and times, and names and descriptions of middling length.
const FIXED_BYTES: u32 = 48 + 11 + 51;
/// One of so many letters of a name or description is a space.
const SPACES: u32 = 13;

/// Makes auctions.
#[derive(Debug, Clone)]
pub struct Auctions {
    words: Letters,
}

impl Auctions {
    /// Words of a seed.
    pub fn new(seed: u64) -> Self {
        Self { words: Letters::new(seed, SPACES) }
    }

    /// The values of a field.
    pub fn values(&self, auctions: &Events, field: &str, runs: &[Run]) -> Values {
        let random = auctions.random(&format!("auction.{field}"));
        let initial = auctions.random("auction.initialBid");
        let randoms = events(runs).map(|event| random.at(event));
        match field {
            "id" => Values::Numbers(ids(auctions, runs)),
            "itemName" => Values::Texts(self.words.column(randoms, 3, 17)),
            "description" => Values::Texts(self.words.column(randoms, 3, 97)),
            "initialBid" => Values::Numbers(each(runs, |_| |event| auctions.price(initial.at(event)))),
            "reserve" => Values::Numbers(each(runs, |_| {
                |event| auctions.price(initial.at(event)) + auctions.price(random.at(event))
            })),
            "dateTime" => Values::Times(auctions.times(runs)),
            "expires" => Values::Times(expiries(auctions, random, runs)),
            "seller" => Values::Numbers(sellers(auctions, random, runs)),
            "category" => Values::Numbers(each(runs, |_| {
                |event| FIRST_CATEGORY + i64::from(below(random.at(event) as u32, CATEGORIES))
            })),
            _ => {
                let average = auctions.options.bytes[1];
                Values::Texts(auctions.extra("auction.extra", average, FIXED_BYTES, runs))
            }
        }
    }
}

fn ids(auctions: &Events, runs: &[Run]) -> Vec<i64> {
    let of_round = auctions.options.proportions.of[1];
    each(runs, |run| {
        let first = (run.round * of_round + run.place) as i64 + FIRST_ID;
        let event_first = run.event;
        move |event| first + (event - event_first) as i64
    })
}

/// Most auctions are of the hot seller, the others of any person around.
fn sellers(auctions: &Events, random: Sequence, runs: &[Run]) -> Vec<i64> {
    let ratio = auctions.options.hot_sellers;
    each(runs, |run| {
        let last = auctions.last_person(run);
        let hot = (last / HOT_EVERY * HOT_EVERY) as i64 + FIRST_ID;
        move |event| {
            let random = random.at(event);
            match below((random >> 32) as u32, ratio) > 0 {
                true => hot,
                false => Events::any_person(last, random as u32),
            }
        }
    })
}

/// An auction lasts, on average, as long as it takes to offer the number of auctions that are open at any time.
fn expiries(auctions: &Events, random: Sequence, runs: &[Run]) -> Vec<i64> {
    let proportions = &auctions.options.proportions;
    let ahead = OPEN_AUCTIONS * proportions.total / proportions.of[1];
    each(runs, |_| {
        |event| {
            let time = auctions.time(event);
            let horizon = auctions.time(event + ahead) - time;
            let lasts = below(random.at(event) as u32, u32::try_from(horizon * 2).unwrap_or(u32::MAX).max(1));
            time + 1 + i64::from(lasts)
        }
    })
}
