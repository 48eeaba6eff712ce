//! A `filesystem` table for reading: lists its files when a query is planned, leaves out the partitions that cannot match,
//! and hands the rest to DataFusion's file scan (Parquet, Avro) or to this crate's readers (CSV, JSON, ORC).

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{DFSchema, ScalarValue, Statistics, TableReference, project_schema},
    datasource::{
        TableType,
        file_format::{FileFormat as _, avro::AvroFormat, parquet::ParquetFormat},
        listing::{
            PartitionedFile,
            helpers::{expr_applicable_for_cols, filter_partitioned_file},
        },
        physical_plan::{FileGroup, FileScanConfigBuilder},
        table_schema::TableSchema,
    },
    error::DataFusionError,
    execution::object_store::ObjectStoreUrl,
    logical_expr::{Expr, TableProviderFilterPushDown},
    physical_plan::{ExecutionPlan, empty::EmptyExec},
};
use datafusion_datasource::compute_all_files_statistics;
use thalweg_graph::{
    SqlError,
    table::{TableDescriptor, TablePath},
};
use thalweg_plan::exec::{ConnectorScan, ConnectorSourceExec};

use super::{
    bucket::BUCKETS,
    files::{self, TableFile},
    metadata,
    options::FilesystemOptions,
    partition, splits,
};
use crate::{
    error::{Error, Result},
    file_system::Location,
    format::{FileFormat, infer, parquet},
    options::TableOptions,
};

/// A table that is read from files.
#[derive(Debug)]
pub struct FilesystemTable {
    pub(super) descriptor: TableDescriptor,
    pub(super) options: FilesystemOptions,
    pub(super) location: Location,
    /// The physical columns in declared order, then those of metadata.
    schema: SchemaRef,
    /// The columns that stand in the files.
    file_schema: SchemaRef,
    /// The columns with one value for a whole file: partition columns, then metadata.
    constant_schema: SchemaRef,
}

impl FilesystemTable {
    /// Of a table with its physical and metadata columns; nothing is read before a scan is planned.
    pub fn new(
        descriptor: TableDescriptor,
        options: FilesystemOptions,
        location: Location,
        schema: SchemaRef,
    ) -> Result<Self> {
        let (constant, file) = partition::positions(&schema, &metadata::constant_columns(&descriptor))?;
        let project = |positions: &[usize]| {
            schema.project(positions).map(Arc::new).map_err(|error| Error::Rows(error.into()))
        };
        let (constant_schema, file_schema) = (project(&constant)?, project(&file)?);
        Ok(Self { descriptor, options, location, schema, file_schema, constant_schema })
    }

    async fn plan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.options.monitor_interval.is_some() {
            return self.watched_scan(session, projection);
        }
        let files = files::list(&self.location, &self.options, &self.descriptor).await?;
        let files = self.prune(files, filters)?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema, projection)?)));
        }
        // A limit holds for the scan alone only where every filter was answered by leaving out files.
        let limit = limit.filter(|_| filters.iter().all(|filter| self.is_on_constants(filter)));
        match self.options.format {
            FileFormat::Parquet | FileFormat::Avro => self.file_scan(session, files, projection, limit).await,
            FileFormat::Csv | FileFormat::Json | FileFormat::Orc => {
                self.connector_scan(session, files, projection, limit).await
            }
        }
    }

    fn is_on_constants(&self, filter: &Expr) -> bool {
        let constant = metadata::constant_columns(&self.descriptor);
        let constant: Vec<&str> = constant.iter().map(String::as_str).collect();
        !constant.is_empty() && expr_applicable_for_cols(&constant, filter)
    }

    /// The files for whose constant columns the filters hold, with the typed values of those.
    fn prune(&self, files: Vec<TableFile>, filters: &[Expr]) -> Result<Vec<(TableFile, Vec<ScalarValue>)>> {
        let filters: Vec<Expr> =
            filters.iter().filter(|filter| self.is_on_constants(filter)).cloned().collect();
        let constant_columns = DFSchema::try_from(Arc::clone(&self.constant_schema))?;
        let mut kept = Vec::with_capacity(files.len());
        for file in files {
            let values = self.typed_constants(&file)?;
            let probe = PartitionedFile::new("probe", 0).with_partition_values(values.clone());
            if filters.is_empty() || filter_partitioned_file(probe, &filters, &constant_columns)?.is_some() {
                kept.push((file, values));
            }
        }
        Ok(kept)
    }

    fn typed_constants(&self, file: &TableFile) -> Result<Vec<ScalarValue>> {
        let typed = |(field, value): (&Arc<Field>, &Option<String>)| {
            partition::typed(&file.status.path, field.name(), value.as_deref(), field.data_type())
        };
        self.constant_schema.fields().iter().zip(&file.constants).map(typed).collect()
    }

    /// The scan of a folder that is watched: its readers find the files by themselves.
    fn watched_scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = session.config().target_partitions().clamp(1, usize::from(BUCKETS));
        let scan = ConnectorScan::new(self.descriptor.clone(), projection.cloned(), None);
        let schema = project_schema(&self.schema, projection)?;
        Ok(Arc::new(ConnectorSourceExec::new(scan, schema, vec![Vec::new(); partitions])))
    }

    /// The rows of one whole Parquet or Avro file, in the file's order where the session has one partition.
    pub(super) async fn file_plan(
        &self,
        session: &dyn Session,
        file: TableFile,
        projection: Option<&Vec<usize>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let values = self.typed_constants(&file)?;
        self.file_scan(session, vec![(file, values)], projection, None).await
    }

    async fn file_scan(
        &self,
        session: &dyn Session,
        files: Vec<(TableFile, Vec<ScalarValue>)>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table_schema = TableSchema::builder(Arc::clone(&self.file_schema))
            .with_table_partition_cols(self.constant_schema.fields().to_vec())
            .build();
        let source = match self.options.format {
            FileFormat::Avro => AvroFormat.file_source(table_schema.clone()),
            _ => ParquetFormat::default()
                .with_options(parquet::read_options(session))
                .file_source(table_schema.clone()),
        };
        let TablePath { catalog, database, table } = &self.descriptor.path;
        let name = TableReference::full(catalog.as_str(), database.as_str(), table.as_str());
        let mut partitioned = Vec::with_capacity(files.len());
        for (file, values) in files {
            let file = PartitionedFile::new_from_meta(file.object_meta()?).with_partition_values(values);
            partitioned.push(file.with_table_reference(Some(name.clone())));
        }
        let sampled = self.with_statistics(session, &mut partitioned).await?;
        let groups = FileGroup::new(partitioned).split_files(session.config().target_partitions());
        let (groups, mut statistics) =
            compute_all_files_statistics(groups, Arc::clone(table_schema.table_schema()), true, false)?;
        if let Some(factor) = sampled {
            statistics = scaled(statistics, factor);
        }
        let url = ObjectStoreUrl::parse(self.location.file_system.root())?;
        let config = FileScanConfigBuilder::new(url, source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(self.source_projection(projection)?))?
            .with_limit(limit)
            .build();
        match self.options.format {
            FileFormat::Avro => Ok(AvroFormat.create_physical_plan(session, config).await?),
            _ => {
                let format = ParquetFormat::default().with_options(parquet::read_options(session));
                Ok(format.create_physical_plan(session, config).await?)
            }
        }
    }

    /// Gives files the statistics of their footers. Where only some footers were read: by how much the sum falls short.
    async fn with_statistics(
        &self,
        session: &dyn Session,
        files: &mut [PartitionedFile],
    ) -> Result<Option<f64>> {
        if self.options.format != FileFormat::Parquet {
            return Ok(None);
        }
        let sample = parquet::sample(files.len());
        let metas = sample.iter().map(|&position| files[position].object_meta.clone()).collect();
        let store = self.location.file_system.object_store();
        let root = self.location.file_system.root();
        let footers = parquet::footers(session, &store, root, metas, &self.file_schema).await?;
        for (&position, footer) in sample.iter().zip(footers) {
            files[position] = files[position].clone().with_statistics(footer.statistics);
        }
        let bytes = |positions: &mut dyn Iterator<Item = usize>| -> u64 {
            positions.map(|position| files[position].object_meta.size).sum()
        };
        let read = bytes(&mut sample.iter().copied());
        let all = bytes(&mut (0..files.len()));
        Ok((sample.len() < files.len()).then(|| all as f64 / read.max(1) as f64))
    }

    /// Columns by their position among file columns followed by constant ones, as DataFusion's scans count them.
    fn source_projection(&self, projection: Option<&Vec<usize>>) -> Result<Vec<usize>> {
        let constant = metadata::constant_columns(&self.descriptor);
        let (constant, file) = partition::positions(&self.schema, &constant)?;
        let order: Vec<usize> = file.into_iter().chain(constant).collect();
        let wanted = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let position = |column: &usize| {
            let found = order.iter().position(|other| other == column);
            found.ok_or_else(|| Error::Internal(format!("column {column} is not in the table")))
        };
        wanted.iter().map(position).collect()
    }

    async fn connector_scan(
        &self,
        session: &dyn Session,
        files: Vec<(TableFile, Vec<ScalarValue>)>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files: Vec<TableFile> = files.into_iter().map(|(file, _)| file).collect();
        let statistics = splits::estimate(&self.schema, &files, projection);
        let partitions = session.config().target_partitions();
        let splits = splits::deal(&self.location, &self.options, &self.descriptor, files, partitions).await?;
        let scan = ConnectorScan::new(self.descriptor.clone(), projection.cloned(), limit);
        let schema = project_schema(&self.schema, projection)?;
        Ok(Arc::new(ConnectorSourceExec::new(scan, schema, splits).with_statistics(statistics)))
    }
}

/// Statistics of some files as an estimate for all.
fn scaled(statistics: Statistics, factor: f64) -> Statistics {
    let mut statistics = statistics.to_inexact();
    let grow = |value: &usize| (*value as f64 * factor) as usize;
    statistics.num_rows = statistics.num_rows.map_value(grow);
    statistics.total_byte_size = statistics.total_byte_size.map_value(grow);
    for column in &mut statistics.column_statistics {
        column.byte_size = column.byte_size.map_value(grow);
        column.null_count = column.null_count.map_value(grow);
    }
    statistics
}

trait MapValue {
    fn map_value(&self, f: impl Fn(&usize) -> usize) -> Self;
}

impl MapValue for datafusion::common::stats::Precision<usize> {
    fn map_value(&self, f: impl Fn(&usize) -> usize) -> Self {
        use datafusion::common::stats::Precision;
        match self {
            Precision::Exact(value) | Precision::Inexact(value) => Precision::Inexact(f(value)),
            Precision::Absent => Precision::Absent,
        }
    }
}

#[async_trait]
impl TableProvider for FilesystemTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> datafusion::error::Result<Vec<TableProviderFilterPushDown>> {
        // Which files there will be is not known yet.
        if self.options.monitor_interval.is_some() {
            return Ok(vec![TableProviderFilterPushDown::Unsupported; filters.len()]);
        }
        let answer = |filter: &&Expr| match self.is_on_constants(filter) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Inexact,
        };
        Ok(filters.iter().map(answer).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let plan = self.plan(session, projection, filters, limit).await;
        plan.map_err(|error| DataFusionError::External(Box::new(SqlError::from(error))))
    }
}

/// The columns of a table that declares none: those of its files, then its partition columns as text.
pub async fn infer_schema(
    session: &dyn Session,
    location: &Location,
    options: &FilesystemOptions,
    table: &TableDescriptor,
) -> Result<Schema> {
    let files = files::list(location, options, table).await?;
    if files.is_empty() {
        return Err(Error::Invalid(format!(
            "`{}` has no files to take the columns from; declare the table's columns",
            location.url()
        )));
    }
    let sample: Vec<_> = parquet::sample(files.len()).into_iter().map(|position| &files[position]).collect();
    let metas = sample.iter().map(|file| file.object_meta()).collect::<Result<Vec<_>>>()?;
    let store = location.file_system.object_store();
    let root = location.file_system.root();
    let in_files = match options.format {
        FileFormat::Parquet => parquet::infer(session, &store, root, metas).await?,
        FileFormat::Avro => {
            let schema = AvroFormat.infer_schema(session, &store, &metas).await;
            Schema::clone(&*schema.map_err(|error| Error::Corrupt {
                path: location.url(),
                format: "Avro",
                source: Box::new(error),
            })?)
        }
        format => infer::infer(format, &store, root, metas, TableOptions(&table.options)).await?,
    };
    let text = thalweg_plan::sql_type::SqlType::String.to_arrow();
    let keys = table.partition_keys.iter().map(|key| Field::new(key, text.clone(), true));
    let fields = in_files.fields().iter().map(|field| field.as_ref().clone());
    Ok(Schema::new(
        fields.filter(|field| !table.partition_keys.contains(field.name())).chain(keys).collect::<Vec<_>>(),
    ))
}
