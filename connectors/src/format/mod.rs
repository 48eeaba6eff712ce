//! File formats. Parquet and Avro are read by DataFusion's own file scans; the others by this crate, through a connector scan.

pub mod schema;
pub mod options;
pub mod records;
pub mod compression;
pub mod hadoop_snappy;
pub mod decompress;
pub mod text;
pub mod csv;
pub mod json;
pub mod orc;
pub mod parquet;
pub mod parquet_damage;
pub mod infer;
pub mod encode;
pub mod compress;
pub mod record;

use thalweg_graph::table::nearest;

use crate::error::{Error, Result};

/// A file format by its option value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// Apache Parquet.
    Parquet,
    /// Delimited text, RFC 4180.
    Csv,
    /// One JSON object on each line.
    Json,
    /// Apache Avro object container files.
    Avro,
    /// Apache ORC.
    Orc,
}

const NAMES: &[(&str, FileFormat)] = &[
    ("parquet", FileFormat::Parquet),
    ("csv", FileFormat::Csv),
    ("json", FileFormat::Json),
    ("avro", FileFormat::Avro),
    ("orc", FileFormat::Orc),
];

impl FileFormat {
    /// The format that a table names.
    pub fn parse(name: &str) -> Result<Self> {
        if let Some((_, format)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(*format);
        }
        let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
        Err(Error::InvalidOption(match nearest(name, names.iter().copied()) {
            Some(near) => format!("there is no format `{name}`; did you mean `{near}`?"),
            None => format!("there is no format `{name}`; there are `{}`", names.join("`, `")),
        }))
    }

    /// Its name, which is also how its files end.
    pub fn name(self) -> &'static str {
        match self {
            FileFormat::Parquet => "parquet",
            FileFormat::Csv => "csv",
            FileFormat::Json => "json",
            FileFormat::Avro => "avro",
            FileFormat::Orc => "orc",
        }
    }
}
