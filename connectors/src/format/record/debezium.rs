//! `debezium-json`: a record is an envelope `{"before": row, "after": row, "op": "c" | "r" | "u" | "d"}`, one changed row.
//! An update is the old row taken away and the new one put there.

use std::sync::Arc;

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
        StructArray, UInt32Array,
    },
    buffer::NullBuffer,
    compute::{concat, take},
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
};
use bytes::Bytes;

use super::{
    DecodeRecords, Decoded, EncodeRecords, RowChanges,
    json::{JsonRecordEncoder, objects},
    plain, project,
};
use crate::{
    error::{Error, Result},
    format::encode::json_timestamp_format,
    options::TableOptions,
};

/// Decodes envelopes.
pub struct DebeziumRecords {
    rows: SchemaRef,
    envelope: SchemaRef,
    /// Whether the envelope stands in the field `payload`, beside its schema.
    has_schema: bool,
}

/// The envelope around rows with `columns`.
fn envelope(columns: &Fields) -> Fields {
    // An old row may hold its key alone: what a column must not be holds for new rows, and is checked there.
    let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
    let row = DataType::Struct(columns.iter().map(nullable).collect());
    Fields::from(vec![
        Field::new("before", row.clone(), true),
        Field::new("after", row, true),
        Field::new("op", DataType::Utf8, true),
    ])
}

impl DebeziumRecords {
    /// For the columns at `wanted`.
    pub fn new(options: TableOptions<'_>, file: &SchemaRef, wanted: &[usize]) -> Result<Self> {
        let rows = project(file, wanted)?;
        let has_schema = options.is_set("debezium-json.schema-include");
        let fields = envelope(rows.fields());
        let envelope = match has_schema {
            true => Schema::new(vec![Field::new("payload", DataType::Struct(fields), true)]),
            false => Schema::new(fields),
        };
        Ok(Self { rows, envelope: Arc::new(envelope), has_schema })
    }
}

/// Picks rows out of all `before`s followed by all `after`s.
#[derive(Default)]
struct Picked {
    positions: Vec<u32>,
    changes: RowChanges,
}

impl Picked {
    fn push(&mut self, record: usize, position: usize, weight: i64) {
        self.positions.push(position as u32);
        self.changes.origins.push(record as u32);
        self.changes.weights.push(weight);
    }
}

fn pick(before: &StructArray, after: &StructArray, ops: &StringArray) -> Result<Picked, String> {
    let mut picked = Picked::default();
    let count = ops.len();
    for record in 0..count {
        let op = if ops.is_null(record) { "" } else { ops.value(record) };
        let removes = matches!(op, "u" | "d");
        let adds = matches!(op, "c" | "r" | "u");
        if !removes && !adds {
            return Err(format!("`op` is `{op}`, and not one of `c`, `r`, `u`, `d`"));
        }
        if removes && before.is_null(record) {
            return Err(format!(
                "`before` is null in a change of kind `{op}`; the source must log whole old rows (in PostgreSQL: REPLICA \
                 IDENTITY FULL)"
            ));
        }
        if adds && after.is_null(record) {
            return Err(format!("`after` is null in a change of kind `{op}`"));
        }
        if removes {
            picked.push(record, record, -1);
        }
        if adds {
            picked.push(record, count + record, 1);
        }
    }
    Ok(picked)
}

impl DecodeRecords for DebeziumRecords {
    fn format(&self) -> &'static str {
        "debezium-json"
    }

    fn decode(&mut self, records: &[&[u8]]) -> Result<Decoded, String> {
        let envelopes = objects(&self.envelope, records)?;
        let columns: Vec<ArrayRef> = match self.has_schema {
            false => envelopes.columns().to_vec(),
            true => envelopes.column(0).as_struct().columns().to_vec(),
        };
        let [before, after, op] = &columns[..] else {
            return Err("the envelope has other fields than asked for".to_owned());
        };
        let (before, after) = (before.as_struct(), after.as_struct());
        let picked = pick(before, after, op.as_string::<i32>())?;
        let positions = UInt32Array::from(picked.positions);
        let columns = before.columns().iter().zip(after.columns());
        let columns = columns
            .map(|(before, after)| take(&concat(&[before.as_ref(), after.as_ref()])?, &positions, None));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(plain)?;
        let options = RecordBatchOptions::new().with_row_count(Some(positions.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.rows), columns, &options);
        Ok(Decoded { rows: rows.map_err(plain)?, changes: Some(picked.changes) })
    }
}

/// Encodes changes: a new row as `c`, an old one as `d`, as Flink does.
pub struct DebeziumEncoder {
    envelope: SchemaRef,
    rows: Fields,
    json: JsonRecordEncoder,
}

impl DebeziumEncoder {
    /// Of rows with `schema`.
    pub fn new(options: TableOptions<'_>, schema: &SchemaRef) -> Self {
        let fields = envelope(schema.fields());
        let rows = match fields[0].data_type() {
            DataType::Struct(rows) => rows.clone(),
            _ => Fields::empty(),
        };
        let format = json_timestamp_format(options, "debezium-json.timestamp-format.standard");
        let explicit_nulls = !options.is_set("debezium-json.encode.ignore-null-fields");
        Self {
            envelope: Arc::new(Schema::new(fields)),
            rows,
            json: JsonRecordEncoder::with(format, explicit_nulls),
        }
    }
}

impl EncodeRecords for DebeziumEncoder {
    fn encode(&mut self, rows: &RecordBatch, weights: Option<&Int64Array>) -> Result<Vec<Bytes>> {
        let failed = |error: arrow::error::ArrowError| Error::Rows(error.into());
        let weight = |row: usize| weights.map_or(1, |weights| weights.value(row));
        let repeated = |row: usize| std::iter::repeat_n(row as u32, weight(row).unsigned_abs() as usize);
        let positions: UInt32Array = (0..rows.num_rows()).flat_map(repeated).collect::<Vec<_>>().into();
        let is_new: Vec<bool> =
            positions.values().iter().map(|position| weight(*position as usize) > 0).collect();
        let columns = rows.columns().iter().map(|column| take(column, &positions, None));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let side = |is_there: Vec<bool>| {
            let nulls = Some(NullBuffer::from(is_there));
            StructArray::try_new_with_length(self.rows.clone(), columns.clone(), nulls, positions.len())
        };
        let before = side(is_new.iter().map(|new| !new).collect()).map_err(failed)?;
        let after = side(is_new.clone()).map_err(failed)?;
        let ops: StringArray = is_new.iter().map(|new| Some(if *new { "c" } else { "d" })).collect();
        let envelopes = RecordBatch::try_new(
            Arc::clone(&self.envelope),
            vec![Arc::new(before), Arc::new(after), Arc::new(ops)],
        );
        self.json.encode(&envelopes.map_err(failed)?, None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int32, false),
            Field::new("name", DataType::Utf8View, true),
        ]))
    }

    fn decode(records: &[&str]) -> Result<Decoded, String> {
        let options = BTreeMap::new();
        let mut decoder = DebeziumRecords::new(TableOptions(&options), &schema(), &[0, 1]).unwrap();
        let records: Vec<&[u8]> = records.iter().map(|record| record.as_bytes()).collect();
        decoder.decode(&records)
    }

    #[test]
    fn changes_have_weights() {
        let decoded = decode(&[
            r#"{"before":null,"after":{"id":1,"name":"a"},"op":"c","ts_ms":1}"#,
            r#"{"before":{"id":1,"name":"a"},"after":{"id":1,"name":"b"},"op":"u"}"#,
            r#"{"before":{"id":1,"name":"b"},"after":null,"op":"d"}"#,
        ])
        .unwrap();
        let changes = decoded.changes.clone().unwrap();
        assert_eq!(changes.origins, [0, 1, 1, 2]);
        assert_eq!(changes.weights, [1, -1, 1, -1]);
        let names = arrow::compute::cast(decoded.rows.column(1), &DataType::Utf8).unwrap();
        let names: Vec<_> = names.as_string::<i32>().iter().flatten().map(str::to_owned).collect();
        assert_eq!(names, ["a", "a", "b", "b"]);
        let weights = Int64Array::from(changes.weights);
        let options = BTreeMap::new();
        let encoded = DebeziumEncoder::new(TableOptions(&options), &schema())
            .encode(&decoded.rows, Some(&weights))
            .unwrap();
        assert_eq!(&encoded[0][..], br#"{"before":null,"after":{"id":1,"name":"a"},"op":"c"}"#);
        assert_eq!(&encoded[1][..], br#"{"before":{"id":1,"name":"a"},"after":null,"op":"d"}"#);
    }

    #[test]
    fn what_cannot_be_applied_is_malformed() {
        assert!(decode(&[r#"{"after":{"id":1},"op":"u"}"#]).unwrap_err().contains("REPLICA IDENTITY"));
        assert!(decode(&[r#"{"before":{"id":1},"op":"x"}"#]).unwrap_err().contains("`x`"));
        assert!(decode(&[r#"{"op":"c"}"#]).unwrap_err().contains("`after` is null"));
        assert!(decode(&[r#"{"after":{"name":"a"},"op":"c"}"#]).is_err());
    }
}
