//! The options of each format, by Flink's names where Flink has them.

use super::{FileFormat, compression::COMPRESSIONS};
use crate::options::{Known, Takes, known};

/// How Parquet columns are compressed.
pub const PARQUET_COMPRESSIONS: &[&str] =
    &["uncompressed", "none", "snappy", "gzip", "zstd", "lz4_raw", "lz4"];

const CSV: &[Known] = &[
    known("csv.field-delimiter", Takes::Character),
    known("csv.disable-quote-character", Takes::Bool),
    known("csv.quote-character", Takes::Character),
    known("csv.allow-comments", Takes::Bool),
    known("csv.ignore-parse-errors", Takes::Bool),
    known("csv.escape-character", Takes::Character),
    known("csv.null-literal", Takes::Text),
    known("csv.header", Takes::Bool),
    known("csv.multi-line", Takes::Bool),
    known("csv.compression", Takes::OneOf(COMPRESSIONS)),
    known("csv.array-element-delimiter", Takes::Refused("columns of CSV files have simple types")),
    known("csv.write-bigdecimal-in-scientific-notation", Takes::Refused("decimals are written in full")),
];

const JSON: &[Known] = &[
    known("json.fail-on-missing-field", Takes::Bool),
    known("json.ignore-parse-errors", Takes::Bool),
    known("json.timestamp-format.standard", Takes::OneOf(&["SQL", "ISO-8601"])),
    known("json.encode.ignore-null-fields", Takes::Bool),
    known("json.compression", Takes::OneOf(COMPRESSIONS)),
    known("json.encode.decimal-as-plain-number", Takes::Bool),
    known("json.map-null-key.mode", Takes::Refused("keys of maps cannot be NULL")),
    known("json.map-null-key.literal", Takes::Refused("keys of maps cannot be NULL")),
];

const PARQUET: &[Known] = &[
    known("parquet.compression", Takes::OneOf(PARQUET_COMPRESSIONS)),
    known("parquet.block.size", Takes::Size),
    known("parquet.row-group.rows", Takes::Number),
    known("parquet.page.size", Takes::Size),
    known("parquet.enable.dictionary", Takes::Bool),
    known("parquet.bloom.filter.enabled", Takes::Bool),
    known("parquet.utc-timezone", Takes::Bool),
];

const AVRO: &[Known] = &[known("avro.codec", Takes::Refused("Avro files are only read"))];

/// The options of a format.
pub fn of(format: FileFormat) -> &'static [Known] {
    match format {
        FileFormat::Parquet => PARQUET,
        FileFormat::Csv => CSV,
        FileFormat::Json => JSON,
        FileFormat::Avro => AVRO,
        FileFormat::Orc => &[],
    }
}
