//! A `filesystem` table as the target of an INSERT: checked when the statement is planned, opened by tasks and by the commit.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use thalweg_graph::table::SinkDescriptor;
use thalweg_plan::sql_type;

use crate::{
    error::{Error, Result},
    file_system::{Location, glob::is_glob, registry::FileSystems},
    filesystem::{options::FilesystemOptions, partition},
    format::{FileFormat, csv, encode},
};

/// Where and how rows are written.
#[derive(Debug)]
pub struct Target {
    /// The sink as planned.
    pub sink: SinkDescriptor,
    /// The table's options.
    pub options: FilesystemOptions,
    /// The table's folder.
    pub location: Location,
    /// The columns of arriving rows, in the table's types.
    pub row_schema: SchemaRef,
}

impl Target {
    /// Checks that rows of `arriving` can be written to the sink in the way that is asked.
    pub fn of(file_systems: &FileSystems, sink: &SinkDescriptor, arriving: &Schema) -> Result<Self> {
        let options = FilesystemOptions::of(&sink.table)?;
        if matches!(options.format, FileFormat::Avro | FileFormat::Orc) {
            return Err(encode::not_written(options.format));
        }
        if is_glob(&options.path) {
            return Err(Error::InvalidOption(format!(
                "the path `{}` is a pattern; a table that is written needs one folder",
                options.path
            )));
        }
        let table = sql_type::schema(&sink.table.columns).map_err(|error| Error::Invalid(error.message))?;
        let table = Arc::new(table);
        let (_, in_files) = partition::positions(&table, &sink.table.partition_keys)?;
        if in_files.is_empty() {
            return Err(Error::Invalid(format!(
                "table `{}` is partitioned by all its columns; leave at least one for the files",
                sink.table.path
            )));
        }
        for key in sink.static_partition.keys() {
            if !sink.table.partition_keys.contains(key) {
                return Err(Error::Invalid(format!(
                    "table `{}` is not partitioned by `{key}`",
                    sink.table.path
                )));
            }
        }
        let row_schema = row_schema(sink, &table, arriving)?;
        if options.format == FileFormat::Csv {
            csv::check_columns(&row_schema)?;
        }
        let location = file_systems.locate(&options.path)?;
        Ok(Self { sink: sink.clone(), options, location, row_schema })
    }
}

/// The table's columns that rows bring: all, or all but those of the PARTITION clause. Rows bring them in order.
fn row_schema(sink: &SinkDescriptor, table: &SchemaRef, arriving: &Schema) -> Result<SchemaRef> {
    if arriving.fields().len() == table.fields().len() {
        return Ok(Arc::clone(table));
    }
    let dynamic = table.fields().iter().filter(|field| !sink.static_partition.contains_key(field.name()));
    let dynamic: Vec<Arc<Field>> = dynamic.cloned().collect();
    if arriving.fields().len() == dynamic.len() {
        return Ok(Arc::new(Schema::new(dynamic)));
    }
    Err(Error::Invalid(format!(
        "table `{}` takes {} columns and the rows have {}",
        sink.table.path,
        dynamic.len(),
        arriving.fields().len()
    )))
}
