//! Results as pages of JSON rows: `{"kind":"INSERT","fields":[..]}`, as Flink's SQL gateway gives them.
//!
//! A page's place is a number only, so pages are found by reading on from where the last reader stopped, or again from the start.

use std::sync::Arc;

use arrow::{
    array::{AsArray as _, RecordBatch},
    datatypes::{Int64Type, Schema, SchemaRef},
    error::ArrowError,
    ipc::reader::StreamReader,
    json::{StructMode, WriterBuilder, writer::LineDelimited},
};

use thalweg_graph::change_kind::{ChangeKind, WEIGHT, changes};

use super::{Spool, spool::SpoolReader};

/// Most rows of a page.
pub const PAGE_ROWS: usize = 1_000;

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows as a JSON array.
    pub rows: String,
    /// Whether there are more.
    pub has_next: bool,
}

/// Reads the pages of one result in turn.
#[derive(Debug, Default)]
pub struct PageReader {
    open: Option<Open>,
    /// The newest page given out: a client whose connection broke asks for it again.
    last: Option<(u64, Page)>,
}

#[derive(Debug)]
struct Open {
    reader: StreamReader<SpoolReader>,
    /// The page that comes next.
    token: u64,
    /// The batch that is being given out, and the next row of it.
    batch: Option<(RecordBatch, usize)>,
}

impl PageReader {
    /// A page; `None` if the result ends before it. Blocks on the disk.
    pub fn page(&mut self, spool: &Spool, token: u64) -> Result<Option<Page>, ArrowError> {
        if let Some((last, page)) = &self.last
            && *last == token
        {
            return Ok(Some(page.clone()));
        }
        let mut open = match self.open.take() {
            Some(open) if open.token <= token => open,
            _ => Open::start(spool)?,
        };
        while open.token < token {
            if open.skip_page()? == 0 {
                return Ok(None);
            }
            open.token += 1;
        }
        let page = open.read_page()?;
        open.token += 1;
        // The first page is always there, if only to say that there are no rows.
        if page.rows == "[]" && token > 0 {
            return Ok(None);
        }
        self.last = Some((token, page.clone()));
        self.open = Some(open);
        Ok(Some(page))
    }
}

impl Open {
    fn start(spool: &Spool) -> Result<Self, ArrowError> {
        let mut open = Open { reader: StreamReader::try_new(spool.reader(), None)?, token: 0, batch: None };
        open.fill()?;
        Ok(open)
    }

    /// Sees to it that `batch` has rows left, unless the result ends here.
    fn fill(&mut self) -> Result<(), ArrowError> {
        while self.batch.as_ref().is_none_or(|(batch, row)| *row >= batch.num_rows()) {
            match self.reader.next() {
                Some(batch) => self.batch = Some((batch?, 0)),
                None => {
                    self.batch = None;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Up to a page's rows, batch by batch.
    fn take_rows(
        &mut self,
        mut each: impl FnMut(RecordBatch) -> Result<(), ArrowError>,
    ) -> Result<usize, ArrowError> {
        let mut left = PAGE_ROWS;
        while let Some((batch, row)) = &mut self.batch
            && left > 0
        {
            let count = left.min(batch.num_rows() - *row);
            each(batch.slice(*row, count))?;
            *row += count;
            left -= count;
            self.fill()?;
        }
        Ok(PAGE_ROWS - left)
    }

    fn skip_page(&mut self) -> Result<usize, ArrowError> {
        self.take_rows(|_| Ok(()))
    }

    fn read_page(&mut self) -> Result<Page, ArrowError> {
        let mut batches = Vec::new();
        self.take_rows(|batch| {
            batches.push(batch);
            Ok(())
        })?;
        let schema = self.reader.schema();
        Ok(Page { schema, rows: json_rows(&batches)?, has_next: self.batch.is_some() })
    }
}

/// The columns without the weight of rows that change.
pub(super) fn shown_columns(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().filter(|field| field.name() != WEIGHT);
    Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
}

/// Rows as a JSON array, each with what becomes of it.
pub(super) fn json_rows(batches: &[RecordBatch]) -> Result<String, ArrowError> {
    let mut rows = Vec::new();
    for batch in batches {
        let fields = fields(batch)?;
        let row = |(row, kind): (usize, ChangeKind)| {
            format!(r#"{{"kind":"{}","fields":{}}}"#, kind.name(), fields[row])
        };
        match batch.column_by_name(WEIGHT).and_then(|weights| weights.as_primitive_opt::<Int64Type>()) {
            Some(weights) => rows.extend(changes(weights.values()).map(row)),
            None => rows.extend((0..batch.num_rows()).map(|at| row((at, ChangeKind::Insert)))),
        }
    }
    Ok(format!("[{}]", rows.join(",")))
}

/// The values of each row as a JSON array.
fn fields(batch: &RecordBatch) -> Result<Vec<String>, ArrowError> {
    let shown: Vec<usize> = batch
        .schema_ref()
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| field.name() != WEIGHT)
        .map(|(at, _)| at)
        .collect();
    let mut lines = Vec::new();
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_struct_mode(StructMode::ListOnly)
        .build::<_, LineDelimited>(&mut lines);
    writer.write(&batch.project(&shown)?)?;
    writer.finish()?;
    drop(writer);
    let text = String::from_utf8(lines).map_err(|error| ArrowError::JsonError(error.to_string()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Decimal128Array, Int64Array, StringArray, TimestampMillisecondArray},
        datatypes::{DataType, Field, Schema},
        ipc::writer::StreamWriter,
    };

    use super::*;

    fn numbers(count: i64) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(0..count))]).unwrap()
    }

    async fn spool(batches: &[RecordBatch]) -> Spool {
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new(&mut bytes, &batches[0].schema()).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.finish().unwrap();
        drop(writer);
        Spool::default().append(bytes.into(), &Arc::from(std::env::temp_dir())).await.unwrap()
    }

    fn rows(page: &Page) -> Vec<serde_json::Value> {
        serde_json::from_str(&page.rows).unwrap()
    }

    #[tokio::test]
    async fn pages_cover_all_rows_once_and_can_be_read_again() {
        let spool = spool(&[numbers(700), numbers(0), numbers(1_500)]).await;
        let mut reader = PageReader::default();
        let sizes: Vec<_> = (0..3)
            .map(|token| {
                let page = reader.page(&spool, token).unwrap().unwrap();
                (rows(&page).len(), page.has_next)
            })
            .collect();
        assert_eq!(sizes, [(1_000, true), (1_000, true), (200, false)]);
        assert_eq!(reader.page(&spool, 3).unwrap(), None);
        let again = reader.page(&spool, 0).unwrap().unwrap();
        assert_eq!(rows(&again)[701]["fields"][0], 1);
    }

    #[tokio::test]
    async fn an_empty_result_has_one_page() {
        let page = PageReader::default().page(&spool(&[numbers(0)]).await, 0).unwrap().unwrap();
        assert_eq!((page.rows.as_str(), page.has_next), ("[]", false));
    }

    #[tokio::test]
    async fn values_are_written_as_flink_writes_them() {
        let schema = Schema::new(vec![
            Field::new("s", DataType::Utf8, true),
            Field::new("d", DataType::Decimal128(10, 2), true),
            Field::new("t", DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, None), true),
        ]);
        let batch = RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(StringArray::from(vec![Some("a\"b"), None])),
                Arc::new(Decimal128Array::from(vec![12345, -5]).with_precision_and_scale(10, 2).unwrap()),
                Arc::new(TimestampMillisecondArray::from(vec![Some(1_500), None])),
            ],
        )
        .unwrap();
        let page = PageReader::default().page(&spool(&[batch]).await, 0).unwrap().unwrap();
        assert_eq!(
            page.rows,
            concat!(
                r#"[{"kind":"INSERT","fields":["a\"b",123.45,"1970-01-01T00:00:01.500"]},"#,
                r#"{"kind":"INSERT","fields":[null,-0.05,null]}]"#
            )
        );
    }
}
