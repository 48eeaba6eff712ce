//! Persons.

use super::{
    events::{Events, FIRST_ID, Values},
    run::{Run, each, events},
    texts::{TextBuilder, TextColumn, Texts},
};
use crate::random::{Sequence, below, mix};

const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] =
    ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: [&str; 10] = [
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
/// Id, and texts of middling length.
const FIXED_BYTES: u32 = 8 + 12 + 14 + 19 + 8 + 2;

/// Makes persons.
#[derive(Debug, Clone)]
pub struct Persons {
    names: Texts,
    cities: Texts,
    states: Texts,
}

impl Persons {
    /// The names that there are.
    pub fn new() -> Self {
        let names =
            FIRST_NAMES.iter().flat_map(|first| LAST_NAMES.iter().map(move |last| format!("{first} {last}")));
        let owned = |texts: &[&str]| Texts::of(texts.iter().map(|text| (*text).to_owned()));
        Self { names: Texts::of(names), cities: owned(&CITIES), states: owned(&STATES) }
    }

    /// The values of a field.
    pub fn values(&self, persons: &Events, field: &str, runs: &[Run]) -> Values {
        let random = persons.random(&format!("person.{field}"));
        let one_of = |texts: &Texts| {
            let count = texts.len();
            texts.column(events(runs).map(|event| below(random.at(event) as u32, count)))
        };
        match field {
            "id" => Values::Numbers(ids(persons, runs)),
            "name" => Values::Texts(one_of(&self.names)),
            "emailAddress" => Values::Texts(emails(random, runs)),
            "creditCard" => Values::Texts(credit_cards(random, runs)),
            "city" => Values::Texts(one_of(&self.cities)),
            "state" => Values::Texts(one_of(&self.states)),
            "dateTime" => Values::Times(persons.times(runs)),
            _ => Values::Texts(persons.extra("person.extra", persons.options.bytes[0], FIXED_BYTES, runs)),
        }
    }
}

fn ids(persons: &Events, runs: &[Run]) -> Vec<i64> {
    let of_round = persons.options.proportions.of[0];
    each(runs, |run| {
        let first = (run.round * of_round + run.place) as i64 + FIRST_ID;
        let event_first = run.event;
        move |event| first + (event - event_first) as i64
    })
}

/// `abcd@efg.com`
fn emails(random: Sequence, runs: &[Run]) -> TextColumn {
    let mut texts = TextBuilder::default();
    let mut text = Vec::new();
    for event in events(runs) {
        text.clear();
        let mut random = random.at(event);
        let mut word = |text: &mut Vec<u8>, lengths: u64| {
            for _ in 0..3 + mix(random) % lengths {
                random = mix(random.wrapping_add(1));
                text.push(b'a' + below(random as u32, 26) as u8);
            }
        };
        word(&mut text, 4);
        text.push(b'@');
        word(&mut text, 2);
        text.extend_from_slice(b".com");
        texts.push(&text);
    }
    texts.finish()
}

/// `1234 5678 9012 3456`
fn credit_cards(random: Sequence, runs: &[Run]) -> TextColumn {
    let mut texts = TextBuilder::default();
    for event in events(runs) {
        let mut digits = random.at(event);
        let mut text = *b"0000 0000 0000 0000";
        for digit in text.iter_mut().filter(|character| **character != b' ') {
            *digit = b'0' + (digits % 10) as u8;
            digits /= 10;
        }
        texts.push(&text);
    }
    texts.finish()
}
