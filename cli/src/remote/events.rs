//! A job's progress as the JobManager's event stream tells it: each change arrives when it happens, the end at once.

use std::{io, sync::Arc, time::Duration};

use anyhow::{Context as _, Error, Result, anyhow};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use thalweg_graph::JobId;
use thalweg_scheduler::JobProgress;
use tokio::time::sleep;

use super::rest::Rest;
use crate::backend::ProgressStream;

/// How often a broken stream is opened again in a row, and how long after it broke.
const REOPENINGS: u32 = 5;
const REOPEN_FIRST: Duration = Duration::from_millis(100);
/// A line longer than this is not one of ours.
const LINE_MAX: usize = 64 << 20;

/// A job's progress until it has ended. A stream that breaks before is opened again; what was missed meanwhile is in its first event.
pub async fn watch(rest: Rest, job: JobId) -> Result<ProgressStream> {
    // The first is awaited, so that an unknown job is refused here.
    let events = open(&rest, job).await?;
    let watch = Watch { rest, job, events: Some(events), reopened: 0 };
    Ok(stream::unfold(watch, |mut watch| async move { Some((watch.next().await?, watch)) }).boxed())
}

struct Watch {
    rest: Rest,
    job: JobId,
    /// `None` after the end.
    events: Option<ProgressStream>,
    reopened: u32,
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Arc<JobProgress>>> {
        loop {
            let problem = match self.events.as_mut()?.next().await {
                Some(Ok(progress)) => {
                    self.reopened = 0;
                    if progress.status.is_terminal() {
                        self.events = None;
                    }
                    return Some(Ok(progress));
                }
                Some(Err(error)) => error,
                None => anyhow!("it ended before the job did"),
            };
            if let Err(error) = self.reopen(problem).await {
                self.events = None;
                return Some(Err(error));
            }
        }
    }

    async fn reopen(&mut self, problem: Error) -> Result<()> {
        let job = self.job;
        let mut problem = problem.context(format!("the JobManager's news of job `{job}` broke off"));
        while self.reopened < REOPENINGS {
            sleep(REOPEN_FIRST * 2u32.pow(self.reopened)).await;
            self.reopened += 1;
            match open(&self.rest, job).await {
                Ok(events) => {
                    self.events = Some(events);
                    return Ok(());
                }
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }
}

async fn open(rest: &Rest, job: JobId) -> Result<ProgressStream> {
    let response = rest.event_stream(&format!("/jobs/{job}/progress")).await?;
    Ok(events(response.bytes_stream()).boxed())
}

/// The data of server-sent events, one line each as the JobManager writes them; comments and other fields are passed over
/// (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
fn events(
    bytes: impl Stream<Item = io::Result<Bytes>> + Unpin + Send,
) -> impl Stream<Item = Result<Arc<JobProgress>>> + Send {
    stream::unfold((bytes, Vec::new()), |(mut bytes, mut buffer)| async move {
        loop {
            if let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let Some(data) = line.strip_prefix(b"data:") else { continue };
                let event = serde_json::from_slice(data).map(Arc::new);
                let event = event.context("the JobManager's progress is that of another version");
                return Some((event, (bytes, buffer)));
            }
            if buffer.len() > LINE_MAX {
                return Some((Err(anyhow!("a line of its answer is too long")), (bytes, Vec::new())));
            }
            match bytes.next().await? {
                Ok(more) => buffer.extend_from_slice(&more),
                Err(error) => return Some((Err(error.into()), (bytes, Vec::new()))),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use thalweg_graph::JobStatus;

    use super::*;

    fn progress(status: JobStatus) -> JobProgress {
        JobProgress {
            job: JobId(7),
            status,
            waiting: None,
            failure: None,
            restarts: 0,
            has_live_result: false,
            vertices: Vec::new(),
        }
    }

    #[tokio::test]
    async fn events_are_read_however_they_are_cut() {
        let running = serde_json::to_string(&progress(JobStatus::Running)).unwrap();
        let finished = serde_json::to_string(&progress(JobStatus::Finished)).unwrap();
        let text = format!(
            ": keep alive\n\nevent: progress\ndata: {running}\n\nevent: progress\ndata: {finished}\n\n"
        );
        for size in [1, 7, text.len()] {
            let pieces: Vec<_> =
                text.as_bytes().chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            let read: Vec<_> =
                events(stream::iter(pieces)).map(|event| event.unwrap().status).collect().await;
            assert_eq!(read, [JobStatus::Running, JobStatus::Finished], "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn what_is_not_progress_is_an_error() {
        let pieces = stream::iter([Ok(Bytes::from_static(b"data: {}\n\n"))]);
        let errors: Vec<_> = events(pieces).map(|event| event.unwrap_err().to_string()).collect().await;
        assert_eq!(errors, ["the JobManager's progress is that of another version"]);
    }
}
