//! JSON lines: one object on each line, its fields by the columns' names.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef, json::ReaderBuilder};
use serde_json::{Map, Value};

use super::{records::Quoting, text::DecodeRecords};
use crate::options::TableOptions;

/// The options of reading.
#[derive(Debug, Clone, Copy)]
pub struct JsonOptions {
    /// Whether malformed rows are left out.
    pub ignore_parse_errors: bool,
    /// Whether a column that an object does not have is an error rather than NULL.
    pub fail_on_missing_field: bool,
}

impl JsonOptions {
    /// Of a table.
    pub fn of(options: TableOptions<'_>) -> Self {
        Self {
            ignore_parse_errors: options.is_set("json.ignore-parse-errors"),
            fail_on_missing_field: options.is_set("json.fail-on-missing-field"),
        }
    }
}

/// Decodes the wanted columns of lines.
#[derive(Debug)]
pub struct JsonDecoder {
    options: JsonOptions,
    schema: SchemaRef,
}

impl JsonDecoder {
    /// For the columns of a schema.
    pub fn new(options: JsonOptions, schema: SchemaRef) -> Self {
        Self { options, schema }
    }

    fn check_fields(&self, block: &[u8]) -> Result<(), String> {
        for line in block.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let object: Map<String, Value> =
                serde_json::from_slice(line).map_err(|error| error.to_string())?;
            let missing = self.schema.fields().iter().find(|field| !object.contains_key(field.name()));
            if let Some(field) = missing {
                return Err(format!("the field `{}` is missing", field.name()));
            }
        }
        Ok(())
    }
}

impl DecodeRecords for JsonDecoder {
    fn format(&self) -> &'static str {
        "json"
    }

    /// A newline inside a JSON string is written `\n`, so every newline ends a record.
    fn quoting(&self) -> Quoting {
        Quoting::default()
    }

    fn header_records(&self) -> usize {
        0
    }

    fn skips_malformed(&self) -> bool {
        self.options.ignore_parse_errors
    }

    fn decode(&mut self, block: &[u8]) -> Result<RecordBatch, String> {
        if self.options.fail_on_missing_field {
            self.check_fields(block)?;
        }
        let lines = block.iter().filter(|byte| **byte == b'\n').count() + 1;
        let reason = |error: arrow::error::ArrowError| {
            let text = error.to_string();
            text.split_once("error: ").map_or(text.clone(), |(_, reason)| reason.to_owned())
        };
        let mut decoder = ReaderBuilder::new(Arc::clone(&self.schema))
            .with_batch_size(lines)
            .with_coerce_primitive(true)
            .build_decoder()
            .map_err(reason)?;
        let mut batches = Vec::new();
        let mut read = 0;
        while read < block.len() {
            read += decoder.decode(&block[read..]).map_err(reason)?;
            // Several objects on one line fill the decoder before the block ends.
            if read < block.len() {
                batches.extend(decoder.flush().map_err(reason)?);
            }
        }
        batches.extend(decoder.flush().map_err(reason)?);
        arrow::compute::concat_batches(&self.schema, &batches).map_err(reason)
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    use super::*;

    fn decoder(fail_on_missing_field: bool) -> JsonDecoder {
        let schema = Schema::new(vec![
            Field::new("i", DataType::Int32, true),
            Field::new("s", DataType::Utf8View, true),
            Field::new("t", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        ]);
        JsonDecoder::new(JsonOptions { ignore_parse_errors: false, fail_on_missing_field }, Arc::new(schema))
    }

    #[test]
    fn both_forms_of_timestamps_are_read() {
        let lines = b"{\"t\":\"2024-01-02 03:04:05.6\"}\n{\"t\":\"2024-01-02T03:04:05.6\",\"i\":1,\"s\":2}\n";
        let batch = decoder(false).decode(lines).unwrap();
        assert_eq!(batch.num_rows(), 2);
        assert_eq!(batch.column(2).slice(0, 1).as_ref(), batch.column(2).slice(1, 1).as_ref());
        assert_eq!(batch.column(0).null_count(), 1);
    }

    #[test]
    fn missing_fields_may_be_an_error() {
        assert_eq!(decoder(true).decode(b"{\"i\":1,\"s\":null}\n").unwrap_err(), "the field `t` is missing");
        assert!(decoder(true).decode(b"{\"i\":1,\"s\":null,\"t\":null}\n").is_ok());
    }

    #[test]
    fn what_is_no_object_or_does_not_end_is_malformed() {
        for line in ["[1]\n", "{\"i\":\"x\"}\n", "{\"i\":1", "{]\n"] {
            assert!(decoder(false).decode(line.as_bytes()).is_err(), "{line}");
        }
    }
}
