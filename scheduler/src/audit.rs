//! The audit log: who has changed what, and who was refused; one line of JSON for each call, in a file that is bounded by rotation.
//!
//! It has neither bodies nor query strings: those may hold passwords.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chrono::{SecondsFormat, Utc};
use parking_lot::Mutex;
use serde::Serialize;
use thalweg_graph::{
    JobId, Options,
    options::{self, InvalidValue, MemorySize},
};

/// Longest path that is written whole.
const PATH_LENGTH_MAX: usize = 512;
/// Refused calls that are written in a second: whoever floods the port is not to push out what others have done.
const REFUSED_PER_SECOND: u32 = 20;

/// One call.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Who has made it, as far as that is known.
    pub who: Option<String>,
    /// Where from.
    pub from: SocketAddr,
    /// Its method.
    pub method: &'a str,
    /// Its path, without query.
    pub path: &'a str,
    /// The jobs that it is about, or has started.
    pub jobs: Vec<JobId>,
    /// What it was answered.
    pub status: u16,
}

/// As it is written.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    who: &'a str,
    from: SocketAddr,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "<[JobId]>::is_empty")]
    jobs: &'a [JobId],
    status: u16,
    /// Refused calls since the line before that have none of their own.
    #[serde(skip_serializing_if = "is_none")]
    unlisted: u64,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// An audit log that cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option.
    #[error(transparent)]
    Option(#[from] InvalidValue),
    /// Its file.
    #[error("cannot write the audit log `{}`", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The file and those before it: `audit.log`, `audit.log.1`, ...
pub struct AuditLog {
    path: PathBuf,
    bytes_max: u64,
    /// With the newest.
    files_max: u32,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    bytes: u64,
    refused: Refused,
}

/// How many refused calls were written lately.
struct Refused {
    since: Instant,
    written: u32,
    unlisted: u64,
}

impl AuditLog {
    /// Opens the one that the options name; `None` where they name none.
    pub fn open(options: &Options) -> Result<Option<Self>, Error> {
        let path: PathBuf = options.get(&options::AUDIT_PATH)?.into();
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let MemorySize(bytes_max) = options.get(&options::AUDIT_MAX_SIZE)?;
        let files_max = options.get(&options::AUDIT_MAX_FILES)?.max(1);
        let opened = append(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (bytes, file) = opened.map_err(|source| Error::Open { path: path.clone(), source })?;
        let refused = Refused { since: Instant::now(), written: 0, unlisted: 0 };
        Ok(Some(Self { path, bytes_max, files_max, open: Mutex::new(Open { file, bytes, refused }) }))
    }

    /// Writes down a call. One that was refused at the door may be counted only.
    pub fn note(&self, entry: &Entry<'_>) {
        let mut open = self.open.lock();
        let is_refused = matches!(entry.status, 401 | 403);
        if is_refused && !open.refused.admits(Instant::now()) {
            return;
        }
        let line = Line {
            time: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
            who: entry.who.as_deref().unwrap_or("unknown"),
            from: entry.from,
            method: entry.method,
            path: shortened(entry.path),
            jobs: &entry.jobs,
            status: entry.status,
            unlisted: open.refused.unlisted,
        };
        let mut line = serde_json::to_vec(&line).expect("a line is plain data");
        line.push(b'\n');
        match self.write(&mut open, &line) {
            Ok(()) => open.refused.unlisted = 0,
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "cannot write the audit log");
            }
        }
    }

    fn write(&self, open: &mut Open, line: &[u8]) -> io::Result<()> {
        if open.bytes > 0 && open.bytes + line.len() as u64 > self.bytes_max {
            open.file = self.rotate()?;
            open.bytes = 0;
        }
        open.file.write_all(line)?;
        open.bytes += line.len() as u64;
        Ok(())
    }

    /// Renames each file to the next number, the last one over the edge; begins a new one.
    fn rotate(&self) -> io::Result<File> {
        let numbered = |number| match number {
            0 => self.path.clone(),
            number => PathBuf::from(format!("{}.{number}", self.path.display())),
        };
        for number in (1..self.files_max).rev() {
            match fs::rename(numbered(number - 1), numbered(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.files_max == 1 {
            fs::remove_file(&self.path)?;
        }
        append(&self.path)
    }
}

impl Refused {
    fn admits(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            (self.since, self.written) = (now, 0);
        }
        let admits = self.written < REFUSED_PER_SECOND;
        if admits {
            self.written += 1
        } else {
            self.unlisted += 1
        }
        admits
    }
}

/// For its owner alone.
fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn shortened(path: &str) -> &str {
    // A path of HTTP is ASCII.
    path.get(..PATH_LENGTH_MAX).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn open(path: &Path, more: &[(&str, &str)]) -> AuditLog {
        let path = path.to_str().unwrap();
        let options = more.iter().copied().chain([("security.audit.path", path)]).collect();
        AuditLog::open(&options).unwrap().unwrap()
    }

    fn entry(path: &str, status: u16) -> Entry<'_> {
        let from = "10.0.0.7:4711".parse().unwrap();
        Entry { who: Some("token ci".to_owned()), from, method: "POST", path, jobs: vec![JobId(7)], status }
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_says_who_where_from_and_what_and_the_file_goes_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        open(&path, &[]).note(&entry("/v1/sql/jobs", 202));
        open(&path, &[]).note(&Entry { who: None, ..entry("/a\"\nb", 401) });
        let lines = lines(&path);
        assert_eq!((&lines[0]["who"], &lines[0]["from"]), (&"token ci".into(), &"10.0.0.7:4711".into()));
        assert_eq!((&lines[0]["status"], lines[0]["jobs"][0].as_str().unwrap().len()), (&202.into(), 32));
        assert_eq!(
            (lines.len(), &lines[1]["who"], &lines[1]["path"]),
            (2, &"unknown".into(), &"/a\"\nb".into())
        );
        assert!(AuditLog::open(&Options::default()).unwrap().is_none());
        let nowhere = [("security.audit.path", "/no/such/folder/audit.log")].into_iter().collect();
        assert!(matches!(AuditLog::open(&nowhere), Err(Error::Open { .. })));
    }

    #[test]
    fn files_are_bounded_in_size_and_number() {
        for files in [1, 3] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("audit.log");
            let count = files.to_string();
            let log =
                open(&path, &[("security.audit.max-size", "1kb"), ("security.audit.max-files", &count)]);
            (0..100).for_each(|_| log.note(&entry("/v1/sql/jobs", 202)));
            let kept: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap()).collect();
            assert_eq!(kept.len(), files);
            assert!(kept.iter().all(|file| file.metadata().unwrap().len() <= 1024));
        }
    }

    #[test]
    fn a_flood_of_refused_calls_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let log = open(&path, &[]);
        (0..1_000).for_each(|_| log.note(&entry("/v1/sql/jobs", 401)));
        log.note(&entry("/v1/sql/jobs", 202));
        let lines = lines(&path);
        let unlisted: u64 = lines.iter().filter_map(|line| line["unlisted"].as_u64()).sum();
        assert_eq!(lines.len() as u64 + unlisted, 1_001);
        assert!(lines.len() < 500 && lines.last().unwrap()["status"] == 202, "{}", lines.len());
    }

    #[test]
    fn refused_calls_are_written_again_a_second_later() {
        let start = Instant::now();
        let mut refused = Refused { since: start, written: 0, unlisted: 0 };
        let admitted = (0..100).filter(|_| refused.admits(start)).count();
        assert_eq!((admitted, refused.unlisted), (REFUSED_PER_SECOND as usize, 80));
        assert!(refused.admits(start + Duration::from_secs(1)));
    }
}
