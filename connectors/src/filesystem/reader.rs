//! Runs the scans of CSV, JSON and ORC files in a task.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions},
    datatypes::{Schema, SchemaRef},
};
use datafusion::{
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{metrics::Count, stream::RecordBatchStreamAdapter},
};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::path::Path;
use thalweg_graph::source::Split;
use thalweg_plan::exec::ConnectorScan;

use super::{metadata, options::FilesystemOptions, partition, splits::FileSplit};
use crate::{
    error::{Error, Result},
    file_system::registry::FileSystems,
    format::{
        FileFormat,
        csv::{CsvDecoder, CsvOptions},
        json::{JsonDecoder, JsonOptions},
        orc,
        text::{self, TextRange},
    },
    options::TableOptions,
};

/// One scan, as all its splits share it.
struct Scan {
    file_systems: Arc<FileSystems>,
    format: FileFormat,
    options: std::collections::BTreeMap<String, String>,
    /// The columns that stand in the files, in the table's order.
    file_schema: SchemaRef,
    /// Those of them that are wanted, as positions, ascending; and as a schema.
    wanted: Vec<usize>,
    wanted_schema: SchemaRef,
    /// The columns with one value for a whole file.
    constant_columns: Vec<String>,
    /// What goes out.
    schema: SchemaRef,
    batch_size: usize,
    /// Rows that were left out.
    skipped: Count,
}

/// Opens the rows of some splits of a scan; they will have `schema`. Those that are left out are counted.
pub fn open(
    file_systems: &Arc<FileSystems>,
    scan: &ConnectorScan,
    splits: &[Split],
    schema: SchemaRef,
    context: &TaskContext,
    skipped: Count,
) -> Result<SendableRecordBatchStream> {
    let table_schema = metadata::scan_schema(&scan.table)?;
    let constant_columns = metadata::constant_columns(&scan.table);
    let (_, in_files) = partition::positions(&Arc::new(table_schema.clone()), &constant_columns)?;
    let project = |schema: &Schema, positions: &[usize]| {
        schema.project(positions).map(Arc::new).map_err(|error| Error::Rows(error.into()))
    };
    let file_schema = project(&table_schema, &in_files)?;
    let is_wanted = |position: &usize| schema.index_of(file_schema.field(*position).name()).is_ok();
    let wanted: Vec<usize> = (0..file_schema.fields().len()).filter(is_wanted).collect();
    let scan_parts = Arc::new(Scan {
        file_systems: Arc::clone(file_systems),
        format: FilesystemOptions::of(&scan.table)?.format,
        options: scan.table.options.clone(),
        wanted_schema: project(&file_schema, &wanted)?,
        file_schema,
        wanted,
        constant_columns,
        schema: Arc::clone(&schema),
        batch_size: context.session_config().batch_size(),
        skipped,
    });
    let splits = splits.iter().map(FileSplit::decode).collect::<Result<Vec<_>>>()?;
    let rows = stream::iter(splits).flat_map(move |split| scan_parts.read(split));
    let rows = limited(rows.boxed(), scan.limit).map_err(DataFusionError::from);
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

/// Ends a stream after so many rows.
fn limited(
    rows: BoxStream<'static, Result<RecordBatch>>,
    limit: Option<usize>,
) -> BoxStream<'static, Result<RecordBatch>> {
    let Some(limit) = limit else { return rows };
    rows.scan(limit, |left, batch| {
        let item = match batch {
            Ok(_) if *left == 0 => None,
            Ok(batch) => {
                let batch = batch.slice(0, batch.num_rows().min(*left));
                *left -= batch.num_rows();
                Some(Ok(batch))
            }
            Err(error) => Some(Err(error)),
        };
        std::future::ready(item)
    })
    .boxed()
}

/// Some rows of a batch with their own texts only: whoever counts memory would count those of the whole batch for each part.
fn part(batch: &RecordBatch, start: usize, rows: usize) -> RecordBatch {
    let slice = batch.slice(start, rows);
    let own = |column: &ArrayRef| match column.as_string_view_opt() {
        Some(texts) => Arc::new(texts.gc()) as ArrayRef,
        None => Arc::clone(column),
    };
    let columns = slice.columns().iter().map(own).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(slice.schema(), columns, &options)
        .expect("the columns are those of a batch")
}

impl Scan {
    fn read(self: &Arc<Self>, split: FileSplit) -> BoxStream<'static, Result<RecordBatch>> {
        let scan = Arc::clone(self);
        let batches = match scan.file_rows(&split) {
            Ok(batches) => batches,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        batches
            .and_then(move |batch| {
                std::future::ready(scan.complete(&split, &batch).map(|batch| scan.sliced(batch)))
            })
            .map_ok(|batches| stream::iter(batches.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    fn file_rows(&self, split: &FileSplit) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let place = self.file_systems.locate(&split.url)?;
        let store = place.file_system.object_store();
        let location =
            Path::parse(&place.path).map_err(|error| Error::from_store("read", &split.url, error.into()))?;
        let (url, file_bytes, range) = (split.url.clone(), split.file_bytes, split.start..split.end);
        if self.format == FileFormat::Orc {
            let file = orc::OrcFile { store, location, url, file_bytes };
            return Ok(orc::read(file, range, Arc::clone(&self.wanted_schema), self.batch_size));
        }
        let options = TableOptions(&self.options);
        let decoder: Box<dyn text::DecodeRecords> = match self.format {
            FileFormat::Csv => {
                Box::new(CsvDecoder::new(CsvOptions::of(options), &self.file_schema, self.wanted.clone())?)
            }
            _ => Box::new(JsonDecoder::new(JsonOptions::of(options), Arc::clone(&self.wanted_schema))),
        };
        Ok(text::read(TextRange { store, location, url, range, file_bytes }, decoder, self.skipped.clone()))
    }

    /// The wanted columns in their order, with the values that all rows of the split have.
    fn complete(&self, split: &FileSplit, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            columns.push(match self.constant_columns.iter().position(|key| key == field.name()) {
                None => batch
                    .column_by_name(field.name())
                    .cloned()
                    .ok_or_else(|| Error::Internal(format!("column `{}` was not read", field.name())))?,
                Some(position) => {
                    let value = split.constants.get(position).and_then(Option::as_deref);
                    let value = partition::typed(&split.url, field.name(), value, field.data_type())?;
                    value.to_array_of_size(batch.num_rows())?
                }
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| Error::Rows(error.into()))
    }

    fn sliced(&self, batch: RecordBatch) -> Vec<RecordBatch> {
        if batch.num_rows() <= self.batch_size {
            return vec![batch];
        }
        let starts = (0..batch.num_rows()).step_by(self.batch_size.max(1));
        starts.map(|start| part(&batch, start, self.batch_size.min(batch.num_rows() - start))).collect()
    }
}
