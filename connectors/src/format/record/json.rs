//! `json`: a record is one object, its fields by the columns' names.

use std::sync::Arc;

use arrow::{
    array::{Int64Array, RecordBatch},
    datatypes::SchemaRef,
    error::ArrowError,
    json::{LineDelimitedWriter, ReaderBuilder, WriterBuilder, writer::LineDelimited},
};
use bytes::Bytes;
use serde_json::{Map, Value};

use super::{DecodeRecords, Decoded, EncodeRecords, plain, project};
use crate::{
    error::{Error, Result},
    format::encode::json_timestamp_format,
    options::TableOptions,
};

/// Decodes objects.
pub struct JsonRecords {
    schema: SchemaRef,
    fail_on_missing_field: bool,
}

impl JsonRecords {
    /// For the columns at `wanted`.
    pub fn new(options: TableOptions<'_>, file: &SchemaRef, wanted: &[usize]) -> Result<Self> {
        let fail_on_missing_field = options.is_set("json.fail-on-missing-field");
        Ok(Self { schema: project(file, wanted)?, fail_on_missing_field })
    }

    fn check_fields(&self, record: &[u8]) -> Result<(), String> {
        let object: Map<String, Value> = serde_json::from_slice(record).map_err(|error| error.to_string())?;
        match self.schema.fields().iter().find(|field| !object.contains_key(field.name())) {
            Some(field) => Err(format!("the field `{}` is missing", field.name())),
            None => Ok(()),
        }
    }
}

/// The rows of objects, one each.
pub fn objects(schema: &SchemaRef, records: &[&[u8]]) -> Result<RecordBatch, String> {
    if records.is_empty() {
        return Ok(RecordBatch::new_empty(Arc::clone(schema)));
    }
    let reason = |error: ArrowError| plain(error);
    let mut decoder = ReaderBuilder::new(Arc::clone(schema))
        // One more than there are records: a full decoder would leave the second of two objects in one record unread.
        .with_batch_size(records.len() + 1)
        .with_coerce_primitive(true)
        .build_decoder()
        .map_err(reason)?;
    for (position, record) in records.iter().enumerate() {
        decoder.decode(record).map_err(reason)?;
        if decoder.has_partial_record() {
            return Err("the object does not end".to_owned());
        }
        match decoder.len() {
            found if found == position + 1 => {}
            found if found <= position => return Err("there is no object".to_owned()),
            _ => return Err("there is more than one object".to_owned()),
        }
    }
    let rows = decoder.flush().map_err(reason)?;
    rows.ok_or_else(|| "there is no object".to_owned())
}

impl DecodeRecords for JsonRecords {
    fn format(&self) -> &'static str {
        "json"
    }

    fn decode(&mut self, records: &[&[u8]]) -> Result<Decoded, String> {
        if self.fail_on_missing_field {
            records.iter().try_for_each(|record| self.check_fields(record))?;
        }
        Ok(Decoded { rows: objects(&self.schema, records)?, changes: None })
    }
}

/// Encodes rows as objects.
pub struct JsonRecordEncoder {
    timestamp_format: &'static str,
    explicit_nulls: bool,
}

impl JsonRecordEncoder {
    /// Of a table.
    pub fn new(options: TableOptions<'_>) -> Self {
        Self {
            timestamp_format: json_timestamp_format(options, "json.timestamp-format.standard"),
            explicit_nulls: !options.is_set("json.encode.ignore-null-fields"),
        }
    }

    /// With these settings.
    pub fn with(timestamp_format: &'static str, explicit_nulls: bool) -> Self {
        Self { timestamp_format, explicit_nulls }
    }
}

impl EncodeRecords for JsonRecordEncoder {
    fn encode(&mut self, rows: &RecordBatch, _weights: Option<&Int64Array>) -> Result<Vec<Bytes>> {
        let mut text = Vec::with_capacity(rows.num_rows() * 64);
        let mut writer: LineDelimitedWriter<_> = WriterBuilder::new()
            .with_explicit_nulls(self.explicit_nulls)
            .with_timestamp_format(self.timestamp_format.to_owned())
            .with_timestamp_tz_format(format!("{}Z", self.timestamp_format))
            .build::<_, LineDelimited>(&mut text);
        let written = writer.write(rows).and_then(|()| writer.finish());
        written.map_err(|error| Error::Rows(error.into()))?;
        drop(writer);
        // A newline inside a JSON string is written `\n`: every newline ends an object.
        let text = Bytes::from(text);
        let mut records = Vec::with_capacity(rows.num_rows());
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &text) {
            records.push(text.slice(start..end));
            start = end + 1;
        }
        match records.len() == rows.num_rows() {
            true => Ok(records),
            false => Err(Error::Internal("the JSON writer left out rows".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    use super::*;

    fn decode(fail_on_missing_field: bool, records: &[&str]) -> Result<RecordBatch, String> {
        let schema = Schema::new(vec![
            Field::new("i", DataType::Int32, true),
            Field::new("t", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        ]);
        let mut decoder = JsonRecords { schema: Arc::new(schema), fail_on_missing_field };
        let records: Vec<&[u8]> = records.iter().map(|record| record.as_bytes()).collect();
        decoder.decode(&records).map(|decoded| decoded.rows)
    }

    #[test]
    fn a_record_is_one_object() {
        assert_eq!(decode(false, &["{\"i\":1}", " {\"i\":\n2} ", "{}"]).unwrap().num_rows(), 3);
        assert_eq!(decode(false, &[]).unwrap().num_rows(), 0);
        assert_eq!(decode(false, &["{\"i\":1}{\"i\":2}"]).unwrap_err(), "there is more than one object");
        assert_eq!(decode(false, &[""]).unwrap_err(), "there is no object");
        assert_eq!(decode(false, &["{\"i\":1"]).unwrap_err(), "the object does not end");
        for bad in ["[1]", "1", "{\"i\":\"x\"}", "{]", "\u{0}"] {
            assert!(decode(false, &[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn missing_fields_may_be_an_error() {
        assert_eq!(decode(true, &["{\"i\":1}"]).unwrap_err(), "the field `t` is missing");
        assert!(decode(true, &["{\"i\":1,\"t\":null}"]).is_ok());
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let rows = decode(false, &["{\"i\":1,\"t\":\"2024-01-02T03:04:05.6\"}", "{\"i\":null}"]).unwrap();
        let records = JsonRecordEncoder::with("%Y-%m-%d %H:%M:%S%.f", true).encode(&rows, None).unwrap();
        assert_eq!(&records[0][..], b"{\"i\":1,\"t\":\"2024-01-02 03:04:05.600\"}");
        assert_eq!(&records[1][..], b"{\"i\":null,\"t\":null}");
        let texts: Vec<&str> = records.iter().map(|record| std::str::from_utf8(record).unwrap()).collect();
        assert_eq!(decode(false, &texts).unwrap(), rows);
    }
}
