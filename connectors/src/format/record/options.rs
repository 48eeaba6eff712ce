//! The options of each format of records, by Flink's names.

use super::RecordFormat;
use crate::{
    format::{self, FileFormat},
    options::{Known, Takes, known},
};

const AVRO: &[Known] =
    &[known("avro.encoding", Takes::OneOf(&["binary"])), known("avro.timestamp_mapping.legacy", Takes::Bool)];

const RAW: &[Known] = &[
    known("raw.charset", Takes::OneOf(&["UTF-8"])),
    known("raw.endianness", Takes::OneOf(&["big-endian", "little-endian"])),
];

const DEBEZIUM: &[Known] = &[
    known("debezium-json.schema-include", Takes::Bool),
    known("debezium-json.ignore-parse-errors", Takes::Bool),
    known("debezium-json.timestamp-format.standard", Takes::OneOf(&["SQL", "ISO-8601"])),
    known("debezium-json.encode.ignore-null-fields", Takes::Bool),
    known("debezium-json.encode.decimal-as-plain-number", Takes::Bool),
    known("debezium-json.map-null-key.mode", Takes::Refused("keys of maps cannot be NULL")),
    known("debezium-json.map-null-key.literal", Takes::Refused("keys of maps cannot be NULL")),
];

/// The options of a format.
pub fn of(format: RecordFormat) -> &'static [Known] {
    match format {
        RecordFormat::Json => format::options::of(FileFormat::Json),
        RecordFormat::Csv => format::options::of(FileFormat::Csv),
        RecordFormat::Avro => AVRO,
        RecordFormat::Raw => RAW,
        RecordFormat::DebeziumJson => DEBEZIUM,
    }
}
