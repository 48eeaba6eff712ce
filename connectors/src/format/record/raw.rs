//! `raw`: a record is the value of one column: text, bytes, a number or a boolean.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray as _, BinaryArray, BooleanArray, Int64Array, PrimitiveArray, RecordBatch,
        StringViewArray,
    },
    datatypes::{
        ArrowPrimitiveType, DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        SchemaRef, ToByteSlice,
    },
};
use bytes::Bytes;

use super::{DecodeRecords, Decoded, EncodeRecords, project};
use crate::{
    error::{Error, Result},
    format::schema::type_text,
    options::TableOptions,
};

#[derive(Debug, Clone, Copy)]
struct Layout {
    is_little_endian: bool,
}

impl Layout {
    fn of(options: TableOptions<'_>) -> Self {
        let endianness = options.text("raw.endianness").unwrap_or("big-endian");
        Self { is_little_endian: endianness.eq_ignore_ascii_case("little-endian") }
    }

    /// The bytes of a number in this machine's order, as this layout has them, or the other way round.
    fn ordered(self, bytes: &mut [u8]) {
        if self.is_little_endian != cfg!(target_endian = "little") {
            bytes.reverse();
        }
    }
}

fn check(schema: &SchemaRef) -> Result<()> {
    let [field] = &schema.fields()[..] else {
        return Err(Error::Unsupported(format!(
            "format `raw` holds one column, and there are {}; use `json`, or `value.fields-include` and `key.fields`",
            schema.fields().len()
        )));
    };
    match field.data_type() {
        DataType::Utf8View | DataType::Binary | DataType::Boolean => Ok(()),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Ok(()),
        DataType::Float32 | DataType::Float64 => Ok(()),
        other => Err(Error::Unsupported(format!(
            "format `raw` cannot hold column `{}` of type {}; it holds texts, bytes, whole numbers, FLOAT, DOUBLE and BOOLEAN",
            field.name(),
            type_text(other)
        ))),
    }
}

/// Decodes values.
pub struct RawRecords {
    layout: Layout,
    value: DataType,
    rows: SchemaRef,
}

impl RawRecords {
    /// For the one column of `file`, if it is wanted.
    pub fn new(options: TableOptions<'_>, file: &SchemaRef, wanted: &[usize]) -> Result<Self> {
        check(file)?;
        let value = file.field(0).data_type().clone();
        Ok(Self { layout: Layout::of(options), value, rows: project(file, wanted)? })
    }

    fn numbers<T: ArrowPrimitiveType, const N: usize>(
        &self,
        records: &[&[u8]],
        from_ne_bytes: fn([u8; N]) -> T::Native,
    ) -> Result<ArrayRef, String> {
        let mut values = Vec::with_capacity(records.len());
        for record in records {
            let mut bytes: [u8; N] = (*record)
                .try_into()
                .map_err(|_| format!("{} bytes, and {} takes {N}", record.len(), type_text(&self.value)))?;
            self.layout.ordered(&mut bytes);
            values.push(from_ne_bytes(bytes));
        }
        Ok(Arc::new(PrimitiveArray::<T>::from_iter_values(values)))
    }

    fn values(&self, records: &[&[u8]]) -> Result<ArrayRef, String> {
        Ok(match &self.value {
            DataType::Utf8View => {
                let text = |record: &&[u8]| {
                    std::str::from_utf8(record).map(str::to_owned).map_err(|_| "it is not UTF-8".to_owned())
                };
                let texts = records.iter().map(text).collect::<Result<Vec<_>, _>>()?;
                Arc::new(StringViewArray::from_iter_values(texts))
            }
            DataType::Binary => Arc::new(BinaryArray::from_iter_values(records)),
            DataType::Boolean => {
                let truth = |record: &&[u8]| match record {
                    [byte] => Ok(Some(*byte != 0)),
                    _ => Err(format!("{} bytes, and BOOLEAN takes 1", record.len())),
                };
                Arc::new(records.iter().map(truth).collect::<Result<BooleanArray, _>>()?)
            }
            DataType::Int8 => self.numbers::<Int8Type, 1>(records, i8::from_ne_bytes)?,
            DataType::Int16 => self.numbers::<Int16Type, 2>(records, i16::from_ne_bytes)?,
            DataType::Int32 => self.numbers::<Int32Type, 4>(records, i32::from_ne_bytes)?,
            DataType::Int64 => self.numbers::<Int64Type, 8>(records, i64::from_ne_bytes)?,
            DataType::Float32 => self.numbers::<Float32Type, 4>(records, f32::from_ne_bytes)?,
            _ => self.numbers::<Float64Type, 8>(records, f64::from_ne_bytes)?,
        })
    }
}

impl DecodeRecords for RawRecords {
    fn format(&self) -> &'static str {
        "raw"
    }

    fn decode(&mut self, records: &[&[u8]]) -> Result<Decoded, String> {
        let values = self.values(records)?;
        let columns = vec![values; self.rows.fields().len()];
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(records.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.rows), columns, &options);
        Ok(Decoded { rows: rows.map_err(|error| error.to_string())?, changes: None })
    }
}

/// Encodes values.
pub struct RawRecordEncoder {
    layout: Layout,
}

impl RawRecordEncoder {
    /// Of rows with the one column of `schema`.
    pub fn new(options: TableOptions<'_>, schema: &SchemaRef) -> Result<Self> {
        check(schema)?;
        Ok(Self { layout: Layout::of(options) })
    }

    fn numbers<T: ArrowPrimitiveType>(&self, column: &ArrayRef) -> Vec<Bytes> {
        let number = |value: &T::Native| {
            let mut bytes = value.to_byte_slice().to_vec();
            self.layout.ordered(&mut bytes);
            Bytes::from(bytes)
        };
        column.as_primitive::<T>().values().iter().map(number).collect()
    }
}

impl EncodeRecords for RawRecordEncoder {
    fn encode(&mut self, rows: &RecordBatch, _weights: Option<&Int64Array>) -> Result<Vec<Bytes>> {
        let column = rows.column(0);
        if column.null_count() > 0 {
            return Err(Error::Invalid(format!(
                "column `{}` is NULL in a row, which format `raw` cannot write; filter such rows out",
                rows.schema().field(0).name()
            )));
        }
        Ok(match column.data_type() {
            DataType::Utf8View => column
                .as_string_view()
                .iter()
                .map(|text| Bytes::copy_from_slice(text.unwrap_or_default().as_bytes()))
                .collect(),
            DataType::Binary => column
                .as_binary::<i32>()
                .iter()
                .map(|bytes| Bytes::copy_from_slice(bytes.unwrap_or_default()))
                .collect(),
            DataType::Boolean => {
                let truth = |truth: Option<bool>| Bytes::from(vec![u8::from(truth.unwrap_or_default())]);
                column.as_boolean().iter().map(truth).collect()
            }
            DataType::Int8 => self.numbers::<Int8Type>(column),
            DataType::Int16 => self.numbers::<Int16Type>(column),
            DataType::Int32 => self.numbers::<Int32Type>(column),
            DataType::Int64 => self.numbers::<Int64Type>(column),
            DataType::Float32 => self.numbers::<Float32Type>(column),
            DataType::Float64 => self.numbers::<Float64Type>(column),
            other => return Err(Error::Internal(format!("format `raw` was given {other}"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::{
        array::{Int16Array, StringArray},
        datatypes::{Field, Schema},
    };

    use super::*;

    #[test]
    fn numbers_are_big_endian_unless_told_otherwise() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int16, false)]));
        let rows = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int16Array::from(vec![258, -1]))]);
        let rows = rows.unwrap();
        for (endianness, expected) in [("big-endian", [1, 2]), ("little-endian", [2, 1])] {
            let options = BTreeMap::from([("raw.endianness".to_owned(), endianness.to_owned())]);
            let mut encoder = RawRecordEncoder::new(TableOptions(&options), &schema).unwrap();
            let records = encoder.encode(&rows, None).unwrap();
            assert_eq!(&records[0][..], expected);
            let mut decoder = RawRecords::new(TableOptions(&options), &schema, &[0]).unwrap();
            let bytes: Vec<&[u8]> = records.iter().map(|record| &record[..]).collect();
            assert_eq!(decoder.decode(&bytes).unwrap().rows, rows);
            assert_eq!(decoder.decode(&[b"abc"]).unwrap_err(), "3 bytes, and SMALLINT takes 2");
        }
    }

    #[test]
    fn texts_must_be_utf8_and_columns_one() {
        let options = BTreeMap::new();
        let text = Arc::new(Schema::new(vec![Field::new("s", DataType::Utf8View, true)]));
        let mut decoder = RawRecords::new(TableOptions(&options), &text, &[0]).unwrap();
        let rows = decoder.decode(&[b"a", b""]).unwrap().rows;
        let expected = StringArray::from(vec!["a", ""]);
        assert_eq!(
            arrow::compute::cast(rows.column(0), &DataType::Utf8).unwrap().as_ref(),
            &expected as &dyn Array
        );
        assert_eq!(decoder.decode(&[b"\xff"]).unwrap_err(), "it is not UTF-8");
        let two = Arc::new(Schema::new(vec![text.field(0).clone(), text.field(0).clone()]));
        assert!(RawRecords::new(TableOptions(&options), &two, &[0]).is_err());
    }
}
