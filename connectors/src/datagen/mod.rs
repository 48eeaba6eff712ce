//! The `datagen` connector: a source of made-up rows, bounded here by `number-of-rows`.

mod generator;

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::{Schema, SchemaRef},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{ColumnStatistics, Statistics, project_schema, stats::Precision},
    datasource::TableType,
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::Expr,
    physical_plan::{ExecutionPlan, stream::RecordBatchStreamAdapter},
};
use futures::stream;
use serde::{Deserialize, Serialize};
use thalweg_graph::{source::Split, table::TableDescriptor};
use thalweg_plan::{
    exec::{ConnectorScan, ConnectorSourceExec},
    sql_type,
};

use self::generator::Generator;
use crate::{
    error::{Error, Result},
    options::{self, Known, TableOptions, Takes, known},
};

const CONNECTOR: &str = "datagen";

/// A table of made-up rows.
#[derive(Debug, Clone)]
pub struct Datagen {
    /// Rows in all.
    pub rows: u64,
    /// One for each column.
    generators: Vec<Generator>,
}

impl Datagen {
    /// Checks and reads the options of a table.
    pub fn of(table: &TableDescriptor) -> Result<Self> {
        let options = TableOptions(&table.options);
        check_names(table)?;
        let schema = sql_type::schema(&table.columns).map_err(|error| Error::Invalid(error.message))?;
        let generators = schema.fields().iter().map(|field| Generator::of(field, options));
        let generators = generators.collect::<Result<Vec<_>>>()?;
        let sequence = generators.iter().filter_map(Generator::rows).min();
        let rows = match (options.value::<u64>("number-of-rows"), sequence) {
            (Some(rows), Some(sequence)) => rows.min(sequence),
            (Some(rows), None) => rows,
            (None, Some(sequence)) => sequence,
            (None, None) => {
                return Err(Error::InvalidOption(
                    "connector `datagen` without `number-of-rows` never ends; set `number-of-rows`, or give a column \
                     `fields.<column>.kind` = `sequence`"
                        .to_owned(),
                ));
            }
        };
        Ok(Self { rows, generators })
    }
}

/// The options that exist depend on the columns.
fn check_names(table: &TableDescriptor) -> Result<()> {
    let columns: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
    let mut general = table.options.clone();
    for (name, value) in &table.options {
        let Some((column, attribute)) = name.strip_prefix("fields.").and_then(|rest| rest.rsplit_once('.'))
        else {
            continue;
        };
        if !columns.iter().any(|known| known == column) {
            let near = thalweg_graph::table::nearest(column, columns.iter().map(String::as_str));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            return Err(Error::InvalidOption(format!(
                "option `{name}`: the table has no column `{column}`{hint}"
            )));
        }
        let one = std::collections::BTreeMap::from([(attribute.to_owned(), value.clone())]);
        options::check("datagen", &one, generator::OPTIONS)?;
        general.remove(name);
    }
    const GENERAL: &[Known] = &[
        known("connector", Takes::Text),
        known("number-of-rows", Takes::Number),
        known("rows-per-second", Takes::Number),
        known("scan.parallelism", Takes::Number),
    ];
    options::check(CONNECTOR, &general, GENERAL)
}

/// The rows of one split.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct RowRange {
    start: u64,
    end: u64,
}

/// The table for reading.
#[derive(Debug)]
pub struct DatagenTable {
    descriptor: TableDescriptor,
    schema: SchemaRef,
    rows: u64,
}

impl DatagenTable {
    /// Of a table with its physical columns.
    pub fn new(descriptor: TableDescriptor, schema: SchemaRef) -> Result<Self> {
        let rows = Datagen::of(&descriptor)?.rows;
        if descriptor.options.contains_key("rows-per-second") {
            tracing::info!(table = %descriptor.path, "`rows-per-second` has no meaning in batch mode");
        }
        Ok(Self { descriptor, schema, rows })
    }
}

#[async_trait]
impl TableProvider for DatagenTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let partitions = session.config().target_partitions().max(1) as u64;
        let split = |partition: u64| {
            let (start, end) = (self.rows * partition / partitions, self.rows * (partition + 1) / partitions);
            let descriptor = serde_json::to_vec(&RowRange { start, end });
            let descriptor = descriptor.map_err(|error| DataFusionError::External(Box::new(error)))?.into();
            let display = format!("rows {start}..{end}");
            Ok(vec![Split { display, descriptor, size_bytes: end - start, hosts: Vec::new() }])
        };
        let splits = (0..partitions).map(split).collect::<datafusion::error::Result<Vec<_>>>()?;
        let schema = project_schema(&self.schema, projection)?;
        let statistics = Statistics {
            num_rows: Precision::Exact(self.rows as usize),
            total_byte_size: Precision::Absent,
            column_statistics: vec![ColumnStatistics::new_unknown(); schema.fields().len()],
        };
        let scan = ConnectorScan { table: self.descriptor.clone(), projection: projection.cloned(), limit };
        Ok(Arc::new(ConnectorSourceExec::new(scan, schema, splits).with_statistics(statistics)))
    }
}

/// Opens the rows of some splits of a scan; they will have `schema`.
pub fn open(
    scan: &ConnectorScan,
    splits: &[Split],
    schema: SchemaRef,
    context: &TaskContext,
) -> Result<SendableRecordBatchStream> {
    let datagen = Datagen::of(&scan.table)?;
    let positions: Vec<usize> = match &scan.projection {
        Some(positions) => positions.clone(),
        None => (0..datagen.generators.len()).collect(),
    };
    let generator = |position: &usize| datagen.generators.get(*position).cloned();
    let generators: Vec<Generator> = positions.iter().filter_map(generator).collect();
    let decode = |split: &Split| {
        serde_json::from_slice::<RowRange>(&split.descriptor)
            .map_err(|error| Error::Internal(error.to_string()))
    };
    let ranges = splits.iter().map(decode).collect::<Result<Vec<_>>>()?;
    let step = context.session_config().batch_size().max(1);
    let limit = scan.limit.map_or(u64::MAX, |limit| limit as u64);
    let batches = ranges.into_iter().flat_map(move |RowRange { start, end }| {
        let end = end.min(start.saturating_add(limit));
        (start..end).step_by(step).map(move |first| (first, end.min(first + step as u64)))
    });
    let out = Arc::clone(&schema);
    let rows = batches.map(move |(start, end)| Ok(generate(&generators, &out, start, end)?));
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(rows))))
}

fn generate(generators: &[Generator], schema: &Arc<Schema>, start: u64, end: u64) -> Result<RecordBatch> {
    let columns = generators.iter().zip(schema.fields());
    let columns =
        columns.map(|(generator, field)| generator.column(field, start, end)).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some((end - start) as usize));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| Error::Rows(error.into()))
}

#[cfg(test)]
mod tests {
    use thalweg_graph::table::{Column, TablePath};

    use super::*;

    fn table(options: &[(&str, &str)]) -> TableDescriptor {
        let column = |name: &str, data_type: &str| Column {
            name: name.to_owned(),
            data_type: data_type.to_owned(),
            nullable: true,
        };
        let name = |text: &str| text.to_owned();
        TableDescriptor {
            path: TablePath { catalog: name("c"), database: name("d"), table: name("t") },
            columns: vec![column("id", "BIGINT"), column("price", "DECIMAL(8, 2)"), column("name", "STRING")],
            metadata: Vec::new(),
            partition_keys: Vec::new(),
            primary_key: Vec::new(),
            options: options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        }
    }

    fn rows(options: &[(&str, &str)], start: u64, end: u64) -> RecordBatch {
        let table = table(options);
        let schema = Arc::new(sql_type::schema(&table.columns).unwrap());
        generate(&Datagen::of(&table).unwrap().generators, &schema, start, end).unwrap()
    }

    #[test]
    fn rows_depend_on_their_number_alone() {
        let options = [
            ("number-of-rows", "100"),
            ("fields.id.kind", "sequence"),
            ("fields.id.start", "5"),
            ("fields.id.end", "500"),
        ];
        let all = rows(&options, 0, 100);
        assert_eq!(all.slice(40, 20), rows(&options, 40, 60));
        assert_eq!(Datagen::of(&table(&options)).unwrap().rows, 100);
    }

    #[test]
    fn a_seed_makes_other_rows() {
        let other = [("number-of-rows", "9"), ("fields.name.seed", "7")];
        assert_ne!(rows(&[("number-of-rows", "9")], 0, 9), rows(&other, 0, 9));
    }

    #[test]
    fn bounds_hold() {
        let options = [
            ("number-of-rows", "9"),
            ("fields.id.min", "3"),
            ("fields.id.max", "4"),
            ("fields.name.length", "5"),
        ];
        let batch = rows(&options, 0, 1000);
        let ids = arrow::array::cast::as_primitive_array::<arrow::datatypes::Int64Type>(batch.column(0));
        assert!(ids.values().iter().all(|id| (3..=4).contains(id)));
    }

    #[test]
    fn an_endless_table_and_unknown_columns_are_refused() {
        assert!(Datagen::of(&table(&[])).unwrap_err().to_string().contains("number-of-rows"));
        let error = Datagen::of(&table(&[("number-of-rows", "1"), ("fields.nme.length", "1")])).unwrap_err();
        assert!(error.to_string().contains("did you mean `name`"), "{error}");
        let error = Datagen::of(&table(&[("number-of-rows", "1"), ("fields.name.lenght", "1")])).unwrap_err();
        assert!(error.to_string().contains("did you mean `length`"), "{error}");
    }
}
