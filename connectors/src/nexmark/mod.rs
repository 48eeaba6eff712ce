//! The `nexmark` connector: the events of an online auction, made in columns.
//!
//! Proportions, fields and options are those of the public Nexmark generator (Apache Beam's, and its port for Flink); the values
//! are our own, since each is a function of the event's number and the seed alone: a table has the same rows however often and
//! at whatever parallelism it is read, and a stream goes on from any event. Only the columns and fields that a query reads are
//! made, and only the kinds of events that its filter on `event_type` leaves.

mod auction;
mod bid;
mod columns;
mod events;
mod kind;
mod options;
mod person;
mod rows;
mod run;
mod table;
#[cfg(test)]
mod tests;
mod texts;

use arrow::datatypes::SchemaRef;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use thalweg_graph::{source::Split, table::TableDescriptor};
use thalweg_plan::{exec::ConnectorScan, sql_type};

use self::{columns::Column, table::WantedKinds};
pub use self::{columns::EVENT_TYPE, options::NexmarkOptions, rows::NexmarkRows, table::NexmarkTable};
use crate::{
    error::{Error, Result},
    numbered::{self, NumberedReader},
    source::{OpenReader, SourceReader},
};

/// Checks a table's options and columns.
pub fn check(table: &TableDescriptor) -> Result<()> {
    let options = NexmarkOptions::of(table)?;
    columns::columns(&schema(table)?, options.only).map(|_| ())
}

fn schema(table: &TableDescriptor) -> Result<arrow::datatypes::Schema> {
    sql_type::schema(&table.columns).map_err(|error| Error::Invalid(error.message))
}

/// Opens the rows of some splits of a scan for a batch; they will have `schema`.
pub fn open(
    scan: &ConnectorScan,
    splits: &[Split],
    schema: SchemaRef,
    context: &TaskContext,
) -> Result<SendableRecordBatchStream> {
    let (options, rows) = rows(scan, &schema)?;
    numbered::batches(scan, splits, schema, context, options.numbering, rows)
}

/// Opens a subtask's share of the events of a stream.
pub fn open_reader(request: OpenReader<'_>) -> Result<Box<dyn SourceReader>> {
    let (options, rows) = rows(request.scan, &request.schema)?;
    Ok(Box::new(NumberedReader::open(&request, options.numbering, rows)?))
}

/// What makes the rows of a scan.
fn rows(scan: &ConnectorScan, as_schema: &SchemaRef) -> Result<(NexmarkOptions, NexmarkRows)> {
    let options = NexmarkOptions::of(&scan.table)?;
    let mut columns = columns::columns(as_schema, options.only)?;
    for (column, read) in columns.iter_mut().zip(&scan.read_fields) {
        if let (Column::Row(_, fields), Some(read)) = (column, read) {
            fields.iter_mut().for_each(|field| field.is_read = read.iter().any(|name| name == field.name));
        }
    }
    let WantedKinds(kinds) = WantedKinds::decode(&scan.taken);
    let rows = NexmarkRows::new(options.clone(), columns, kinds, as_schema.clone());
    Ok((options, rows))
}
