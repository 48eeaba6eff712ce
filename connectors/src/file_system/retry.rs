//! How long a service that does not answer is waited for, and which of HDFS's failures are worth another try.

use std::{future::Future, time::Duration};

use hdfs_native::HdfsError;
use tokio::time::{Instant, sleep, timeout};

use super::hadoop_conf::user_name;
use crate::error::{Error, Result};

/// Patience with one service.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// One call may take this long.
    pub call: Duration,
    /// Calls are repeated until this much time has passed since the first.
    pub total: Duration,
}

impl Default for Patience {
    /// A NameNode restart or failover takes 10 to 30 s on a small cluster.
    fn default() -> Self {
        Self::of(Duration::from_secs(60))
    }
}

impl Patience {
    /// Repeats calls for so long.
    pub fn of(total: Duration) -> Self {
        Self { call: LONGEST_CALL.min(total), total }
    }
}

/// One call may take this long: a NameNode that is alive answers sooner, even one that collects garbage.
const LONGEST_CALL: Duration = Duration::from_secs(20);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// What is called, for messages.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The service: `hdfs://nn:8020`.
    pub service: &'a str,
    /// `read`, `write`, `list`...
    pub action: &'static str,
    /// The path in the service.
    pub path: &'a str,
}

impl Call<'_> {
    fn url(&self) -> String {
        format!("{}{}", self.service, self.path)
    }
}

/// Calls until it works, fails for good, or patience ends. `stalled` is told when a call took too long.
pub async fn retry<T, F>(
    patience: Patience,
    call: Call<'_>,
    stalled: impl Fn() + Send,
    attempt: impl Fn() -> F + Send,
) -> Result<T>
where
    F: Future<Output = hdfs_native::Result<T>> + Send,
{
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let left = patience.total.saturating_sub(start.elapsed());
        let error = match timeout(patience.call.min(left), attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) if !is_transient(&error) => return Err(final_error(call, error)),
            Ok(Err(error)) => error,
            Err(_) => {
                stalled();
                HdfsError::IOError(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time"))
            }
        };
        if start.elapsed() + pause >= patience.total {
            return Err(Error::Unreachable {
                service: call.service.to_owned(),
                action: call.action,
                path: call.path.to_owned(),
                seconds: start.elapsed().as_secs(),
                source: Box::new(error),
            });
        }
        tracing::debug!(service = call.service, path = call.path, %error, "trying again");
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether the same call may work a moment later: the NameNode is down, starting, standby, or the connection broke.
pub fn is_transient(error: &HdfsError) -> bool {
    match error {
        HdfsError::IOError(_) | HdfsError::DataTransferError(_) => true,
        HdfsError::RPCError(exception, _) | HdfsError::FatalRPCError(exception, _) => {
            ["StandbyException", "RetriableException", "SafeModeException", "ConnectException"]
                .iter()
                .any(|name| exception.ends_with(name))
        }
        _ => false,
    }
}

/// What a failure that will not go away means.
pub fn final_error(call: Call<'_>, error: HdfsError) -> Error {
    let path = call.url();
    let exception = match &error {
        HdfsError::RPCError(exception, _) | HdfsError::FatalRPCError(exception, _) => {
            exception.rsplit(['.', '$']).next().unwrap_or_default().to_owned()
        }
        HdfsError::FileNotFound(_) => "FileNotFoundException".to_owned(),
        HdfsError::AlreadyExists(_) => "FileAlreadyExistsException".to_owned(),
        _ => String::new(),
    };
    match exception.as_str() {
        "FileNotFoundException" => Error::NotFound { path },
        "FileAlreadyExistsException" => Error::AlreadyExists { path },
        "AccessControlException" => Error::PermissionDenied {
            user: format!("user `{}`", user_name()),
            action: call.action,
            path,
            advice: "ask its owner for permission (`hdfs dfs -chmod`, `-setfacl`) or set HADOOP_USER_NAME",
            source: first_line(error).into(),
        },
        "DSQuotaExceededException" | "NSQuotaExceededException" | "QuotaExceededException" => {
            Error::DiskFull { path, source: first_line(error).into() }
        }
        _ => Error::Io { action: call.action, path, source: first_line(error).into() },
    }
}

/// The message without Java's stack trace.
fn first_line(error: HdfsError) -> String {
    let text = match error {
        HdfsError::RPCError(_, message) | HdfsError::FatalRPCError(_, message) => message,
        other => other.to_string(),
    };
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const CALL: Call<'_> = Call { service: "hdfs://nn:8020", action: "read", path: "/a" };

    fn refused() -> HdfsError {
        HdfsError::IOError(std::io::ErrorKind::ConnectionRefused.into())
    }

    #[tokio::test]
    async fn a_service_that_stays_down_gives_one_error_in_bounded_time() {
        let start = Instant::now();
        let patience = Patience { call: Duration::from_millis(50), total: Duration::from_millis(500) };
        let error = retry::<(), _>(patience, CALL, || (), || async { Err(refused()) }).await.unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(10));
        assert!(
            error.to_string().starts_with("cannot reach `hdfs://nn:8020` to read `/a`: gave up after "),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_service_that_hangs_gives_one_error_in_bounded_time() {
        let patience = Patience { call: Duration::from_millis(50), total: Duration::from_millis(500) };
        let start = Instant::now();
        let stalls = AtomicU32::new(0);
        let stalled = || {
            stalls.fetch_add(1, Ordering::Relaxed);
        };
        let hang = || std::future::pending::<hdfs_native::Result<()>>();
        assert!(matches!(retry(patience, CALL, stalled, hang).await, Err(Error::Unreachable { .. })));
        assert!(start.elapsed() < Duration::from_secs(10));
        assert!(stalls.load(Ordering::Relaxed) >= 2);
    }

    #[tokio::test]
    async fn a_service_that_comes_back_is_used() {
        let calls = AtomicU32::new(0);
        let attempt = || async {
            match calls.fetch_add(1, Ordering::Relaxed) {
                0..3 => Err(refused()),
                _ => Ok(7),
            }
        };
        assert_eq!(retry(Patience::default(), CALL, || (), attempt).await.unwrap(), 7);
    }

    #[test]
    fn a_refused_user_is_told_what_to_do() {
        let exception = "org.apache.hadoop.security.AccessControlException".to_owned();
        let error =
            final_error(CALL, HdfsError::RPCError(exception, "Permission denied: user=x\n\tat A.b".into()));
        let text = error.chain();
        assert!(text.contains("may not read `hdfs://nn:8020/a`"), "{text}");
        assert!(text.contains("HADOOP_USER_NAME") && text.ends_with("Permission denied: user=x"), "{text}");
    }
}
