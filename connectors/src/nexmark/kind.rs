//! The kinds of events, and the fields that each has.

use arrow::datatypes::{DataType, TimeUnit};

/// What an event is about. Its number is what the column `event_type` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A new person.
    Person = 0,
    /// A new auction, offered by a person.
    Auction = 1,
    /// A bid of a person for an auction.
    Bid = 2,
}

/// All of them, by number.
pub const KINDS: [Kind; 3] = [Kind::Person, Kind::Auction, Kind::Bid];

/// A field's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// `BIGINT`
    Number,
    /// `STRING`
    Text,
    /// `TIMESTAMP(3)`, with or without the local time zone.
    Time,
}

/// A field's name and type.
pub type Field = (&'static str, FieldType);

use FieldType::{Number, Text, Time};

const PERSON: &[Field] = &[
    ("id", Number),
    ("name", Text),
    ("emailAddress", Text),
    ("creditCard", Text),
    ("city", Text),
    ("state", Text),
    ("dateTime", Time),
    ("extra", Text),
];

const AUCTION: &[Field] = &[
    ("id", Number),
    ("itemName", Text),
    ("description", Text),
    ("initialBid", Number),
    ("reserve", Number),
    ("dateTime", Time),
    ("expires", Time),
    ("seller", Number),
    ("category", Number),
    ("extra", Text),
];

const BID: &[Field] = &[
    ("auction", Number),
    ("bidder", Number),
    ("price", Number),
    ("channel", Text),
    ("url", Text),
    ("dateTime", Time),
    ("extra", Text),
];

impl Kind {
    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        KINDS.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// Its name: that of its column, too.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Person => "person",
            Kind::Auction => "auction",
            Kind::Bid => "bid",
        }
    }

    /// Its fields.
    pub fn fields(self) -> &'static [Field] {
        match self {
            Kind::Person => PERSON,
            Kind::Auction => AUCTION,
            Kind::Bid => BID,
        }
    }
}

impl FieldType {
    /// Whether values of this type can be given out as `data_type`.
    pub fn fits(self, data_type: &DataType) -> bool {
        match self {
            Number => *data_type == DataType::Int64,
            Text => *data_type == DataType::Utf8View,
            Time => matches!(data_type, DataType::Timestamp(TimeUnit::Millisecond, _)),
        }
    }

    /// What SQL calls it.
    pub fn sql(self) -> &'static str {
        match self {
            Number => "BIGINT",
            Text => "STRING",
            Time => "TIMESTAMP(3)",
        }
    }
}
