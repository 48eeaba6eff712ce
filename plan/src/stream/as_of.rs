//! Joins as of a time as a worker receives them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thalweg_graph::table::TableDescriptor;

use super::fragment::TimedRows;

/// A join of each row with what a table holds when it comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupJoinSpec {
    /// Whether a row for which nothing is found comes out with NULLs.
    pub keeps_all: bool,
    /// The table.
    pub table: TableDescriptor,
    /// The columns of it that are read, by their places among those that can be read.
    pub projection: Vec<u32>,
    /// What is made of its rows before they are looked up: `FilterExec`s and `ProjectionExec`s over an `EmptyExec`.
    pub rows: Bytes,
    /// What must be equal: of the rows that come.
    pub left_keys: Vec<Bytes>,
    /// The same of the table's rows, of the same types.
    pub right_keys: Vec<Bytes>,
    /// What must hold besides, over the columns of both.
    pub filter: Option<Bytes>,
    /// The columns put out, as an `EmptyExec`.
    pub columns: Bytes,
}

/// A join of each left row with the version of a right row that was valid at its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemporalJoinSpec {
    /// Whether a row without a version comes out with NULLs.
    pub keeps_all: bool,
    /// Rows of the left side.
    pub left: TimedRows,
    /// Versions: their keys, and the times at which they begin.
    pub right: TimedRows,
    /// What must hold for a version, over all columns of the right side.
    pub predicate: Option<Bytes>,
    /// The columns of the right side that are put out.
    pub picks: Vec<u32>,
    /// What must hold besides, over the columns put out.
    pub filter: Option<Bytes>,
    /// The columns put out, as an `EmptyExec`.
    pub columns: Bytes,
}
