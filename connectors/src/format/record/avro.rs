//! `avro`: a record is an Avro datum without a header. Its schema is that of the table's columns, as in Flink: a record of all
//! of them in order, a column that may be NULL being a union of null and its type.

use std::sync::Arc;

use arrow::{
    array::{Int64Array, RecordBatch},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use arrow_avro::{
    reader::{Decoder, ReaderBuilder},
    schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SINGLE_OBJECT_MAGIC, SchemaStore},
    writer::{Encoder, WriterBuilder, format::AvroBinaryFormat},
};
use bytes::Bytes;

use super::{DecodeRecords, Decoded, EncodeRecords, plain, project};
use crate::error::{Error, Result};

/// Decodes data.
pub struct AvroRecords {
    schema: AvroSchema,
    /// What the reader wants before each datum: it tells data by the schema's fingerprint.
    prefix: Vec<u8>,
    fingerprint: Fingerprint,
    wanted: Vec<usize>,
    rows: SchemaRef,
    buffer: Vec<u8>,
}

/// The columns in layouts that the Avro writer knows.
fn avro_columns(schema: &SchemaRef) -> SchemaRef {
    let field = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8View => field.as_ref().clone().with_data_type(DataType::Utf8),
        _ => field.as_ref().clone(),
    };
    let fields: Vec<Field> = schema.fields().iter().map(field).collect();
    Arc::new(Schema::new(fields))
}

fn avro_schema(schema: &SchemaRef) -> Result<AvroSchema> {
    AvroSchema::try_from(avro_columns(schema).as_ref()).map_err(|error| {
        Error::Unsupported(format!("the table's columns cannot stand in Avro records: {}", plain(error)))
    })
}

impl AvroRecords {
    /// For the columns at `wanted` of data with the columns of `file`.
    pub fn new(file: &SchemaRef, wanted: &[usize]) -> Result<Self> {
        let schema = avro_schema(file)?;
        let fingerprint =
            schema.fingerprint(FingerprintAlgorithm::Rabin).map_err(|error| Error::Internal(plain(error)))?;
        let Fingerprint::Rabin(number) = fingerprint else {
            return Err(Error::Internal("a fingerprint of another kind than asked for".to_owned()));
        };
        let mut prefix = SINGLE_OBJECT_MAGIC.to_vec();
        prefix.extend_from_slice(&number.to_le_bytes());
        let rows = project(file, wanted)?;
        let records = Self { schema, prefix, fingerprint, wanted: wanted.to_vec(), rows, buffer: Vec::new() };
        records.decoder(1).map_err(Error::Unsupported)?;
        Ok(records)
    }

    fn decoder(&self, batch_rows: usize) -> Result<Decoder, String> {
        let mut store = SchemaStore::new();
        store.register(self.schema.clone()).map_err(plain)?;
        ReaderBuilder::new()
            .with_batch_size(batch_rows)
            // Its views of texts lose NULLs (arrow-avro 59.3): texts are made views below.
            .with_utf8_view(false)
            .with_writer_schema_store(store)
            .with_active_fingerprint(self.fingerprint)
            .build_decoder()
            .map_err(plain)
    }
}

impl DecodeRecords for AvroRecords {
    fn format(&self) -> &'static str {
        "avro"
    }

    fn decode(&mut self, records: &[&[u8]]) -> Result<Decoded, String> {
        if records.is_empty() {
            return Ok(Decoded { rows: RecordBatch::new_empty(Arc::clone(&self.rows)), changes: None });
        }
        let mut decoder = self.decoder(records.len())?;
        for record in records {
            self.buffer.clear();
            self.buffer.extend_from_slice(&self.prefix);
            self.buffer.extend_from_slice(record);
            let read = decoder.decode(&self.buffer).map_err(plain)?;
            // A datum that is too short waits for more bytes, which no record has.
            if read < self.buffer.len() {
                let of = record.len();
                let read = read.saturating_sub(self.prefix.len());
                return Err(format!("only {read} of its {of} bytes are of the table's columns"));
            }
        }
        let rows = decoder.flush().map_err(plain)?.filter(|rows| rows.num_rows() == records.len());
        let rows = rows.ok_or_else(|| "the record ends too early".to_owned())?;
        let strict = CastOptions { safe: false, ..Default::default() };
        let column = |(position, field): (&usize, &Arc<Field>)| {
            cast_with_options(rows.column(*position), field.data_type(), &strict).map_err(plain)
        };
        let columns =
            self.wanted.iter().zip(self.rows.fields()).map(column).collect::<Result<Vec<_>, _>>()?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(records.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.rows), columns, &options);
        Ok(Decoded { rows: rows.map_err(plain)?, changes: None })
    }
}

/// Encodes rows as data.
pub struct AvroRecordEncoder {
    encoder: Encoder,
    columns: SchemaRef,
}

impl AvroRecordEncoder {
    /// Of rows with `schema`.
    pub fn new(schema: &SchemaRef) -> Result<Self> {
        avro_schema(schema)?;
        let columns = avro_columns(schema);
        let encoder = WriterBuilder::new(columns.as_ref().clone()).build_encoder::<AvroBinaryFormat>();
        let encoder = encoder.map_err(|error| Error::Unsupported(plain(error)))?;
        Ok(Self { encoder, columns })
    }
}

impl EncodeRecords for AvroRecordEncoder {
    fn encode(&mut self, rows: &RecordBatch, _weights: Option<&Int64Array>) -> Result<Vec<Bytes>> {
        let strict = CastOptions { safe: false, ..Default::default() };
        let columns = rows.columns().iter().zip(self.columns.fields());
        let columns = columns.map(|(column, field)| cast_with_options(column, field.data_type(), &strict));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|error| Error::Rows(error.into()))?;
        let rows = RecordBatch::try_new(Arc::clone(&self.columns), columns)
            .map_err(|error| Error::Rows(error.into()))?;
        self.encoder.encode(&rows).map_err(|error| Error::Invalid(plain(error)))?;
        Ok(self.encoder.flush().iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Decimal128Array, Int32Array, StringViewArray, TimestampMillisecondArray},
        datatypes::TimeUnit,
    };

    use super::*;

    fn rows() -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![
            Field::new("i", DataType::Int32, false),
            Field::new("s", DataType::Utf8View, true),
            Field::new("t", DataType::Timestamp(TimeUnit::Millisecond, None), true),
            Field::new("l", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
            Field::new("d", DataType::Decimal128(12, 2), true),
        ]));
        RecordBatch::try_new(
            schema,
            vec![
                Arc::new(Int32Array::from(vec![1, -64])),
                Arc::new(StringViewArray::from(vec![Some("ab"), None])),
                Arc::new(TimestampMillisecondArray::from(vec![Some(3), None])),
                Arc::new(TimestampMillisecondArray::from(vec![Some(4), None]).with_timezone("UTC")),
                Arc::new(
                    Decimal128Array::from(vec![Some(150), None]).with_precision_and_scale(12, 2).unwrap(),
                ),
            ],
        )
        .unwrap()
    }

    #[test]
    fn data_are_as_the_specification_says() {
        let rows = rows();
        let records = AvroRecordEncoder::new(&rows.schema()).unwrap().encode(&rows, None).unwrap();
        // Zigzag numbers; a union's branch before its value (0 is null), a text's length before its bytes, a decimal as the
        // shortest big-endian bytes or as many as its precision needs.
        assert_eq!(&records[0][..9], [2, 2, 4, b'a', b'b', 2, 6, 2, 8]);
        assert_eq!(&records[1][..], [127, 0, 0, 0, 0]);
        let mut decoder = AvroRecords::new(&rows.schema(), &[0, 1, 2, 3, 4]).unwrap();
        let bytes: Vec<&[u8]> = records.iter().map(|record| &record[..]).collect();
        assert_eq!(decoder.decode(&bytes).unwrap().rows, rows);
        let mut some = AvroRecords::new(&rows.schema(), &[1]).unwrap();
        assert_eq!(some.decode(&bytes).unwrap().rows, rows.project(&[1]).unwrap());
    }

    #[test]
    fn short_and_long_records_are_malformed() {
        let rows = rows();
        let mut decoder = AvroRecords::new(&rows.schema(), &[0]).unwrap();
        for bad in [&b""[..], &[2, 2, 4, b'a'], &[2, 0, 0, 0, 0, 0], &[2, 9]] {
            assert!(decoder.decode(&[bad]).is_err(), "{bad:?}");
        }
        assert_eq!(decoder.decode(&[&[2, 0, 0, 0, 0]]).unwrap().rows.num_rows(), 1);
    }
}
