//! Why a task ended before its time, as a kind for the scheduler and one clear line for people.

use std::{error::Error, io, path::PathBuf};

use arrow::error::ArrowError;
use datafusion::{error::DataFusionError, parquet::errors::ParquetError};
use thalweg_graph::{FailureKind, options};

use crate::exchange::{fetch_failed::FetchFailed, partition_store, shuffle_file};

/// A task that did not finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to stop.
    Canceled,
    /// It failed.
    Failed {
        /// What kind of failure it is.
        kind: FailureKind,
        /// What happened.
        message: String,
    },
}

impl Ended {
    /// A failure.
    pub fn failed(kind: FailureKind, message: impl Into<String>) -> Self {
        Ended::Failed { kind, message: message.into() }
    }

    /// A fragment that this worker cannot build.
    pub fn rejected(error: &DataFusionError) -> Self {
        Ended::failed(
            FailureKind::PlanRejected,
            format!("cannot build the task's operators: {}", message(error)),
        )
    }

    /// The failure of operators that spill into `folders`: the error of a full disk names none.
    pub fn of_operators(error: DataFusionError, folders: &[PathBuf]) -> Self {
        if !is_disk_full(&error) {
            return Ended::from(error);
        }
        let folders: Vec<String> = folders.iter().map(|folder| format!("`{}`", folder.display())).collect();
        let (folders, option) = (folders.join(", "), options::TMP_DIRS.name);
        let message = format!(
            "no space is left in {folders} for spilled data; free some or set `{option}` to a larger disk"
        );
        Ended::failed(FailureKind::ResourceExhausted, message)
    }
}

impl From<DataFusionError> for Ended {
    fn from(error: DataFusionError) -> Self {
        Ended::failed(kind(&error), message(&error))
    }
}

impl From<thalweg_connectors::Error> for Ended {
    fn from(error: thalweg_connectors::Error) -> Self {
        Ended::failed(error.kind(), error.chain())
    }
}

fn kind(error: &DataFusionError) -> FailureKind {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => kind(inner),
        DataFusionError::Shared(inner) => kind(inner),
        DataFusionError::Collection(inner) => inner.first().map_or(FailureKind::Internal, kind),
        DataFusionError::External(inner) => kind_of_any(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => kind_of_arrow(inner),
        DataFusionError::ParquetError(inner) => kind_of_parquet(inner),
        DataFusionError::ObjectStore(inner) => kind_of_store(inner),
        DataFusionError::IoError(inner) => kind_of_io(inner),
        DataFusionError::ResourcesExhausted(_) => FailureKind::OutOfMemory,
        DataFusionError::Internal(_) | DataFusionError::ExecutionJoin(_) => FailureKind::Internal,
        _ => FailureKind::Deterministic,
    }
}

/// Whether the system's own word below all that wraps it is that there is no space. Errors of connectors and of the exchange name
/// their places themselves.
fn is_disk_full(error: &DataFusionError) -> bool {
    let mut next = Some(error as &(dyn Error + 'static));
    while let Some(error) = next {
        if error.is::<thalweg_connectors::Error>() || error.is::<shuffle_file::Error>() {
            return false;
        }
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| kind_of_io(error) == FailureKind::ResourceExhausted) {
            return true;
        }
        next = error.source();
    }
    false
}

/// The kind of an error whose type is one of those that pass through DataFusion, or of its first cause that is.
fn kind_of_any(error: &(dyn Error + 'static)) -> FailureKind {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(known) = kind_of_known(error) {
            return known;
        }
        next = error.source();
    }
    FailureKind::Internal
}

fn kind_of_known(error: &(dyn Error + 'static)) -> Option<FailureKind> {
    if let Some(error) = error.downcast_ref::<FetchFailed>() {
        return Some(error.kind());
    }
    if let Some(error) = error.downcast_ref::<thalweg_connectors::Error>() {
        return Some(error.kind());
    }
    if let Some(error) = error.downcast_ref::<shuffle_file::Error>() {
        return Some(match error {
            shuffle_file::Error::DiskFull { .. } => FailureKind::ResourceExhausted,
            shuffle_file::Error::Encode(error) => kind_of_arrow(error),
            shuffle_file::Error::Io { .. } | shuffle_file::Error::Corrupt { .. } => FailureKind::Io,
        });
    }
    if let Some(error) = error.downcast_ref::<DataFusionError>() {
        return Some(kind(error));
    }
    if let Some(error) = error.downcast_ref::<ArrowError>() {
        return Some(kind_of_arrow(error));
    }
    if let Some(error) = error.downcast_ref::<object_store::Error>() {
        return Some(kind_of_store(error));
    }
    error.downcast_ref::<io::Error>().map(kind_of_io)
}

fn kind_of_arrow(error: &ArrowError) -> FailureKind {
    match error {
        ArrowError::ExternalError(inner) => kind_of_any(inner.as_ref()),
        ArrowError::IoError(_, inner) => kind_of_io(inner),
        ArrowError::MemoryError(_) => FailureKind::ResourceExhausted,
        _ => FailureKind::Deterministic,
    }
}

fn kind_of_parquet(error: &ParquetError) -> FailureKind {
    match error {
        ParquetError::External(inner) => match kind_of_any(inner.as_ref()) {
            FailureKind::Internal => FailureKind::Deterministic,
            known => known,
        },
        _ => FailureKind::Deterministic,
    }
}

fn kind_of_store(error: &object_store::Error) -> FailureKind {
    let own = error.source().and_then(|cause| cause.downcast_ref::<thalweg_connectors::Error>());
    match (own, error) {
        (Some(own), _) => own.kind(),
        (None, object_store::Error::NotFound { .. } | object_store::Error::PermissionDenied { .. }) => {
            FailureKind::Deterministic
        }
        _ => FailureKind::Io,
    }
}

fn kind_of_io(error: &io::Error) -> FailureKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::ResourceExhausted,
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidData => {
            FailureKind::Deterministic
        }
        _ => FailureKind::Io,
    }
}

/// The error and its causes in one line, without the names of the types that it passed through.
pub fn message(error: &DataFusionError) -> String {
    let text = match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => message(inner),
        DataFusionError::Shared(inner) => message(inner),
        DataFusionError::Collection(inner) => inner.first().map(message).unwrap_or_default(),
        DataFusionError::External(inner) => message_of_any(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            ArrowError::ExternalError(inner) => message_of_any(inner.as_ref()),
            inner => inner.to_string(),
        },
        DataFusionError::ParquetError(inner) => match inner.as_ref() {
            ParquetError::External(inner) => message_of_any(inner.as_ref()),
            inner => inner.to_string(),
        },
        DataFusionError::ObjectStore(inner) => message_of_any(inner.as_ref()),
        DataFusionError::ResourcesExhausted(text) => {
            format!("{text}; raise `{}` or the parallelism", options::PROCESS_MEMORY.name)
        }
        error => error.message().into_owned(),
    };
    match text.split_once(DataFusionError::BACK_TRACE_SEP) {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

fn message_of_any(error: &(dyn Error + 'static)) -> String {
    if let Some(error) = error.downcast_ref::<DataFusionError>() {
        return message(error);
    }
    if let Some(error) = error.downcast_ref::<thalweg_connectors::Error>() {
        return error.chain();
    }
    if let Some(own) = error.source().and_then(|cause| cause.downcast_ref::<thalweg_connectors::Error>()) {
        return own.chain();
    }
    partition_store::chain(error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use thalweg_graph::{Attempt, EdgeId, JobId, SubtaskId, VertexId, exchange::ResultPartitionId};

    use super::*;

    fn failed(error: DataFusionError) -> (FailureKind, String) {
        match Ended::from(error) {
            Ended::Failed { kind, message } => (kind, message),
            Ended::Canceled => panic!("an error is not a cancellation"),
        }
    }

    #[test]
    fn a_lost_producer_is_found_under_everything_that_wraps_it() {
        let producer =
            Attempt { job: JobId(1), subtask: SubtaskId { vertex: VertexId(2), index: 3 }, number: 4 };
        let partition = ResultPartitionId { producer, edge: EdgeId(5) };
        let lost = FetchFailed { partition, why: "gone".to_owned() };
        let external = DataFusionError::External(Box::new(lost.clone()));
        let arrow = ArrowError::ExternalError(Box::new(external));
        let wrapped = DataFusionError::Shared(Arc::new(DataFusionError::from(arrow).context("in a join")));
        let (kind, message) = failed(wrapped);
        assert_eq!(kind, FailureKind::FetchFailed { edge: EdgeId(5), producer });
        assert_eq!(message, lost.to_string());
    }

    #[test]
    fn a_full_disk_names_the_folders_that_operators_spill_into() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        // As the writer of spilled batches passes it on.
        let full = io::Error::other(DataFusionError::from(full));
        let error = DataFusionError::from(ArrowError::from(full)).context("in a sort");
        let folders = [PathBuf::from("/a"), PathBuf::from("/b")];
        assert_eq!(
            Ended::of_operators(error, &folders),
            Ended::failed(
                FailureKind::ResourceExhausted,
                "no space is left in `/a`, `/b` for spilled data; free some or set `io.tmp.dirs` to a larger disk"
            )
        );
        let other = DataFusionError::from(io::Error::from(io::ErrorKind::ConnectionReset));
        assert!(matches!(Ended::of_operators(other, &folders), Ended::Failed { kind: FailureKind::Io, .. }));
    }

    #[test]
    fn values_that_cannot_be_computed_are_deterministic_and_memory_is_not() {
        assert_eq!(
            failed(ArrowError::DivideByZero.into()),
            (FailureKind::Deterministic, "Divide by zero error".to_owned())
        );
        assert_eq!(failed(DataFusionError::Execution("bad value".into())).1, "bad value");
        let (kind, message) = failed(DataFusionError::ResourcesExhausted("no more memory".into()));
        assert_eq!(kind, FailureKind::OutOfMemory);
        assert!(message.ends_with("raise `taskmanager.memory.process.size` or the parallelism"), "{message}");
        assert_eq!(failed(io::Error::from(io::ErrorKind::ConnectionReset).into()).0, FailureKind::Io);
        assert_eq!(
            failed(io::Error::from(io::ErrorKind::StorageFull).into()).0,
            FailureKind::ResourceExhausted
        );
    }
}
