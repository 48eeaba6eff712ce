//! Parquet files as the planner sees them: schema and statistics from their footers, which are kept in the runtime's bounded
//! cache, so that the next query on the same files reads none.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use datafusion::{
    catalog::Session,
    common::{Statistics, stats::Precision},
    config::TableParquetOptions,
    datasource::physical_plan::parquet::metadata::DFParquetMetadata,
};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, ObjectStore};

use super::schema;
use crate::error::{Error, Result};

/// Footers that are read at once.
const FOOTERS_AT_ONCE: usize = 32;
/// Of more files than this, only some footers are read when a query is planned, and the rest is estimated by size.
const FOOTERS_MAX: usize = 1024;

/// What one footer says.
#[derive(Debug, Clone)]
pub struct Footer {
    /// The columns in Arrow's types.
    pub schema: Schema,
    /// Rows, nulls, smallest and largest values of the table's columns.
    pub statistics: Arc<Statistics>,
}

/// The options that Parquet is read with: the session's, and dates before 1677 or after 2262 in `INT96` kept whole.
pub fn read_options(session: &dyn Session) -> TableParquetOptions {
    let mut options = session.default_table_options().parquet;
    options.global.coerce_int96.get_or_insert_with(|| "us".to_owned());
    options
}

/// The positions of the files whose footers are read: all, or every n-th.
pub fn sample(files: usize) -> Vec<usize> {
    let step = files.div_ceil(FOOTERS_MAX).max(1);
    (0..files).step_by(step).collect()
}

/// Reads footers, checks them against the table's columns (those that are in the files) and takes their statistics.
pub async fn footers(
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    root: &str,
    files: Vec<ObjectMeta>,
    table: &SchemaRef,
) -> Result<Vec<Footer>> {
    let read = |meta: ObjectMeta| async move {
        let path = format!("{root}/{}", meta.location);
        let footer = footer(session, store.as_ref(), &path, &meta, Some(table)).await?;
        schema::check(&path, &footer.schema, table)?;
        Ok(footer)
    };
    stream::iter(files).map(read).buffered(FOOTERS_AT_ONCE).try_collect().await
}

/// The columns of several files together.
pub async fn infer(
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    root: &str,
    files: Vec<ObjectMeta>,
) -> Result<Schema> {
    let read = |meta: ObjectMeta| async move {
        let path = format!("{root}/{}", meta.location);
        let footer = footer(session, store.as_ref(), &path, &meta, None).await?;
        Ok::<_, Error>((path, footer.schema))
    };
    let mut footers = stream::iter(files).map(read).buffered(FOOTERS_AT_ONCE);
    let mut union = schema::Union::default();
    while let Some((path, schema)) = footers.try_next().await? {
        union.add(&path, &schema)?;
    }
    Ok(union.finish())
}

async fn footer(
    session: &dyn Session,
    store: &dyn ObjectStore,
    path: &str,
    meta: &ObjectMeta,
    table: Option<&SchemaRef>,
) -> Result<Footer> {
    let options = read_options(session);
    let cache = session.runtime_env().cache_manager.get_file_metadata_cache();
    let reader = DFParquetMetadata::new(store, meta)
        .with_metadata_size_hint(options.global.metadata_size_hint)
        .with_coerce_int96(Some(TimeUnit::Microsecond))
        .with_file_metadata_cache(Some(cache));
    let metadata = reader.fetch_metadata().await.map_err(|error| unreadable(path, error))?;
    let schema = reader.fetch_schema().await.map_err(|error| unreadable(path, error))?;
    let statistics = match table {
        None => Statistics::default(),
        Some(table) => {
            let mut statistics = DFParquetMetadata::statistics_from_parquet_metadata(&metadata, table)
                .map_err(|error| unreadable(path, error))?;
            forget_bounds_of_other_types(&mut statistics, &schema, table);
            statistics.total_byte_size = Precision::Absent;
            statistics.calculate_total_byte_size(table);
            statistics
        }
    };
    Ok(Footer { schema, statistics: Arc::new(statistics) })
}

/// Bounds are in the file's type; where the table has another, they are no bounds of its values.
fn forget_bounds_of_other_types(statistics: &mut Statistics, file: &Schema, table: &Schema) {
    for (column, field) in statistics.column_statistics.iter_mut().zip(table.fields()) {
        let same = file.field_with_name(field.name()).is_ok_and(|found| {
            let text = |data_type: &DataType| {
                matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
            };
            found.data_type() == field.data_type() || (text(found.data_type()) && text(field.data_type()))
        });
        if !same {
            column.min_value = Precision::Absent;
            column.max_value = Precision::Absent;
            column.sum_value = Precision::Absent;
        }
    }
}

/// A failure to read a footer: of the file system where its causes say so, else the file is no Parquet.
fn unreadable(path: &str, error: datafusion::error::DataFusionError) -> Error {
    use datafusion::{error::DataFusionError, parquet::errors::ParquetError};
    match error {
        DataFusionError::ObjectStore(error) => vanished(Error::from_store("read", path, *error)),
        DataFusionError::ParquetError(error) => match *error {
            ParquetError::External(cause) => match cause.downcast::<object_store::Error>() {
                Ok(error) => vanished(Error::from_store("read", path, *error)),
                Err(source) => Error::Corrupt { path: path.to_owned(), format: "Parquet", source },
            },
            error => Error::Corrupt { path: path.to_owned(), format: "Parquet", source: Box::new(error) },
        },
        error => Error::Corrupt { path: path.to_owned(), format: "Parquet", source: Box::new(error) },
    }
}

/// The file was listed, so it was there.
fn vanished(error: Error) -> Error {
    match error {
        Error::NotFound { path } => Error::Vanished { path },
        other => other,
    }
}
