//! Bids.

use super::{
    events::{Events, FIRST_ID, HOT_EVERY, LEAD, OPEN_AUCTIONS, Values},
    run::{Run, each, events},
    texts::Texts,
};
use crate::random::{Sequence, below};

/// Channels with a number.
const CHANNELS: u32 = 10_000;
/// Every second bid comes through one of these.
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
/// Numbers and a time.
const FIXED_BYTES: u32 = 32;

/// Makes bids.
#[derive(Debug, Clone)]
pub struct Bids {
    /// Hot ones first.
    channels: Texts,
    /// One for each channel.
    urls: Texts,
}

impl Bids {
    /// Channels and addresses of a seed.
    pub fn new(seed: u64) -> Self {
        let random = Sequence::named(seed, "url");
        let hot = HOT_CHANNELS.iter().map(|name| (*name).to_owned());
        let numbered = (0..CHANNELS).map(|number| format!("channel-{number}"));
        let hot_urls = (0..HOT_CHANNELS.len() as u32).map(|number| address(random, CHANNELS + number));
        let urls = (0..CHANNELS).map(|number| {
            let address = address(random, number);
            let known = below(random.at(number.into()) as u32, 10) > 0;
            let id = (number.reverse_bits() as i32).unsigned_abs();
            if known { format!("{address}&channel_id={id}") } else { address }
        });
        Self { channels: Texts::of(hot.chain(numbered)), urls: Texts::of(hot_urls.chain(urls)) }
    }

    /// The values of a field.
    pub fn values(&self, bids: &Events, field: &str, runs: &[Run]) -> Values {
        let random = bids.random(field);
        match field {
            "auction" => Values::Numbers(auctions(bids, random, runs)),
            "bidder" => Values::Numbers(bidders(bids, random, runs)),
            "price" => Values::Numbers(each(runs, |_| |event| bids.price(random.at(event)))),
            "channel" => Values::Texts(self.channels.column(channels(bids, runs))),
            "url" => Values::Texts(self.urls.column(channels(bids, runs))),
            "dateTime" => Values::Times(bids.times(runs)),
            _ => Values::Texts(bids.extra("bid.extra", bids.options.bytes[2], FIXED_BYTES, runs)),
        }
    }
}

/// Most bids are for the hot auction, the others for any that is open or will be soon.
fn auctions(bids: &Events, random: Sequence, runs: &[Run]) -> Vec<i64> {
    let (of_round, ratio) = (bids.options.proportions.of[1], bids.options.hot_auctions);
    each(runs, |run| {
        let last = (run.round + 1) * of_round - 1;
        let hot = (last / HOT_EVERY * HOT_EVERY) as i64 + FIRST_ID;
        let first = last.saturating_sub(OPEN_AUCTIONS);
        let count = (last - first + 1 + LEAD) as u32;
        move |event| {
            let random = random.at(event);
            match below((random >> 32) as u32, ratio) > 0 {
                true => hot,
                false => first as i64 + i64::from(below(random as u32, count)) + FIRST_ID,
            }
        }
    })
}

/// Most bids are of the hot bidder, the person after the hot seller.
fn bidders(bids: &Events, random: Sequence, runs: &[Run]) -> Vec<i64> {
    let ratio = bids.options.hot_bidders;
    each(runs, |run| {
        let last = bids.last_person(run);
        let hot = (last / HOT_EVERY * HOT_EVERY) as i64 + 1 + FIRST_ID;
        move |event| {
            let random = random.at(event);
            match below((random >> 32) as u32, ratio) > 0 {
                true => hot,
                false => Events::any_person(last, random as u32),
            }
        }
    })
}

/// The number of each bid's channel, among all of them.
fn channels(bids: &Events, runs: &[Run]) -> impl Iterator<Item = u32> {
    let random = bids.random("channel");
    events(runs).map(move |event| {
        let (random, hot) = (random.at(event), HOT_CHANNELS.len() as u32);
        match random >> 63 {
            0 => below(random as u32, hot),
            _ => hot + below(random as u32, CHANNELS),
        }
    })
}

/// `https://www.nexmark.com/dir1/dir2/dir3/item.htm?query=1`
fn address(random: Sequence, number: u32) -> String {
    let mut address = "https://www.nexmark.com/".to_owned();
    for part in 0..3 {
        let mut random = random.at((1 << 40) + u64::from(number) * 4 + part);
        for _ in 0..3 + random % 2 {
            random = crate::random::mix(random);
            let special = below((random >> 32) as u32, 13) == 0;
            address.push(if special { '_' } else { char::from(b'a' + below(random as u32, 26) as u8) });
        }
        address.push('/');
    }
    address + "item.htm?query=1"
}
