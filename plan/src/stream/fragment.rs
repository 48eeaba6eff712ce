//! A streaming vertex as a worker receives it.
//!
//! Pieces that DataFusion knows are plans over an `EmptyExec` of the input's columns, encoded like the fragments of a batch
//! ([`crate::exec::codec`]): they carry expressions, aggregates and schemas, and are taken apart rather than executed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thalweg_graph::EdgeId;

use super::{
    as_of::{LookupJoinSpec, TemporalJoinSpec},
    updating::{FinalResultSpec, GroupAggregateSpec, GroupPhase, JoinSpec, OverPartitionsSpec, TopNSpec},
    watermark::WatermarkOptions,
};
use crate::panes::{Panes, WindowBound};

/// A head and the operators behind it, in the order in which rows pass them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamFragment {
    /// Where rows come from.
    pub head: Head,
    /// What is done with them.
    pub chain: Vec<OperatorSpec>,
    /// Whether it puts out rows with weights, to take some back.
    pub updating: bool,
    /// Names what its sink keeps in a checkpoint, as [`OperatorSpec::uid`] does an operator's state; `None` where it has none.
    pub sink: Option<String>,
    /// The edge over which the rows go that its operators leave out because they came too late, and no others; `None` where they are
    /// only counted.
    pub late: Option<EdgeId>,
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
        /// Whether its rows come with weights, behind the scan's columns.
        updating: bool,
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
pub enum PairKind {
    /// Joins rows of the same window, when it is complete.
    WindowJoin(Box<WindowJoinSpec>),
    /// Joins rows whose times are not far apart, as they come.
    IntervalJoin(Box<IntervalJoinSpec>),
    /// Joins all rows of both sides.
    Join(Box<JoinSpec>),
    /// Joins rows of the left side with the versions of the right side that were valid at their times.
    TemporalJoin(Box<TemporalJoinSpec>),
}

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
        /// What else the table says about it.
        options: WatermarkOptions,
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
    /// Puts each row out several times, each time by another `ProjectionExec`.
    Expand {
        /// The projections.
        plans: Vec<Bytes>,
    },
    /// Puts the time at which a row comes into a column, and lets event time follow the clock.
    ProcessingTime {
        /// The column.
        column: u32,
        /// How often it says how far time has come.
        every_ms: i64,
        /// One of the times at which it does.
        offset_ms: i64,
    },
    /// Says how far event time has come as the clocks of the session's zone show it.
    LocalTime,
    /// Aggregates windows and puts each out once, when it is complete.
    WindowAggregate(Box<WindowAggregateSpec>),
    /// Aggregates sessions and puts each out once, when it is complete.
    SessionAggregate(Box<SessionAggregateSpec>),
    /// Holds rows until their session is complete, and puts them out with its borders.
    AssignSessions(Box<AssignSessionsSpec>),
    /// Adds aggregates over the rows before it to each row, in the order of event time.
    OverAggregate(Box<OverAggregateSpec>),
    /// Holds rows until their window is complete, and puts out what a plan makes of those of complete windows.
    WithinWindows(Box<WithinWindowsSpec>),
    /// Gives rows that are only added their weight, one, where rows that have weights come beside them.
    AddWeights,
    /// Aggregates all rows there are and puts out what changes.
    GroupAggregate(Box<GroupAggregateSpec>),
    /// Makes of new rows of keys, and of keys that have ended, rows that are added and taken back.
    ChangelogNormalize {
        /// The columns of the key.
        keys: Vec<u32>,
        /// Whether each row comes out, also one that is replaced by another that comes with it.
        each: bool,
    },
    /// Repeats rows for each item of a column of theirs.
    Unnest {
        /// An `UnnestExec` over the rows' columns.
        plan: Bytes,
        /// The columns put out, as an `EmptyExec`.
        columns: Bytes,
    },
    /// Adds functions over whole partitions to rows, and changes them when other rows come or go.
    OverPartitions(Box<OverPartitionsSpec>),
    /// Joins rows with what a table holds when they come.
    LookupJoin(Box<LookupJoinSpec>),
    /// Keeps the first rows in an order.
    TopN(Box<TopNSpec>),
    /// Puts out what there is when the input ends.
    FinalResult(Box<FinalResultSpec>),
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

/// An aggregation by sessions and their keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionAggregateSpec {
    /// Keys, which are those of the sessions, aggregates and their filters: an `AggregateExec` over the columns of the rows.
    pub plan: Bytes,
    /// The pause that ends a session.
    pub gap_ms: i64,
    /// The column with a row's time.
    pub time: u32,
    /// What each column put out is.
    pub output: Vec<OutputColumn>,
    /// The columns put out, as an `EmptyExec`.
    pub columns: Bytes,
}

/// The sessions of single rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignSessionsSpec {
    /// The pause that ends a session.
    pub gap_ms: i64,
    /// The column with a row's time.
    pub time: u32,
    /// The columns that are the keys of sessions.
    pub keys: Vec<u32>,
    /// The columns added.
    pub bounds: Vec<WindowBound>,
    /// All columns, as an `EmptyExec`.
    pub columns: Bytes,
}

/// What is done with the rows of a complete window, all of which are needed for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithinWindowsSpec {
    /// The plan over an `EmptyExec`, which the rows of complete windows take the place of.
    pub plan: Bytes,
    /// The rows.
    pub rows: TimedRows,
    /// The columns put out, as an `EmptyExec`.
    pub columns: Bytes,
}

/// Aggregates over the rows before each row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverAggregateSpec {
    /// A window operator over the columns of the rows.
    pub plan: Bytes,
    /// The column with a row's time.
    pub time: u32,
    /// Expressions for the keys.
    pub keys: Vec<Bytes>,
    /// The columns put out, as an `EmptyExec`.
    pub columns: Bytes,
}

/// Rows that are held until event time has passed a time of theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedRows {
    /// The column with the time; the end of a window where it is complete before.
    pub time: u32,
    /// Expressions for the keys by which rows are divided among subtasks.
    pub keys: Vec<Bytes>,
}

/// A join of rows of the same window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowJoinSpec {
    /// The join, of two `EmptyExec`s, which the rows of complete windows take the place of.
    pub plan: Bytes,
    /// Rows of the left side.
    pub left: TimedRows,
    /// Rows of the right side.
    pub right: TimedRows,
    /// The columns put out, as an `EmptyExec`.
    pub columns: Bytes,
}

/// A join of rows whose times are not far apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntervalJoinSpec {
    /// The join, of two `EmptyExec`s, which rows take the place of. Its condition says no less than the bounds do.
    pub plan: Bytes,
    /// Rows of the left side.
    pub left: TimedRows,
    /// Rows of the right side.
    pub right: TimedRows,
    /// A left row's time is at least so much after a right row's.
    pub lower_ms: i64,
    /// And at most so much.
    pub upper_ms: i64,
    /// The columns put out, as an `EmptyExec`.
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

impl PairKind {
    /// Whether it leaves out rows that come too late.
    pub fn leaves_out_late_rows(&self) -> bool {
        match self {
            PairKind::WindowJoin(_) | PairKind::IntervalJoin(_) | PairKind::TemporalJoin(_) => true,
            PairKind::Join(_) => false,
        }
    }
}

impl OperatorKind {
    /// Whether it leaves out rows that come too late, and has them as they came.
    pub fn leaves_out_late_rows(&self) -> bool {
        match self {
            OperatorKind::WindowAggregate(aggregate) => matches!(aggregate.phase, Phase::Single { .. }),
            OperatorKind::OverPartitions(over) => over.settled.is_some(),
            OperatorKind::SessionAggregate(_)
            | OperatorKind::AssignSessions(_)
            | OperatorKind::OverAggregate(_)
            | OperatorKind::WithinWindows(_) => true,
            _ => false,
        }
    }

    /// Whether it keeps something from one row to another.
    pub fn has_state(&self) -> bool {
        match self {
            OperatorKind::Calc { .. }
            | OperatorKind::Watermarks { .. }
            | OperatorKind::AssignWindows { .. }
            | OperatorKind::Expand { .. }
            | OperatorKind::ProcessingTime { .. }
            | OperatorKind::LocalTime
            | OperatorKind::LookupJoin(_)
            | OperatorKind::Unnest { .. }
            | OperatorKind::AddWeights => false,
            OperatorKind::SessionAggregate(_)
            | OperatorKind::AssignSessions(_)
            | OperatorKind::OverAggregate(_)
            | OperatorKind::WithinWindows(_)
            | OperatorKind::TopN(_)
            | OperatorKind::ChangelogNormalize { .. }
            | OperatorKind::OverPartitions(_)
            | OperatorKind::FinalResult(_) => true,
            // What a first phase holds goes on before a barrier.
            OperatorKind::GroupAggregate(aggregate) => !matches!(aggregate.phase, GroupPhase::Local(_)),
            OperatorKind::WindowAggregate(aggregate) => !matches!(aggregate.phase, Phase::Local { .. }),
        }
    }
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
