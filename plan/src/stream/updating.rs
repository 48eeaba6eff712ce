//! The operators of updating queries as a worker receives them.
//!
//! Expressions are over a row's columns without its weight. Whether rows have weights, their columns say ([`super::changelog`]).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An aggregation without windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupAggregateSpec {
    /// Keys, aggregates and their filters: an `AggregateExec` over the columns of the rows.
    pub plan: Bytes,
    /// Which part of it this is.
    pub phase: GroupPhase,
    /// The columns put out, keys before aggregates, as an `EmptyExec`.
    pub columns: Bytes,
}

/// A part of an aggregation without windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupPhase {
    /// All of it: of rows the results.
    Single,
    /// Gathers rows, and puts out [partial aggregates](super::partial) of them.
    Local(MiniBatch),
    /// Of partial aggregates the results.
    Global {
        /// Whether they are of rows that are taken back too.
        updating: bool,
    },
}

/// How much is gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MiniBatch {
    /// For how long at most.
    pub wait_ms: u64,
    /// How many rows at most.
    pub rows: u64,
}

/// A part of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SortKey {
    /// What it is ordered by.
    pub expression: Bytes,
    /// The greatest first.
    pub descending: bool,
    /// NULL before everything else.
    pub nulls_first: bool,
}

/// The first rows in an order, of all or of each partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopNSpec {
    /// Rows that are equal in these are of one partition.
    pub partition_by: Vec<Bytes>,
    /// The order; of equal rows the first one that came is the first.
    pub order_by: Vec<SortKey>,
    /// So many rows at the front are left out.
    pub skip: u64,
    /// So many rows behind them are kept.
    pub fetch: u64,
    /// Whether a row's place, from one, is a column behind its own.
    pub with_rank: bool,
    /// The columns put out, as an `EmptyExec`.
    pub columns: Bytes,
}

/// Functions over whole partitions of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverPartitionsSpec {
    /// A window operator over an `EmptyExec`, which all rows of some partitions take the place of.
    pub plan: Bytes,
    /// Rows that are equal in these are of one partition.
    pub keys: Vec<Bytes>,
    /// Given where what is computed for a row is known when event time has passed it.
    pub settled: Option<Settled>,
    /// The columns put out: those of rows, then the functions, as an `EmptyExec`.
    pub columns: Bytes,
}

/// Functions of the rows before a row in the order of event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The column with a row's time.
    pub time: u32,
    /// So many rows before a row are looked at; all of them where not given.
    pub history: Option<u64>,
}

/// What a query that ends answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalResultSpec {
    /// The order of its rows.
    pub order_by: Vec<SortKey>,
    /// So many rows at the front are left out.
    pub skip: u64,
    /// So many rows behind them are kept; all where not given.
    pub fetch: Option<u64>,
    /// The columns put out, as an `EmptyExec`.
    pub columns: Bytes,
}

/// A join of all rows of two streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinSpec {
    /// What is put out.
    pub kind: JoinKind,
    /// What must be equal: of the left side.
    pub left_keys: Vec<Bytes>,
    /// The same of the right side, of the same types.
    pub right_keys: Vec<Bytes>,
    /// Whether NULL equals NULL.
    pub nulls_equal: bool,
    /// What must hold besides, over the columns of the left side and behind them those of the right.
    pub filter: Option<Bytes>,
    /// The columns put out, as an `EmptyExec`.
    pub columns: Bytes,
}

/// Which rows a join puts out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinKind {
    /// Pairs.
    Inner,
    /// Pairs, and rows of the left side without a partner.
    Left,
    /// Pairs, and rows of the right side without a partner.
    Right,
    /// Pairs, and rows of both sides without a partner.
    Full,
    /// Rows of the left side that have a partner.
    LeftSemi,
    /// Rows of the left side that have none.
    LeftAnti,
    /// Rows of the right side that have a partner.
    RightSemi,
    /// Rows of the right side that have none.
    RightAnti,
}

impl JoinKind {
    /// Whether pairs come out.
    pub fn gives_pairs(self) -> bool {
        matches!(self, Self::Inner | Self::Left | Self::Right | Self::Full)
    }

    /// Whether a row may be put out because it has no partner, and taken back when it gets one.
    pub fn takes_back(self) -> bool {
        !matches!(self, Self::Inner | Self::LeftSemi | Self::RightSemi)
    }
}
