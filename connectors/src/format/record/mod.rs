//! Formats of single records, as Kafka carries them: the bytes of one record to a row's columns and back, many records at a time.
//!
//! A changelog format (`debezium-json`) turns a record into any number of rows, each with a weight: +1 for a row that is there
//! from now on, -1 for one that was there until now.

mod salvage;
mod json;
mod csv;
mod avro;
mod raw;
mod debezium;
mod options;

use arrow::{
    array::{Int64Array, RecordBatch},
    datatypes::SchemaRef,
};
use bytes::Bytes;
use thalweg_graph::table::nearest;

pub use self::{
    json::JsonRecordEncoder,
    options::of as options_of,
    salvage::{Malformed, Salvaged, salvage},
};
use crate::{
    error::{Error, Result},
    options::TableOptions,
};

/// A format of records by its option value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordFormat {
    /// One JSON object.
    Json,
    /// One line of delimited text.
    Csv,
    /// An Avro datum without a header, of the schema that the columns have.
    Avro,
    /// One value: the whole record is one column.
    Raw,
    /// Debezium's envelope of changed rows, in JSON.
    DebeziumJson,
}

const NAMES: &[(&str, RecordFormat)] = &[
    ("json", RecordFormat::Json),
    ("csv", RecordFormat::Csv),
    ("avro", RecordFormat::Avro),
    ("raw", RecordFormat::Raw),
    ("debezium-json", RecordFormat::DebeziumJson),
];

impl RecordFormat {
    /// The format that a table names.
    pub fn parse(name: &str) -> Result<Self> {
        if let Some((_, format)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(*format);
        }
        let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
        Err(Error::InvalidOption(match nearest(name, names.iter().copied()) {
            Some(near) => format!("there is no format `{name}` of records; did you mean `{near}`?"),
            None => format!("there is no format `{name}` of records; there are `{}`", names.join("`, `")),
        }))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }

    /// Whether its records are changes of rows.
    pub fn is_changelog(self) -> bool {
        self == RecordFormat::DebeziumJson
    }
}

/// The rows of some records.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The rows.
    pub rows: RecordBatch,
    /// In a changelog: what becomes of each row. Elsewhere each record is one row.
    pub changes: Option<RowChanges>,
}

/// What becomes of the rows of a changelog.
#[derive(Debug, Clone, Default)]
pub struct RowChanges {
    /// The record that each row comes from, by its position; ascending.
    pub origins: Vec<u32>,
    /// +1 or -1 for each row.
    pub weights: Vec<i64>,
}

/// Turns records into rows.
pub trait DecodeRecords: Send {
    /// The format's name.
    fn format(&self) -> &'static str;
    /// The rows of records. One malformed record fails the call; the text says what was expected and found.
    fn decode(&mut self, records: &[&[u8]]) -> Result<Decoded, String>;
}

/// Turns rows into records.
pub trait EncodeRecords: Send {
    /// One record for each row; in a changelog format one for each change, where `weights` are those of the rows.
    fn encode(&mut self, rows: &RecordBatch, weights: Option<&Int64Array>) -> Result<Vec<Bytes>>;
}

/// A decoder of the columns of `file` that stand at `wanted` (ascending); a record holds all columns of `file`.
pub fn decoder(
    format: RecordFormat,
    options: TableOptions<'_>,
    file: &SchemaRef,
    wanted: &[usize],
) -> Result<Box<dyn DecodeRecords>> {
    Ok(match format {
        RecordFormat::Json => Box::new(json::JsonRecords::new(options, file, wanted)?),
        RecordFormat::Csv => Box::new(csv::CsvRecords::new(options, file, wanted)?),
        RecordFormat::Avro => Box::new(avro::AvroRecords::new(file, wanted)?),
        RecordFormat::Raw => Box::new(raw::RawRecords::new(options, file, wanted)?),
        RecordFormat::DebeziumJson => Box::new(debezium::DebeziumRecords::new(options, file, wanted)?),
    })
}

/// An encoder of rows with `schema`.
pub fn encoder(
    format: RecordFormat,
    options: TableOptions<'_>,
    schema: &SchemaRef,
) -> Result<Box<dyn EncodeRecords>> {
    Ok(match format {
        RecordFormat::Json => Box::new(json::JsonRecordEncoder::new(options)),
        RecordFormat::Csv => Box::new(csv::CsvRecordEncoder::new(options, schema)?),
        RecordFormat::Avro => Box::new(avro::AvroRecordEncoder::new(schema)?),
        RecordFormat::Raw => Box::new(raw::RawRecordEncoder::new(options, schema)?),
        RecordFormat::DebeziumJson => Box::new(debezium::DebeziumEncoder::new(options, schema)),
    })
}

/// Checks that columns can stand in records of the format.
pub fn check(format: RecordFormat, options: TableOptions<'_>, schema: &SchemaRef) -> Result<()> {
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    decoder(format, options, schema, &all).map(|_| ())
}

/// The columns of `schema` at `wanted`.
fn project(schema: &SchemaRef, wanted: &[usize]) -> Result<SchemaRef> {
    schema.project(wanted).map(SchemaRef::new).map_err(|error| Error::Rows(error.into()))
}

/// A message of Arrow without the name of its error.
fn plain(error: impl std::fmt::Display) -> String {
    let text = error.to_string();
    text.split_once("error: ").map_or(text.clone(), |(_, reason)| reason.to_owned())
}
