//! What a job is, as plain data: the job graph, its ids, its options, and the words for its states.
//!
//! Every other crate uses these types; this one uses none of them. It does no I/O, knows no clock and does not know
//! DataFusion (a fragment's plan travels inside as bytes), so that the control plane compiles and runs without it.

pub mod change_kind;
pub mod id;
pub mod failure;
pub mod secret;
pub mod table;
pub mod job_queues;
pub mod options;
pub mod checkpoint;
pub mod source;
pub mod exchange;
pub mod job_graph;
pub mod explain;
pub mod sql_error;
pub mod status;
pub mod task;

pub use failure::{Failure, FailureKind};
pub use id::{Attempt, CheckpointId, EdgeId, JobEpoch, JobId, SubtaskId, Term, VertexId, WorkerId};
pub use job_graph::{Fragment, JobEdge, JobGraph, JobVertex, RuntimeMode, VertexOutput};
pub use options::Options;
pub use sql_error::SqlError;
pub use status::{JobStatus, TaskState};
pub use task::{TaskDescriptor, TaskMetrics, TaskReport};

/// Identifies the build of this binary. Fragments carry DataFusion's encoding, which is stable only within one build, so a
/// worker refuses a graph whose build id differs from its own.
pub const BUILD_ID: &str = concat!(env!("CARGO_PKG_VERSION"), "+datafusion-55");
