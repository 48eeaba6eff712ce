//! A streaming vertex as a worker receives it.
//!
//! Pieces that DataFusion knows are plans over an `EmptyExec` of the input's columns, encoded like the fragments of a batch
//! ([`crate::exec::codec`]): they carry expressions, aggregates and schemas, and are taken apart rather than executed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thalweg_graph::EdgeId;

use crate::panes::{Panes, WindowBound};

/// A head and the operators behind it, in the order in which rows pass them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamFragment {
    /// Where rows come from.
    pub head: Head,
    /// What is done with them.
    pub chain: Vec<OperatorSpec>,
}

/// Where a vertex's rows come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Head {
    /// A scan, whose splits stand beside the fragment. Subtask `i` runs its partition `i`.
    Source {
        /// Names the positions of its splits in a checkpoint, as [`OperatorSpec::uid`] does an operator's state.
        uid: String,
        /// The scan.
        plan: Bytes,
    },
    /// Other vertices, over all these edges alike.
    Edges {
        /// The edges.
        edges: Vec<EdgeId>,
        /// Their columns, as an `EmptyExec`.
        columns: Bytes,
    },
    /// Two kinds of rows, put together by an operator that stands before the chain.
    Pair {
        /// Rows of the left side.
        left: PairInput,
        /// Rows of the right side.
        right: PairInput,
        /// Names its state.
        uid: String,
        /// Its name, for people.
        name: String,
        /// What it does.
        kind: PairKind,
    },
}

/// One side of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairInput {
    /// The edges over which its rows come.
    pub edges: Vec<EdgeId>,
    /// Its columns, as an `EmptyExec`.
    pub columns: Bytes,
}

/// What an operator of two inputs does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PairKind {}

/// One operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorSpec {
    /// Names its state in a checkpoint. The same in a job that is planned again, and as far as possible in one whose query was edited.
    pub uid: String,
    /// Its name, for people.
    pub name: String,
    /// What it does.
    pub kind: OperatorKind,
}

/// What an operator does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperatorKind {
    /// Filters and computes columns, row by row.
    Calc {
        /// `FilterExec` and `ProjectionExec` on each other.
        plan: Bytes,
    },
    /// Says how far event time has come.
    Watermarks {
        /// An expression over a row's columns: no row that follows will be as early. Its type is that of a time column.
        expression: Bytes,
    },
    /// Puts a row into each of its windows, with their borders as columns behind its own.
    AssignWindows {
        /// The column with the row's time.
        time: u32,
        /// The windows.
        windows: Panes,
        /// The columns added.
        bounds: Vec<WindowBound>,
        /// All columns, as an `EmptyExec`.
        columns: Bytes,
    },
    /// Aggregates windows and puts each out once, when it is complete.
    WindowAggregate(Box<WindowAggregateSpec>),
}

/// An aggregation by windows and keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowAggregateSpec {
    /// Keys, aggregates and their filters: an `AggregateExec` over the columns of the rows.
    pub plan: Bytes,
    /// The windows.
    pub windows: Panes,
    /// Its part of the work.
    pub phase: Phase,
    /// What each column put out is; not used by `Local`.
    pub output: Vec<OutputColumn>,
    /// The columns put out, as an `EmptyExec`. Those of `Local`: keys, the start of the pane, states.
    pub columns: Bytes,
}

/// A part of an aggregation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// All of it: rows to results.
    Single {
        /// The column with a row's time.
        time: u32,
    },
    /// Rows to states by pane, to send fewer of them.
    Local {
        /// The column with a row's time.
        time: u32,
    },
    /// States of several `Local`s to results.
    Global,
}

/// A column of an aggregation's results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputColumn {
    /// A key, by its position.
    Key(u32),
    /// A border of the window.
    Bound(WindowBound),
    /// An aggregate, by its position.
    Aggregate(u32),
}

impl StreamFragment {
    /// The fragment as bytes, stable within one build.
    pub fn encode(&self) -> Bytes {
        postcard::to_stdvec(self).expect("a fragment is plain data").into()
    }

    /// The fragment that these bytes are.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        postcard::from_bytes(bytes)
    }
}
