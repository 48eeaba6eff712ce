//! `csv`: a record is one line of delimited text.

use arrow::{
    array::{Int64Array, RecordBatch},
    datatypes::SchemaRef,
};
use bytes::Bytes;

use super::{DecodeRecords, Decoded, EncodeRecords};
use crate::{
    error::{Error, Result},
    format::{
        FileFormat,
        csv::{CsvDecoder, CsvOptions, check_columns},
        encode,
        records::{Quoting, Scanner},
        text::DecodeRecords as _,
    },
    options::TableOptions,
};

/// Decodes lines.
pub struct CsvRecords {
    decoder: CsvDecoder,
}

impl CsvRecords {
    /// For the columns at `wanted` of lines with the columns of `file`.
    pub fn new(options: TableOptions<'_>, file: &SchemaRef, wanted: &[usize]) -> Result<Self> {
        check_columns(file)?;
        Ok(Self { decoder: CsvDecoder::new(CsvOptions::of(options), file, wanted.to_vec())? })
    }
}

impl DecodeRecords for CsvRecords {
    fn format(&self) -> &'static str {
        "csv"
    }

    fn decode(&mut self, records: &[&[u8]]) -> Result<Decoded, String> {
        let bytes: usize = records.iter().map(|record| record.len() + 1).sum();
        let mut lines = Vec::with_capacity(bytes);
        for record in records {
            lines.extend_from_slice(record.strip_suffix(b"\n").unwrap_or(record));
            lines.push(b'\n');
        }
        let rows = self.decoder.decode(&lines)?;
        match rows.num_rows() == records.len() {
            true => Ok(Decoded { rows, changes: None }),
            false => Err(format!("{} lines, where a record is one line", rows.num_rows())),
        }
    }
}

/// Encodes rows as lines.
pub struct CsvRecordEncoder {
    encoder: Box<dyn encode::EncodeFile>,
    quoting: Quoting,
}

impl CsvRecordEncoder {
    /// Of rows with `schema`.
    pub fn new(options: TableOptions<'_>, schema: &SchemaRef) -> Result<Self> {
        check_columns(schema)?;
        let csv = CsvOptions::of(options);
        let quoting =
            Quoting { quote: csv.quote, escape: csv.escape, delimiter: csv.delimiter, comment: None };
        Ok(Self { encoder: encode::encoder(FileFormat::Csv, options, schema)?, quoting })
    }
}

impl EncodeRecords for CsvRecordEncoder {
    fn encode(&mut self, rows: &RecordBatch, _weights: Option<&Int64Array>) -> Result<Vec<Bytes>> {
        self.encoder.write(rows)?;
        let text = self.encoder.take();
        let mut scanner = Scanner::new(self.quoting);
        let mut records = Vec::with_capacity(rows.num_rows());
        let mut start = 0;
        for end in scanner.ends(&text) {
            records.push(text.slice(start..end - 1));
            start = end;
        }
        match records.len() == rows.num_rows() {
            true => Ok(records),
            false => Err(Error::Invalid(
                "a text with a newline cannot stand in a CSV record while `csv.disable-quote-character` is set"
                    .to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn lines_are_decoded_and_encoded() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("i", DataType::Int32, true),
            Field::new("s", DataType::Utf8View, true),
        ]));
        let options = BTreeMap::new();
        let mut decoder = CsvRecords::new(TableOptions(&options), &schema, &[0, 1]).unwrap();
        let records: [&[u8]; 2] = [b"1,\"a\nb\"", b"2,c\n"];
        let rows = decoder.decode(&records).unwrap().rows;
        assert_eq!(rows.num_rows(), 2);
        assert!(decoder.decode(&[b"1,a\n2,b"]).is_err());
        assert!(decoder.decode(&[b""]).is_err());
        let mut encoder = CsvRecordEncoder::new(TableOptions(&options), &schema).unwrap();
        let encoded = encoder.encode(&rows, None).unwrap();
        assert_eq!(encoded, [Bytes::from_static(b"1,\"a\nb\""), Bytes::from_static(b"2,c")]);
    }
}
