//! A live result page by page: a page has what has come, and is there once something has.

use std::{collections::VecDeque, time::Duration};

use arrow::{
    array::RecordBatch,
    buffer::Buffer,
    datatypes::{Schema, SchemaRef},
    error::ArrowError,
    ipc::reader::StreamDecoder,
};
use tokio::time::{Instant, timeout_at};

use super::{
    live::{End, LiveResult},
    page::{PAGE_ROWS, Page, json_rows, shown_columns},
};

/// What was taken of a result and is not given out.
#[derive(Debug, Default)]
pub struct LivePages {
    decoder: StreamDecoder,
    buffer: Buffer,
    schema: Option<SchemaRef>,
    batches: VecDeque<RecordBatch>,
    end: Option<End>,
    /// The page that comes next.
    token: u64,
    /// The newest page given out: a client whose connection broke asks for it again.
    last: Option<(u64, Page)>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum NoPage {
    /// It was given out, or does not come next.
    #[error("page {asked} cannot be had: the next one is {next}")]
    OutOfTurn {
        /// The page asked for.
        asked: u64,
        /// The one that can be had.
        next: u64,
    },
    /// The job ended without its rows.
    #[error("the job ended early")]
    Broken(super::JobEnd),
    /// What a task has sent makes no sense.
    #[error(transparent)]
    Unreadable(#[from] ArrowError),
}

impl LivePages {
    /// A page, once it has rows or `wait` is over; then it has none, and the same page is to be asked for again.
    pub async fn page(&mut self, result: &LiveResult, token: u64, wait: Duration) -> Result<Page, NoPage> {
        if let Some((last, page)) = &self.last
            && *last == token
        {
            return Ok(page.clone());
        }
        if token != self.token {
            return Err(NoPage::OutOfTurn { asked: token, next: self.token });
        }
        let deadline = Instant::now() + wait;
        while self.end.is_none() && self.rows() < PAGE_ROWS && (self.rows() == 0 || result.is_ready()) {
            match timeout_at(deadline, result.next()).await {
                Ok(Ok(bytes)) => self.decode(Buffer::from(bytes))?,
                Ok(Err(end)) => self.end = Some(end),
                Err(_) => break,
            }
        }
        self.take(token)
    }

    fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    fn decode(&mut self, bytes: Buffer) -> Result<(), ArrowError> {
        self.buffer = bytes;
        while let Some(batch) = self.decoder.decode(&mut self.buffer)? {
            if batch.num_rows() > 0 {
                self.batches.push_back(batch);
            }
        }
        if self.schema.is_none() {
            self.schema = self.decoder.schema();
        }
        Ok(())
    }

    fn take(&mut self, token: u64) -> Result<Page, NoPage> {
        let mut taken = Vec::new();
        let mut left = PAGE_ROWS;
        while left > 0
            && let Some(batch) = self.batches.pop_front()
        {
            let count = left.min(batch.num_rows());
            if count < batch.num_rows() {
                self.batches.push_front(batch.slice(count, batch.num_rows() - count));
            }
            taken.push(batch.slice(0, count));
            left -= count;
        }
        let ended = self.batches.is_empty() && self.end.is_some();
        if let (true, Some(End::Broken(end))) = (taken.is_empty(), &self.end) {
            return Err(NoPage::Broken(end.clone()));
        }
        let broken = matches!(self.end, Some(End::Broken(_)));
        let none = || SchemaRef::new(Schema::empty());
        let schema = self.schema.as_ref().map_or_else(none, shown_columns);
        let page = Page { schema, rows: json_rows(&taken)?, has_next: !ended || broken };
        if !taken.is_empty() || ended {
            self.last = Some((token, page.clone()));
            self.token += 1;
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, Int64Array},
        ipc::writer::StreamWriter,
    };
    use thalweg_graph::{Attempt, JobId, SubtaskId, VertexId, change_kind::WEIGHT};
    use tokio::sync::mpsc;

    use super::*;
    use crate::clock::Clock;

    #[tokio::test]
    async fn pages_come_as_their_rows_do_and_the_newest_can_be_had_again() {
        let result = LiveResult::new(Clock::start());
        let (worker, _orders) = mpsc::channel(64);
        let subtask = SubtaskId { vertex: VertexId(0), index: 0 };
        let attempt = Attempt { job: JobId(1), subtask, number: 0 };
        let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
        let batch = |values: Vec<i64>, weights: Vec<i64>| {
            RecordBatch::try_from_iter([("n", column(values)), (WEIGHT, column(weights))]).unwrap()
        };
        let first = batch(vec![1, 1, 2], vec![1, -1, 1]);
        let mut writer = StreamWriter::try_new(Vec::new(), &first.schema()).unwrap();
        let mut pages = LivePages::default();

        writer.write(&first).unwrap();
        let bytes = std::mem::take(writer.get_mut());
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        result.push(attempt, head.to_vec().into(), &worker).unwrap();
        let empty = pages.page(&result, 0, Duration::ZERO).await.unwrap();
        assert_eq!((empty.rows.as_str(), empty.has_next), ("[]", true), "half a batch is none");
        result.push(attempt, tail.to_vec().into(), &worker).unwrap();
        let page = pages.page(&result, 0, Duration::from_secs(60)).await.unwrap();
        assert_eq!(
            page.rows,
            r#"[{"kind":"INSERT","fields":[1]},{"kind":"UPDATE_BEFORE","fields":[1]},{"kind":"UPDATE_AFTER","fields":[2]}]"#
        );
        assert_eq!(page.schema.fields().len(), 1);
        assert_eq!(pages.page(&result, 0, Duration::ZERO).await.unwrap(), page);
        assert!(matches!(
            pages.page(&result, 7, Duration::ZERO).await,
            Err(NoPage::OutOfTurn { asked: 7, next: 1 })
        ));

        writer.write(&batch((0..1_500).collect(), vec![1; 1_500])).unwrap();
        writer.finish().unwrap();
        result.push(attempt, std::mem::take(writer.get_mut()).into(), &worker).unwrap();
        result.end(End::Complete);
        let mut seen = Vec::new();
        for token in 1..3 {
            let page = pages.page(&result, token, Duration::ZERO).await.unwrap();
            let rows: Vec<serde_json::Value> = serde_json::from_str(&page.rows).unwrap();
            seen.push((rows.len(), page.has_next));
        }
        assert_eq!(seen, [(1_000, true), (500, false)]);
    }
}
