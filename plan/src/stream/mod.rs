//! What a streaming vertex is: the words that the planner and a worker share.
//!
//! A vertex of a streaming job is a chain of our own operators behind a head that reads a source or the edges of the job graph.
//! DataFusion describes the pieces (expressions, aggregates, scans) and computes their kernels; rows, watermarks and the end of
//! input move through the chain in order.

mod as_of;
pub mod changelog;
mod fragment;
mod late;
mod normalize;
pub mod partial;
mod updating;
pub mod watermark;

pub use as_of::{LookupJoinSpec, TemporalJoinSpec};
pub use fragment::{
    AssignSessionsSpec, Head, IntervalJoinSpec, OperatorKind, OperatorSpec, OutputColumn, OverAggregateSpec,
    PairInput, PairKind, Phase, SessionAggregateSpec, StreamFragment, TimedRows, WindowAggregateSpec,
    WindowJoinSpec, WithinWindowsSpec,
};
pub use late::{LateRowsNode, late_columns};
pub use normalize::ChangelogNormalizeNode;
pub use updating::{
    FinalResultSpec, GroupAggregateSpec, GroupPhase, JoinKind, JoinSpec, MiniBatch, OverPartitionsSpec,
    Settled, SortKey, TopNSpec,
};
pub use watermark::{WatermarkAlignment, WatermarkNode, WatermarkOptions};
