//! The `datagen` connector: a source of made-up rows, which ends with `number-of-rows` or with a sequence.

mod generator;

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{ColumnStatistics, Statistics, project_schema, stats::Precision},
    datasource::TableType,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::Expr,
    physical_plan::ExecutionPlan,
};
use thalweg_graph::{source::Split, table::TableDescriptor};
use thalweg_plan::{
    exec::{ConnectorScan, ConnectorSourceExec},
    sql_type,
};

use self::generator::Generator;
use crate::{
    error::{Error, Result},
    numbered::{self, MakeRows, NumberedReader, Numbering},
    options::{self, Known, TableOptions, Takes, known},
    source::{OpenReader, SourceReader},
};

const CONNECTOR: &str = "datagen";

/// Rows a second of a stream that does not end, where nothing is said.
const ROWS_PER_SECOND: u64 = 10_000;

/// A table of made-up rows.
#[derive(Debug, Clone)]
pub struct Datagen {
    /// How many rows, and how fast they come in a stream.
    pub numbering: Numbering,
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
        let end = options.value::<u64>("number-of-rows").into_iter().chain(sequence).min();
        let rate = options.value("rows-per-second").or(end.is_none().then_some(ROWS_PER_SECOND));
        if rate == Some(0) {
            return Err(Error::InvalidOption("option `rows-per-second` cannot be 0".to_owned()));
        }
        Ok(Self { numbering: Numbering { end, rate, stays: false }, generators })
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

/// The table for reading.
#[derive(Debug)]
pub struct DatagenTable {
    descriptor: TableDescriptor,
    schema: SchemaRef,
    numbering: Numbering,
}

impl DatagenTable {
    /// Of a table with its physical columns.
    pub fn new(descriptor: TableDescriptor, schema: SchemaRef) -> Result<Self> {
        let numbering = Datagen::of(&descriptor)?.numbering;
        Ok(Self { descriptor, schema, numbering })
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
        let schema = project_schema(&self.schema, projection)?;
        let statistics = Statistics {
            num_rows: self.numbering.end.map_or(Precision::Absent, |rows| Precision::Exact(rows as usize)),
            total_byte_size: Precision::Absent,
            column_statistics: vec![ColumnStatistics::new_unknown(); schema.fields().len()],
        };
        let scan = ConnectorScan::new(self.descriptor.clone(), projection.cloned(), limit);
        let splits = self.numbering.deal(session.config().target_partitions());
        Ok(Arc::new(ConnectorSourceExec::new(scan, schema, splits).with_statistics(statistics)))
    }
}

/// Opens the rows of some splits of a scan for a batch; they will have `schema`.
pub fn open(
    scan: &ConnectorScan,
    splits: &[Split],
    schema: SchemaRef,
    context: &TaskContext,
) -> Result<SendableRecordBatchStream> {
    let (numbering, rows) = rows(scan, &schema)?;
    numbered::batches(scan, splits, schema, context, numbering, rows)
}

/// Opens a subtask's share of the rows of a stream.
pub fn open_reader(request: OpenReader<'_>) -> Result<Box<dyn SourceReader>> {
    let (numbering, rows) = rows(request.scan, &request.schema)?;
    Ok(Box::new(NumberedReader::open(&request, numbering, rows)?))
}

/// What makes the rows of a scan.
fn rows(scan: &ConnectorScan, schema: &SchemaRef) -> Result<(Numbering, DatagenRows)> {
    let Datagen { numbering, generators } = Datagen::of(&scan.table)?;
    let generators = match &scan.projection {
        Some(positions) => {
            positions.iter().filter_map(|position| generators.get(*position).cloned()).collect()
        }
        None => generators,
    };
    Ok((numbering, DatagenRows { generators, schema: Arc::clone(schema) }))
}

/// Makes rows, one generator for each column.
struct DatagenRows {
    generators: Vec<Generator>,
    schema: SchemaRef,
}

impl MakeRows for DatagenRows {
    fn rows(&mut self, numbers: &[Range<u64>]) -> Result<RecordBatch> {
        let columns = self.generators.iter().zip(self.schema.fields());
        let columns =
            columns.map(|(generator, field)| generator.column(field, numbers)).collect::<Result<Vec<_>>>()?;
        let rows: u64 = numbers.iter().map(|range| range.end - range.start).sum();
        let options = RecordBatchOptions::new().with_row_count(Some(rows as usize));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| Error::Rows(error.into()))
    }
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
        let mut rows = DatagenRows { generators: Datagen::of(&table).unwrap().generators, schema };
        rows.rows(&[start..end]).unwrap()
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
        assert_eq!(Datagen::of(&table(&options)).unwrap().numbering.end, Some(100));
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
    fn a_table_without_an_end_has_a_rate() {
        let rate = |options: &[(&str, &str)]| Datagen::of(&table(options)).unwrap().numbering.rate;
        assert_eq!(rate(&[]), Some(ROWS_PER_SECOND));
        assert_eq!(rate(&[("number-of-rows", "5")]), None);
        assert_eq!(rate(&[("number-of-rows", "5"), ("rows-per-second", "2")]), Some(2));
        let error = Datagen::of(&table(&[("rows-per-second", "0")])).unwrap_err();
        assert!(error.to_string().contains("rows-per-second"), "{error}");
    }

    #[test]
    fn unknown_columns_and_options_are_refused() {
        let error = Datagen::of(&table(&[("number-of-rows", "1"), ("fields.nme.length", "1")])).unwrap_err();
        assert!(error.to_string().contains("did you mean `name`"), "{error}");
        let error = Datagen::of(&table(&[("number-of-rows", "1"), ("fields.name.lenght", "1")])).unwrap_err();
        assert!(error.to_string().contains("did you mean `length`"), "{error}");
    }
}
