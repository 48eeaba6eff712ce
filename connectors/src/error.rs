//! What can go wrong where data enters or leaves, one variant for each case that a caller or a user treats differently.

use std::{error::Error as StdError, io};

use datafusion::error::DataFusionError;
use thalweg_graph::{FailureKind, SqlError, sql_error::SqlErrorCode};

/// A cause that is only shown.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Shorthand of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed access to a table's data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing at the path.
    #[error("`{path}` does not exist")]
    NotFound {
        /// The file or folder, as a URL.
        path: String,
    },
    /// A file was there when the plan was made and is not now.
    #[error(
        "`{path}` was there when the query was planned and is gone; was the table rewritten meanwhile? Run the query again"
    )]
    Vanished {
        /// The file.
        path: String,
    },
    /// Something is there that must not be.
    #[error("`{path}` exists already")]
    AlreadyExists {
        /// The file or folder.
        path: String,
    },
    /// The file system refuses this user.
    #[error("{user} may not {action} `{path}`; {advice}")]
    PermissionDenied {
        /// Who asked, as the text says it: "user `name`".
        user: String,
        /// What was asked: `read`, `write`, `list`.
        action: &'static str,
        /// Of what.
        path: String,
        /// What to do.
        advice: &'static str,
        /// What the file system said.
        source: Cause,
    },
    /// The operator does not let jobs name this.
    #[error(
        "jobs may not name `{path}` here: the operator allows what is below `{allowed}` (`security.paths.allow`)"
    )]
    NotAllowed {
        /// The file or folder, as a URL.
        path: String,
        /// What may be named.
        allowed: String,
    },
    /// No space, no quota.
    #[error("cannot write `{path}`: the disk or the quota is full; free space or write elsewhere")]
    DiskFull {
        /// The file.
        path: String,
        /// What the file system said.
        source: Cause,
    },
    /// A service did not answer within the retry time.
    #[error(
        "cannot reach `{service}` to {action} `{path}`: gave up after {seconds} s; is it running? `fs.hdfs.retry-timeout` sets \
         how long it is waited for"
    )]
    Unreachable {
        /// The service: `hdfs://nn:8020`.
        service: String,
        /// What was wanted.
        action: &'static str,
        /// Of what.
        path: String,
        /// How long it was tried.
        seconds: u64,
        /// The last failure.
        source: Cause,
    },
    /// Any other failure of a file system.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was wanted.
        action: &'static str,
        /// Of what.
        path: String,
        /// What happened.
        source: Cause,
    },
    /// A file whose content is not what its format says.
    #[error(
        "cannot read `{path}`: not a valid {format} file; it may be truncated, corrupt or of another format"
    )]
    Corrupt {
        /// The file.
        path: String,
        /// The format it was read as.
        format: &'static str,
        /// What the reader said.
        source: Cause,
    },
    /// A row that does not fit the table.
    #[error(
        "`{path}`, {place}: {reason}; correct the file, or set `{format}.ignore-parse-errors` to skip such rows"
    )]
    MalformedRow {
        /// The file.
        path: String,
        /// Where in the file: `line 7`.
        place: String,
        /// The format: `csv`, `json`.
        format: &'static str,
        /// What was expected and found.
        reason: String,
    },
    /// A record of a topic that does not fit the table.
    #[error(
        "topic `{topic}`, partition {partition}, offset {offset}: not a valid {format} record: {reason}; correct what writes \
         the topic, or set `scan.malformed-records` to `skip` or `dead-letter`"
    )]
    MalformedRecord {
        /// The topic.
        topic: String,
        /// The partition in it.
        partition: i32,
        /// The offset in that.
        offset: i64,
        /// The format: `json`, `avro`.
        format: &'static str,
        /// What was expected and found.
        reason: String,
    },
    /// No broker of a Kafka cluster answered within the time that they are waited for.
    #[error(
        "cannot reach Kafka at `{servers}`: gave up after {seconds} s; is it running, and can this machine reach the addresses \
         that its brokers advertise?"
    )]
    NoBroker {
        /// The bootstrap servers.
        servers: String,
        /// How long it was tried.
        seconds: u64,
        /// The last failure.
        source: Cause,
    },
    /// Kafka did not do what it was asked.
    #[error("cannot {action} `{subject}`")]
    Kafka {
        /// What was wanted.
        action: &'static str,
        /// Of what: a topic, a transactional id.
        subject: String,
        /// What the client said.
        source: Cause,
    },
    /// Rows that a checkpoint holds to be written and that Kafka has thrown away.
    #[error(
        "{rows} rows of transaction `{transaction}` are lost: Kafka has aborted it before it could be committed, because it was \
         open for longer than `properties.transaction.timeout.ms`, or because another job uses the same \
         `sink.transactional-id-prefix`"
    )]
    LostTransaction {
        /// The transactional id.
        transaction: String,
        /// Its rows.
        rows: u64,
    },
    /// A file whose column has another type than the table.
    #[error("column `{column}` of `{path}` has type {found}, which cannot be read as {expected}; {advice}")]
    SchemaMismatch {
        /// The file.
        path: String,
        /// The column.
        column: String,
        /// The type in the file.
        found: String,
        /// The type in the table.
        expected: String,
        /// What to do.
        advice: &'static str,
    },
    /// An option that does not exist or cannot have its value.
    #[error("{0}")]
    InvalidOption(String),
    /// Something we know of and do not do.
    #[error("{0}")]
    Unsupported(String),
    /// A value or a statement that breaks a rule of the connector.
    #[error("{0}")]
    Invalid(String),
    /// The planner's and the worker's words do not fit: a bug of ours.
    #[error("{0}")]
    Internal(String),
    /// A failure of DataFusion or Arrow while rows were converted.
    #[error("cannot convert rows")]
    Rows(#[source] DataFusionError),
}

impl Error {
    /// How the scheduler has to see it.
    pub fn kind(&self) -> FailureKind {
        match self {
            Error::NotFound { .. }
            | Error::Vanished { .. }
            | Error::AlreadyExists { .. }
            | Error::PermissionDenied { .. }
            | Error::NotAllowed { .. }
            | Error::Corrupt { .. }
            | Error::MalformedRow { .. }
            | Error::MalformedRecord { .. }
            | Error::SchemaMismatch { .. }
            | Error::InvalidOption(_)
            | Error::Unsupported(_)
            | Error::Invalid(_)
            | Error::Rows(_) => FailureKind::Deterministic,
            Error::DiskFull { .. } => FailureKind::ResourceExhausted,
            Error::Unreachable { .. } | Error::NoBroker { .. } => FailureKind::Unreachable,
            Error::Io { .. } | Error::Kafka { .. } => FailureKind::Io,
            Error::LostTransaction { .. } => FailureKind::CommitFailed,
            Error::Internal(_) => FailureKind::Internal,
        }
    }

    /// The error and its causes in one line, each said once.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            next = cause.source();
        }
        text
    }

    /// The failure of an operating-system call on a local path.
    pub fn from_io(action: &'static str, path: &str, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => Error::NotFound { path },
            io::ErrorKind::AlreadyExists => Error::AlreadyExists { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::DiskFull { path, source: error.into() }
            }
            io::ErrorKind::PermissionDenied => Error::PermissionDenied {
                user: local_user()
                    .map_or_else(|| "the user of this process".to_owned(), |name| format!("user `{name}`")),
                action,
                path,
                advice: "change the file's permissions or run as another user",
                source: error.into(),
            },
            _ => Error::Io { action, path, source: error.into() },
        }
    }

    /// The failure of a read through an object store.
    pub fn from_store(action: &'static str, path: &str, error: object_store::Error) -> Self {
        if let object_store::Error::NotFound { .. } = error {
            return Error::NotFound { path: path.to_owned() };
        }
        match own_cause(Box::new(error)) {
            Ok(own) => own,
            Err(error) => match io_kind(error.as_ref()) {
                Some(kind) => Error::from_io(action, path, io::Error::new(kind, error)),
                None => Error::Io { action, path: path.to_owned(), source: error },
            },
        }
    }
}

/// The error of this crate that `error` wraps as its whole content, if any; else `error` itself.
fn own_cause(error: Cause) -> std::result::Result<Error, Cause> {
    let error = match error.downcast::<Error>() {
        Ok(own) => return Ok(*own),
        Err(error) => error,
    };
    match error.downcast::<object_store::Error>().map(|error| *error) {
        Ok(
            object_store::Error::Generic { source, .. }
            | object_store::Error::PermissionDenied { source, .. },
        ) => own_cause(source),
        Ok(other) => Err(Box::new(other)),
        Err(error) => Err(error),
    }
}

/// The kind of the first `io::Error` among an error and its causes.
fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        next = error.source();
    }
    None
}

/// The name of the user that this process runs as, where the environment tells it.
pub(crate) fn local_user() -> Option<String> {
    ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
}

impl From<Error> for SqlError {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::InvalidOption(_) => SqlErrorCode::InvalidOption,
            Error::Unsupported(_) => SqlErrorCode::Unsupported,
            Error::SchemaMismatch { .. } => SqlErrorCode::TypeMismatch,
            Error::Invalid(_) => SqlErrorCode::Invalid,
            Error::Internal(_) => SqlErrorCode::Internal,
            _ => SqlErrorCode::Io,
        };
        SqlError::new(code, error.chain())
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(cause) => match cause.downcast::<Error>() {
                Ok(own) => *own,
                Err(other) => Error::Rows(DataFusionError::External(other)),
            },
            other => Error::Rows(other),
        }
    }
}

impl From<Error> for object_store::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound { path } => object_store::Error::NotFound {
                path: path.clone(),
                source: Box::new(Error::NotFound { path }),
            },
            other => object_store::Error::Generic { store: "thalweg", source: Box::new(other) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_says_each_thing_once() {
        let error = Error::from_io("write", "/a", io::Error::other("broken pipe"));
        assert_eq!(error.chain(), "cannot write `/a`: broken pipe");
        assert_eq!(error.kind(), FailureKind::Io);
    }

    #[test]
    fn an_own_error_survives_the_object_store() {
        let error = Error::DiskFull { path: "/a".into(), source: "full".into() };
        let back = Error::from_store("read", "/b", error.into());
        assert!(matches!(back, Error::DiskFull { path, .. } if path == "/a"));
    }
}
