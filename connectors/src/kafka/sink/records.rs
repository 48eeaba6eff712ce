//! Rows to records: key and value, each in its format.

use std::collections::HashMap;

use arrow::{
    array::{AsArray as _, Int64Array, RecordBatch},
    datatypes::Int64Type,
};
use bytes::Bytes;
use krafka::Record;
use thalweg_graph::table::SinkDescriptor;
use thalweg_plan::stream::changelog::is_updating;

use super::super::{
    columns::{Place, Sides},
    options::KafkaOptions,
};
use crate::{
    error::{Error, Result},
    format::record::{self, EncodeRecords},
    options::TableOptions,
};

/// Turns rows into records.
pub struct RecordEncoder {
    topic: String,
    kind: Kind,
    /// The positions of the key's fields among the columns, and how they are written.
    key: Option<(Vec<usize>, Box<dyn EncodeRecords>)>,
    value: (Vec<usize>, Box<dyn EncodeRecords>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rows,
    Changes,
    Upserts,
}

impl RecordEncoder {
    /// For rows with the sink's physical columns.
    pub fn new(sink: &SinkDescriptor, options: &KafkaOptions) -> Result<Self> {
        let sides = Sides::of(&sink.table, options)?;
        let column = |name: &str| {
            let position = sink.table.columns.iter().position(|column| column.name == name);
            position.ok_or_else(|| Error::Internal(format!("column `{name}` is not in the table")))
        };
        let key = match &options.key {
            None => None,
            Some(format) => {
                let columns =
                    options.key_fields.iter().map(|name| column(name)).collect::<Result<Vec<_>>>()?;
                let encoder = record::encoder(format.format, TableOptions(&format.options), &sides.key)?;
                Some((columns, encoder))
            }
        };
        let in_value =
            |(position, place): (usize, &Place)| matches!(place, Place::Value(_)).then_some(position);
        let columns = sides.physical.iter().enumerate().filter_map(in_value).collect();
        let value = &options.value;
        let encoder = record::encoder(value.format, TableOptions(&value.options), &sides.value)?;
        let kind = match value.format.is_changelog() {
            true => Kind::Changes,
            false if options.is_upsert() => Kind::Upserts,
            false => Kind::Rows,
        };
        Ok(Self { topic: options.sink_topic()?.to_owned(), kind, key, value: (columns, encoder) })
    }

    /// The records of rows, in order.
    pub fn encode(&mut self, rows: &RecordBatch) -> Result<Vec<Record>> {
        let weights = match is_updating(&rows.schema()) {
            true => Some(rows.column(rows.num_columns() - 1).as_primitive::<Int64Type>().clone()),
            false => None,
        };
        match self.kind {
            Kind::Rows => self.rows(rows, weights.as_ref()),
            Kind::Changes => self.changes(rows, weights.as_ref()),
            Kind::Upserts => self.upserts(rows, weights.as_ref()),
        }
    }

    fn keys(&mut self, rows: &RecordBatch) -> Result<Option<Vec<Bytes>>> {
        match &mut self.key {
            None => Ok(None),
            Some((columns, encoder)) => encoder.encode(&project(rows, columns)?, None).map(Some),
        }
    }

    fn rows(&mut self, rows: &RecordBatch, weights: Option<&Int64Array>) -> Result<Vec<Record>> {
        if weights.is_some_and(|weights| weights.values().iter().any(|weight| *weight < 0)) {
            return Err(Error::Invalid(
                "the query takes rows back that it gave, which a table of connector `kafka` with this format cannot; write to \
                 `upsert-kafka`, or in the format `debezium-json`"
                    .to_owned(),
            ));
        }
        let keys = self.keys(rows)?;
        let values = self.value.1.encode(&project(rows, &self.value.0)?, None)?;
        Ok(self.records(keys, values.into_iter().map(Some)))
    }

    fn changes(&mut self, rows: &RecordBatch, weights: Option<&Int64Array>) -> Result<Vec<Record>> {
        let mut keys = self.keys(rows)?;
        if let (Some(keys), Some(weights)) = (&mut keys, weights) {
            let repeated = |(key, weight): (&Bytes, &i64)| {
                std::iter::repeat_n(key.clone(), weight.unsigned_abs() as usize)
            };
            *keys = keys.iter().zip(weights.values()).flat_map(repeated).collect();
        }
        let values = self.value.1.encode(&project(rows, &self.value.0)?, weights)?;
        Ok(self.records(keys, values.into_iter().map(Some)))
    }

    /// One record for each key: its new row, or that it has none any more.
    fn upserts(&mut self, rows: &RecordBatch, weights: Option<&Int64Array>) -> Result<Vec<Record>> {
        let keys = self.keys(rows)?.unwrap_or_default();
        let values = self.value.1.encode(&project(rows, &self.value.0)?, None)?;
        let Some(weights) = weights else {
            return Ok(self.records(Some(keys), values.into_iter().map(Some)));
        };
        let last = last_of_each_key(&keys, &values, weights);
        let keys: Vec<Bytes> = last.iter().map(|(row, _)| keys[*row].clone()).collect();
        let values = last.iter().map(|(row, is_there)| is_there.then(|| values[*row].clone()));
        Ok(self.records(Some(keys), values))
    }

    fn records(&self, keys: Option<Vec<Bytes>>, values: impl Iterator<Item = Option<Bytes>>) -> Vec<Record> {
        let mut keys = keys.into_iter().flatten();
        let record = |value: Option<Bytes>| {
            let key = keys.next();
            match (key, value) {
                (Some(key), Some(value)) => Record::new(self.topic.as_str(), value).key(key),
                (Some(key), None) => Record::tombstone(self.topic.as_str(), key),
                (None, value) => Record::new(self.topic.as_str(), value.unwrap_or_default()),
            }
        };
        values.map(record).collect()
    }
}

/// For each key of a batch, in the order of first appearance: the row that tells what it is now, and whether it is there. Order
/// within the batch does not matter: rows that come and go cancel out first.
fn last_of_each_key(keys: &[Bytes], values: &[Bytes], weights: &Int64Array) -> Vec<(usize, bool)> {
    let mut rows_by_key: HashMap<&Bytes, Vec<(usize, i64)>> = HashMap::with_capacity(keys.len());
    let mut order = Vec::new();
    for (row, key) in keys.iter().enumerate() {
        let rows = rows_by_key.entry(key).or_insert_with(|| {
            order.push(key);
            Vec::new()
        });
        match rows.iter_mut().find(|(other, _)| values[*other] == values[row]) {
            Some((_, weight)) => *weight += weights.value(row),
            None => rows.push((row, weights.value(row))),
        }
    }
    let mut last = Vec::with_capacity(order.len());
    for key in order {
        let rows = &rows_by_key[key];
        let there = rows.iter().rfind(|(_, weight)| *weight > 0);
        let gone = rows.iter().rfind(|(_, weight)| *weight < 0);
        match (there, gone) {
            (Some((row, _)), _) => last.push((*row, true)),
            (None, Some((row, _))) => last.push((*row, false)),
            (None, None) => {}
        }
    }
    last
}

fn project(rows: &RecordBatch, columns: &[usize]) -> Result<RecordBatch> {
    rows.project(columns).map_err(|error| Error::Rows(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_one_record_whatever_the_order() {
        let bytes =
            |texts: &[&'static str]| -> Vec<Bytes> { texts.iter().map(|text| Bytes::from(*text)).collect() };
        let keys = bytes(&["a", "b", "a", "c", "c", "d"]);
        let values = bytes(&["a2", "b1", "a1", "c1", "c1", "d1"]);
        let weights = Int64Array::from(vec![1, -1, -1, 1, -1, 1]);
        assert_eq!(last_of_each_key(&keys, &values, &weights), [(0, true), (1, false), (5, true)]);
    }
}
