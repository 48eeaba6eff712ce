//! The `print` connector: a sink that writes each row to the standard output of the process it runs in, as Flink does:
//! `+I[a, b]`, or `name:1> +I[a, b]` with an identifier and several subtasks. Of rows that change, one that is taken back is `-D[..]`,
//! and one that is replaced by the next is `-U[..]`, followed by `+U[..]`.

use std::io::{self, Write};

use arrow::{
    array::{AsArray as _, RecordBatch},
    datatypes::Int64Type,
    util::display::{ArrayFormatter, DurationFormat, FormatOptions},
};
use async_trait::async_trait;
use thalweg_graph::{
    CheckpointId,
    change_kind::{ChangeKind, changes},
    table::Committable,
};
use thalweg_plan::stream::changelog::is_updating;

use crate::{
    error::{Error, Result},
    options::{Known, TableOptions, Takes, known},
    writer::{SinkOutcome, SinkWriter},
};

/// Its options.
pub const OPTIONS: &[Known] = &[
    known("connector", Takes::Text),
    known("print-identifier", Takes::Text),
    known("standard-error", Takes::Bool),
    known("sink.parallelism", Takes::Number),
];

/// How values are written: Flink's forms of dates and times.
const FORMAT: FormatOptions<'static> = FormatOptions::new()
    .with_null("null")
    .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.f"))
    .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.fZ"))
    .with_duration_format(DurationFormat::ISO8601);

/// The sink.
#[derive(Debug)]
pub struct Print {
    prefix: String,
    to_stderr: bool,
    bytes_written: u64,
}

impl Print {
    /// For one of a number of partitions.
    pub fn new(options: TableOptions<'_>, partition: u32) -> Self {
        let prefix = match options.text("print-identifier") {
            Some(identifier) if !identifier.is_empty() => format!("{identifier}:{}> ", partition + 1),
            _ => String::new(),
        };
        Self { prefix, to_stderr: options.is_set("standard-error"), bytes_written: 0 }
    }
}

/// The rows of a batch as text, a line each.
fn lines(prefix: &str, batch: &RecordBatch) -> Result<String> {
    let failed = |error: arrow::error::ArrowError| Error::Rows(error.into());
    let weights = match is_updating(batch.schema_ref()) {
        true => batch.columns().last().and_then(|weights| weights.as_primitive_opt::<Int64Type>()),
        false => None,
    };
    let shown = batch.num_columns() - usize::from(weights.is_some());
    let columns =
        batch.columns()[..shown].iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &FORMAT));
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>().map_err(failed)?;
    let mut text = String::new();
    match weights {
        Some(weights) => {
            for (row, kind) in changes(weights.values()) {
                line(prefix, kind, &columns, row, &mut text)?;
            }
        }
        None => {
            for row in 0..batch.num_rows() {
                line(prefix, ChangeKind::Insert, &columns, row, &mut text)?;
            }
        }
    }
    Ok(text)
}

fn line(
    prefix: &str,
    kind: ChangeKind,
    columns: &[ArrayFormatter<'_>],
    row: usize,
    text: &mut String,
) -> Result<()> {
    text.push_str(prefix);
    text.push_str(kind.short());
    text.push('[');
    for (position, column) in columns.iter().enumerate() {
        if position > 0 {
            text.push_str(", ");
        }
        column.value(row).write(text).map_err(|_| Error::Internal("a value has no text".to_owned()))?;
    }
    text.push_str("]\n");
    Ok(())
}

#[async_trait]
impl SinkWriter for Print {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let text = lines(&self.prefix, &batch)?;
        let written = if self.to_stderr {
            io::stderr().lock().write_all(text.as_bytes())
        } else {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
        self.bytes_written += text.len() as u64;
        written.map_err(|error| Error::from_io("write", "the standard output", error))
    }

    async fn prepare(&mut self, _checkpoint: CheckpointId) -> Result<Option<Committable>> {
        Ok(None)
    }

    async fn finish(self: Box<Self>) -> Result<SinkOutcome> {
        Ok(SinkOutcome { committable: None, bytes_written: self.bytes_written })
    }

    async fn abort(self: Box<Self>) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray, TimestampMillisecondArray};
    use thalweg_plan::stream::changelog::WEIGHT;

    use super::*;

    #[test]
    fn rows_look_like_flinks() {
        let columns: [(&str, ArrayRef); 3] = [
            ("a", Arc::new(Int32Array::from(vec![Some(1), None]))),
            ("b", Arc::new(StringArray::from(vec!["x, y", ""]))),
            ("c", Arc::new(TimestampMillisecondArray::from(vec![0, 1500]))),
        ];
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
                .unwrap();
        assert_eq!(
            lines("p:1> ", &batch).unwrap(),
            "p:1> +I[1, x, y, 1970-01-01T00:00:00]\np:1> +I[null, , 1970-01-01T00:00:01.500]\n"
        );
    }

    #[test]
    fn changes_look_like_flinks() {
        let columns: [(&str, ArrayRef); 2] = [
            ("a", Arc::new(Int32Array::from(vec![1, 1, 2, 3]))),
            (WEIGHT, Arc::new(Int64Array::from(vec![-1, 1, 2, -1]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        assert_eq!(lines("", &batch).unwrap(), "-U[1]\n+U[1]\n+I[2]\n+I[2]\n-D[3]\n");
    }
}
