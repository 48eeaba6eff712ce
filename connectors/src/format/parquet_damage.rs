//! Finds what is wrong with the Parquet files of a failed scan. A decoder does not know the file that its pages come from, so
//! the scan's error names none; the files are read once more, column by column, until the damage shows again.

use std::{error::Error as StdError, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use arrow::error::ArrowError;
use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    datasource::{
        listing::PartitionedFile,
        physical_plan::{
            FileScanConfig,
            parquet::{DefaultParquetFileReaderFactory, ParquetFileReaderFactory as _},
        },
        source::DataSourceExec,
    },
    error::DataFusionError,
    execution::runtime_env::RuntimeEnv,
    parquet::{
        arrow::{
            ParquetRecordBatchStreamBuilder, ProjectionMask, arrow_reader::ArrowReaderMetadata,
            async_reader::AsyncFileReader,
        },
        errors::ParquetError,
    },
    physical_plan::{ExecutionPlan, metrics::ExecutionPlanMetricsSet},
};
use futures::{FutureExt as _, TryStreamExt};
use object_store::ObjectStore;

use super::schema;
use crate::error::{Cause, Error};

/// How long the damage is looked for. The job has failed already; it is only told better.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(30);

/// What the error of a scan hints at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suspicion {
    /// Bytes that are no Parquet.
    Damage,
    /// A column of another type than the table's, in a file whose footer was not read when the query was planned.
    Types,
}

/// What is wrong with the files of a fragment's scans, if the error that ended them may come from that: the first file that has
/// other types than its table, or that cannot be read to its end, and where in it.
pub async fn explain(
    error: &DataFusionError,
    plan: &Arc<dyn ExecutionPlan>,
    runtime: &RuntimeEnv,
) -> Option<Error> {
    let suspicion = suspicion(error)?;
    let mut scans = Vec::new();
    let collected = plan.apply(|node| {
        let source = node.downcast_ref::<DataSourceExec>().map(|scan| scan.data_source());
        if let Some(config) = source.and_then(|source| source.downcast_ref::<FileScanConfig>())
            && config.file_source().file_type() == "parquet"
        {
            scans.push(config.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    collected.ok()?;
    tokio::time::timeout(SEARCH_TIMEOUT, search(suspicion, &scans, runtime)).await.ok()?
}

fn suspicion(error: &DataFusionError) -> Option<Suspicion> {
    let of_parquet = |error: &ParquetError| match error {
        ParquetError::External(_) => None,
        _ => Some(Suspicion::Damage),
    };
    let of_arrow = |error: &ArrowError| match error {
        ArrowError::ParquetError(_) => Some(Suspicion::Damage),
        ArrowError::CastError(_) | ArrowError::ParseError(_) => Some(Suspicion::Types),
        _ => None,
    };
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        let found = match error.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::ParquetError(error)) => of_parquet(error),
            Some(DataFusionError::ArrowError(error, _)) => of_arrow(error),
            Some(DataFusionError::Plan(_) | DataFusionError::Execution(_)) => Some(Suspicion::Types),
            _ => {
                let parquet = error.downcast_ref::<ParquetError>().and_then(of_parquet);
                parquet.or_else(|| error.downcast_ref::<ArrowError>().and_then(of_arrow))
            }
        };
        if found.is_some() {
            return found;
        }
        next = error.source();
    }
    None
}

async fn search(suspicion: Suspicion, scans: &[FileScanConfig], runtime: &RuntimeEnv) -> Option<Error> {
    for scan in scans {
        let store = runtime.object_store(&scan.object_store_url).ok()?;
        let root = scan.object_store_url.as_str().trim_end_matches('/');
        let table = scan.file_source().table_schema().file_schema();
        for file in scan.file_groups.iter().flat_map(|group| group.iter()) {
            let path = format!("{root}/{}", file.object_meta.location);
            let found = match suspicion {
                Suspicion::Damage => read_through(&store, file).await.map_err(|source| Error::Corrupt {
                    path,
                    format: "Parquet",
                    source,
                }),
                Suspicion::Types => match open(&store, file).await {
                    Ok((_, metadata)) => schema::check(&path, metadata.schema(), table),
                    Err(_) => Ok(()),
                },
            };
            if let Err(error) = found {
                return Some(error);
            }
        }
    }
    None
}

/// A reader of a file, and what its footer says.
async fn open(
    store: &Arc<dyn ObjectStore>,
    file: &PartitionedFile,
) -> Result<(Box<dyn AsyncFileReader>, ArrowReaderMetadata), Cause> {
    let factory = DefaultParquetFileReaderFactory::new(Arc::clone(store));
    let mut reader: Box<dyn AsyncFileReader> =
        factory.create_reader(0, file.clone(), None, &ExecutionPlanMetricsSet::new())?;
    let metadata = ArrowReaderMetadata::load_async(&mut reader, Default::default()).await?;
    Ok((reader, metadata))
}

/// Reads a file one column of one row group at a time.
async fn read_through(store: &Arc<dyn ObjectStore>, file: &PartitionedFile) -> Result<(), Cause> {
    let (_, metadata) = open(store, file).await?;
    for row_group in 0..metadata.metadata().num_row_groups() {
        for (column, field) in metadata.schema().fields().iter().enumerate() {
            decoded(decode(store, file, row_group, column)).await.map_err(|reason| {
                Cause::from(format!("row group {row_group}, column `{}`: {reason}", field.name()))
            })?;
        }
    }
    Ok(())
}

async fn decode(
    store: &Arc<dyn ObjectStore>,
    file: &PartitionedFile,
    row_group: usize,
    column: usize,
) -> Result<(), Cause> {
    let (reader, metadata) = open(store, file).await?;
    let mask = ProjectionMask::roots(metadata.metadata().file_metadata().schema_descr(), [column]);
    let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata);
    let mut rows = builder.with_row_groups(vec![row_group]).with_projection(mask).build()?;
    while rows.try_next().await?.is_some() {}
    Ok(())
}

/// Why decoding fails, be it by a panic: damaged bytes reach corners of a decoder that nothing else does.
async fn decoded(decoding: impl Future<Output = Result<(), Cause>>) -> Result<(), String> {
    match AssertUnwindSafe(decoding).catch_unwind().await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err("its pages cannot be decoded".to_owned()),
    }
}
