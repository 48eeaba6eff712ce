//! Records of one partition to rows: key and value are decoded each by its format, what Kafka knows of the record is put beside.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array},
    compute::take,
    datatypes::{Schema, SchemaRef},
};
use krafka::consumer::ConsumerRecord;
use thalweg_graph::table::TableDescriptor;
use thalweg_plan::stream::changelog::with_weight;

use super::{
    columns::{Place, Sides},
    options::{KafkaOptions, SideFormat},
};
use crate::{
    error::{Error, Result},
    format::record::{self, DecodeRecords, Salvaged, salvage},
    options::TableOptions,
};

/// A record that cannot be read.
#[derive(Debug, Clone)]
pub struct MalformedRecord {
    /// The record.
    pub record: ConsumerRecord,
    /// The format it is not of.
    pub format: &'static str,
    /// What was expected and found.
    pub reason: String,
}

/// Turns records into rows.
pub struct RowDecoder {
    key: Option<Side>,
    value: Side,
    /// Where each column of the rows comes from.
    places: Vec<Place>,
    schema: SchemaRef,
    kind: Kind,
    /// For each key column that stands in the value too: the column of the rows and the field of the key.
    deleted_keys: Vec<(usize, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Each record is a row.
    Rows,
    /// Each record is any number of changes.
    Changes,
    /// Each record is the new row of its key; one without a value is the key's end.
    Upserts,
}

/// The wanted fields of one side of a record.
struct Side {
    decoder: Box<dyn DecodeRecords>,
    /// The positions of the wanted fields, ascending.
    wanted: Vec<usize>,
}

impl Side {
    fn new(format: &SideFormat, fields: &SchemaRef, mut wanted: Vec<usize>) -> Result<Self> {
        wanted.sort_unstable();
        wanted.dedup();
        let decoder = record::decoder(format.format, TableOptions(&format.options), fields, &wanted)?;
        Ok(Self { decoder, wanted })
    }

    fn column(&self, rows: &RecordBatch, field: usize) -> Result<ArrayRef> {
        let position = self.wanted.iter().position(|wanted| *wanted == field);
        let position = position.ok_or_else(|| Error::Internal(format!("field {field} was not decoded")))?;
        Ok(Arc::clone(rows.column(position)))
    }
}

impl RowDecoder {
    /// For the wanted columns of a table; rows will have `schema`, or that and a weight in a changelog.
    pub fn new(
        table: &TableDescriptor,
        options: &KafkaOptions,
        projection: Option<&[usize]>,
        schema: &SchemaRef,
    ) -> Result<Self> {
        let sides = Sides::of(table, options)?;
        let readable = sides.readable(table)?;
        let place = |position: &usize| {
            let place = readable.get(*position).copied();
            place.ok_or_else(|| Error::Internal(format!("column {position} is not in the table")))
        };
        let places = match projection {
            Some(projection) => projection.iter().map(place).collect::<Result<Vec<_>>>()?,
            None => readable.clone(),
        };
        let kind = match options.value.format.is_changelog() {
            true => Kind::Changes,
            false if options.is_upsert() => Kind::Upserts,
            false => Kind::Rows,
        };
        let fields = |pick: fn(&Place) -> Option<usize>| places.iter().filter_map(pick).collect::<Vec<_>>();
        let mut key_fields = fields(|place| match place {
            Place::Key(field) => Some(*field),
            _ => None,
        });
        let mut value_fields = fields(|place| match place {
            Place::Value(field) => Some(*field),
            _ => None,
        });
        if value_fields.is_empty() && !sides.value.fields().is_empty() {
            // What is counted must be a row.
            value_fields.push(0);
        }
        let mut deleted_keys = Vec::new();
        if kind == Kind::Upserts {
            for (column, place) in places.iter().enumerate() {
                let Place::Value(field) = place else { continue };
                let name = sides.value.field(*field).name();
                if let Some(field) = options.key_fields.iter().position(|key| key == name) {
                    deleted_keys.push((column, field));
                    key_fields.push(field);
                }
            }
        }
        let key = match &options.key {
            Some(format) if !key_fields.is_empty() => Some(Side::new(format, &sides.key, key_fields)?),
            _ => None,
        };
        let value = Side::new(&options.value, &sides.value, value_fields)?;
        let schema = match kind {
            Kind::Rows => Arc::clone(schema),
            Kind::Changes | Kind::Upserts => with_weight(schema),
        };
        Ok(Self { key, value, places, schema, kind, deleted_keys })
    }

    /// The rows of records; those that are malformed are put aside. Records without a value are rows in a table of upserts alone.
    pub fn decode(
        &mut self,
        records: &[ConsumerRecord],
        malformed: &mut Vec<MalformedRecord>,
    ) -> Result<RecordBatch> {
        let put_aside = |format, failures: Vec<record::Malformed>, of: &[u32]| {
            let failure = |failure: record::Malformed| MalformedRecord {
                record: records[of[failure.record] as usize].clone(),
                format,
                reason: failure.reason,
            };
            failures.into_iter().map(failure).collect::<Vec<_>>()
        };
        // Keys: `key_rows[i]` is the row of record i among the decoded keys.
        let mut readable = vec![true; records.len()];
        let mut key_rows: Vec<Option<u32>> = vec![None; records.len()];
        let mut keys = None;
        if let Some(side) = &mut self.key {
            let of = positions(records, |record| record.key.is_some());
            let bytes: Vec<&[u8]> =
                of.iter().filter_map(|position| records[*position as usize].key.as_deref()).collect();
            let Salvaged { decoded, origins, malformed: failures } = salvage(side.decoder.as_mut(), &bytes)?;
            for failure in &failures {
                readable[of[failure.record] as usize] = false;
            }
            malformed.extend(put_aside(side.decoder.format(), failures, &of));
            if let Some(decoded) = decoded {
                for row in 0..decoded.rows.num_rows() {
                    let origin = origins.as_ref().map_or(row, |origins| origins[row] as usize);
                    key_rows[of[origin] as usize] = Some(row as u32);
                }
                keys = Some(decoded.rows);
            }
        }
        let of = positions(records, |record| record.value.is_some());
        let of: Vec<u32> = of.into_iter().filter(|position| readable[*position as usize]).collect();
        let bytes: Vec<&[u8]> =
            of.iter().filter_map(|position| records[*position as usize].value.as_deref()).collect();
        let Salvaged { decoded, origins, malformed: failures } =
            salvage(self.value.decoder.as_mut(), &bytes)?;
        malformed.extend(put_aside(self.value.decoder.format(), failures, &of));
        // Rows: the record each comes from, the decoded value, the weight.
        let mut rows = Picked::default();
        let values = decoded.as_ref().map(|decoded| &decoded.rows);
        let weights = decoded.as_ref().and_then(|decoded| decoded.changes.as_ref());
        for row in 0..values.map_or(0, RecordBatch::num_rows) {
            let origin = origins.as_ref().map_or(row, |origins| origins[row] as usize);
            let weight = weights.map_or(1, |changes| changes.weights[row]);
            rows.push(of[origin], Some(row as u32), weight);
        }
        if self.kind == Kind::Upserts {
            for position in positions(records, |record| record.value.is_none() && record.key.is_some()) {
                if readable[position as usize] {
                    rows.push(position, None, -1);
                }
            }
            rows.sort();
        }
        self.assemble(records, &rows, keys.as_ref(), &key_rows, values)
    }

    fn assemble(
        &self,
        records: &[ConsumerRecord],
        rows: &Picked,
        keys: Option<&RecordBatch>,
        key_rows: &[Option<u32>],
        values: Option<&RecordBatch>,
    ) -> Result<RecordBatch> {
        let failed = |error: arrow::error::ArrowError| Error::Rows(error.into());
        let records_of = UInt32Array::from(rows.records.clone());
        let values_of = UInt32Array::from(rows.values.clone());
        let keys_of: UInt32Array = rows.records.iter().map(|record| key_rows[*record as usize]).collect();
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for (position, place) in self.places.iter().enumerate() {
            let field = self.schema.field(position);
            let nulls = || new_null_array(field.data_type(), rows.records.len());
            let key = |field: usize| match (&self.key, keys) {
                (Some(side), Some(keys)) => take(&side.column(keys, field)?, &keys_of, None).map_err(failed),
                _ => Ok(nulls()),
            };
            let column = match place {
                Place::Metadata(metadata) => {
                    take(&metadata.column(records, field.data_type())?, &records_of, None).map_err(failed)?
                }
                Place::Key(field) => key(*field)?,
                Place::Value(field) => match self.deleted_keys.iter().find(|(column, _)| *column == position)
                {
                    // The key's own columns are the same in key and value, and of a deleted row in the key alone.
                    Some((_, field)) => key(*field)?,
                    None => match values {
                        Some(values) => {
                            take(&self.value.column(values, *field)?, &values_of, None).map_err(failed)?
                        }
                        None => nulls(),
                    },
                },
            };
            columns.push(column);
        }
        let mut schema = Arc::clone(&self.schema);
        if self.kind != Kind::Rows {
            columns.push(Arc::new(Int64Array::from(rows.weights.clone())));
        }
        if self.kind == Kind::Upserts {
            // A deleted row is its key alone: its other columns are NULL, whatever the table says of them.
            schema = Arc::new(nullable_but_key(&schema, &self.deleted_keys));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.records.len()));
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(|error| {
            Error::Invalid(format!(
                "a record lacks what the table says is NOT NULL: {}",
                error.to_string().split_once("error: ").map_or("", |(_, reason)| reason)
            ))
        })
    }
}

fn nullable_but_key(schema: &Schema, keys: &[(usize, usize)]) -> Schema {
    let last = schema.fields().len() - 1;
    let fields = schema.fields().iter().enumerate().map(|(position, field)| {
        let is_key = position == last || keys.iter().any(|(column, _)| *column == position);
        field.as_ref().clone().with_nullable(field.is_nullable() || !is_key)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

fn positions(records: &[ConsumerRecord], wanted: impl Fn(&ConsumerRecord) -> bool) -> Vec<u32> {
    (0..records.len() as u32).filter(|position| wanted(&records[*position as usize])).collect()
}

/// The rows to come: for each its record, its decoded value and its weight.
#[derive(Default)]
struct Picked {
    records: Vec<u32>,
    values: Vec<Option<u32>>,
    weights: Vec<i64>,
}

impl Picked {
    fn push(&mut self, record: u32, value: Option<u32>, weight: i64) {
        self.records.push(record);
        self.values.push(value);
        self.weights.push(weight);
    }

    /// Puts rows into the order of their records.
    fn sort(&mut self) {
        let mut order: Vec<usize> = (0..self.records.len()).collect();
        order.sort_by_key(|position| self.records[*position]);
        self.records = order.iter().map(|position| self.records[*position]).collect();
        self.values = order.iter().map(|position| self.values[*position]).collect();
        self.weights = order.iter().map(|position| self.weights[*position]).collect();
    }
}
