//! Batches of events in the columns of a table.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{
        Array as _, ArrayRef, BooleanBufferBuilder, Int32Array, Int64Array, RecordBatch, RecordBatchOptions,
        StructArray, TimestampMillisecondArray, new_null_array,
    },
    buffer::NullBuffer,
    datatypes::{DataType, Fields, SchemaRef},
};

use super::{
    auction::Auctions,
    bid::Bids,
    columns::{Column, FieldColumn},
    events::{Events, Values},
    kind::Kind,
    options::NexmarkOptions,
    person::Persons,
    run::Runs,
};
use crate::{
    error::{Error, Result},
    numbered::MakeRows,
};

/// Makes the rows of a table.
pub struct NexmarkRows {
    events: Events,
    persons: Persons,
    auctions: Auctions,
    bids: Bids,
    columns: Vec<Column>,
    kinds: [bool; 3],
    schema: SchemaRef,
    nulls: Nulls,
}

impl NexmarkRows {
    /// Rows with these columns, of these kinds of events.
    pub fn new(options: NexmarkOptions, columns: Vec<Column>, kinds: [bool; 3], schema: SchemaRef) -> Self {
        Self {
            persons: Persons::new(),
            auctions: Auctions::new(options.seed),
            bids: Bids::new(options.seed),
            events: Events::new(options),
            columns,
            kinds,
            schema,
            nulls: Nulls::default(),
        }
    }

    fn values(&self, kind: Kind, field: &str, runs: &Runs) -> Values {
        let of_kind = &runs.of[kind as usize];
        match kind {
            Kind::Person => self.persons.values(&self.events, field, of_kind),
            Kind::Auction => self.auctions.values(&self.events, field, of_kind),
            Kind::Bid => self.bids.values(&self.events, field, of_kind),
        }
    }

    /// A whole event as a column of type ROW.
    fn row(
        &mut self,
        kind: Kind,
        fields: &[FieldColumn],
        as_fields: &Fields,
        runs: &Runs,
    ) -> Result<ArrayRef> {
        let presence = Presence::of(kind, runs);
        if matches!(presence, Presence::Never) {
            return Ok(self.nulls.of(&DataType::Struct(as_fields.clone()), runs.rows));
        }
        let mut children = Vec::with_capacity(fields.len());
        for field in fields {
            children.push(match field.is_read {
                true => presence.array(self.values(kind, field.name, runs), &field.data_type, runs),
                false => self.nulls.of(&field.data_type, runs.rows),
            });
        }
        let row = StructArray::try_new_with_length(as_fields.clone(), children, presence.nulls(), runs.rows);
        Ok(Arc::new(row.map_err(|error| Error::Rows(error.into()))?))
    }
}

impl MakeRows for NexmarkRows {
    fn rows(&mut self, numbers: &[Range<u64>]) -> Result<RecordBatch> {
        let runs = Runs::new(&self.events.options.proportions, numbers, self.kinds);
        let columns = std::mem::take(&mut self.columns);
        let schema = Arc::clone(&self.schema);
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
        for (column, field) in columns.iter().zip(schema.fields()) {
            arrays.push(match (column, field.data_type()) {
                (Column::EventType, _) => Arc::new(event_types(&runs)),
                (Column::Row(kind, fields), DataType::Struct(as_fields)) => {
                    self.row(*kind, fields, as_fields, &runs)?
                }
                (Column::Row(..), other) => {
                    return Err(Error::Internal(format!("a whole event cannot be of type {other}")));
                }
                (Column::Field(kind, field), _) => {
                    Presence::Always.array(self.values(*kind, field.name, &runs), &field.data_type, &runs)
                }
            });
        }
        self.columns = columns;
        let options = RecordBatchOptions::new().with_row_count(Some(runs.rows));
        RecordBatch::try_new_with_options(schema, arrays, &options).map_err(|error| Error::Rows(error.into()))
    }

    fn numbers_for(&self, rows: usize) -> u64 {
        let proportions = &self.events.options.proportions;
        let wanted: u64 = (0..3).filter(|kind| self.kinds[*kind]).map(|kind| proportions.of[kind]).sum();
        (rows as u64).saturating_mul(proportions.total) / wanted.max(1)
    }
}

fn event_types(runs: &Runs) -> Int32Array {
    let types = runs.order.iter().flat_map(|(kind, len)| std::iter::repeat_n(*kind as i32, *len));
    types.collect::<Vec<i32>>().into()
}

/// In which rows a kind's events are.
enum Presence {
    Always,
    Never,
    /// Where it is set.
    Sometimes(Kind, NullBuffer),
}

impl Presence {
    fn of(kind: Kind, runs: &Runs) -> Self {
        let mut others = runs.order.iter().filter(|(other, _)| *other != kind);
        if runs.of[kind as usize].is_empty() {
            return Self::Never;
        }
        if others.next().is_none() {
            return Self::Always;
        }
        let mut bits = BooleanBufferBuilder::new(runs.rows);
        runs.order.iter().for_each(|(other, len)| bits.append_n(*len, *other == kind));
        Self::Sometimes(kind, NullBuffer::new(bits.finish()))
    }

    fn nulls(&self) -> Option<NullBuffer> {
        match self {
            Self::Sometimes(_, nulls) => Some(nulls.clone()),
            Self::Always | Self::Never => None,
        }
    }

    /// A field's values as an array with as many rows as there are events of all kinds.
    fn array(&self, values: Values, data_type: &DataType, runs: &Runs) -> ArrayRef {
        let nulls = self.nulls();
        let values = match self {
            Self::Sometimes(kind, _) => spread(values, *kind, runs),
            Self::Always | Self::Never => values,
        };
        match values {
            Values::Numbers(numbers) => Arc::new(Int64Array::new(numbers.into(), nulls)),
            Values::Times(times) => {
                let times = TimestampMillisecondArray::new(times.into(), nulls);
                Arc::new(match data_type {
                    DataType::Timestamp(_, zone) => times.with_timezone_opt(zone.clone()),
                    _ => times,
                })
            }
            Values::Texts(texts) => Arc::new(texts.into_array(nulls)),
        }
    }
}

/// Values of one kind's events moved to the rows of those events among all.
fn spread(values: Values, kind: Kind, runs: &Runs) -> Values {
    match values {
        Values::Numbers(numbers) => Values::Numbers(spread_out(&numbers, kind, runs)),
        Values::Times(times) => Values::Times(spread_out(&times, kind, runs)),
        Values::Texts(texts) => Values::Texts(texts.with_views(spread_out(&texts.views, kind, runs))),
    }
}

fn spread_out<T: Copy + Default>(values: &[T], kind: Kind, runs: &Runs) -> Vec<T> {
    let mut all = Vec::with_capacity(runs.rows);
    let mut left = values;
    for (other, len) in &runs.order {
        if *other == kind {
            let (own, rest) = left.split_at(*len);
            all.extend_from_slice(own);
            left = rest;
        } else {
            all.resize(all.len() + len, T::default());
        }
    }
    all
}

/// Columns of NULL, made once for each type and cut to length.
#[derive(Default)]
struct Nulls(Vec<ArrayRef>);

impl Nulls {
    fn of(&mut self, data_type: &DataType, rows: usize) -> ArrayRef {
        match self.0.iter_mut().find(|known| known.data_type() == data_type) {
            Some(known) if known.len() >= rows => known.slice(0, rows),
            Some(known) => {
                *known = new_null_array(data_type, rows);
                Arc::clone(known)
            }
            None => {
                self.0.push(new_null_array(data_type, rows));
                self.0[self.0.len() - 1].slice(0, rows)
            }
        }
    }
}
