//! Metadata columns: what Kafka knows of a record beside its key and value, by Flink's keys.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryBuilder, Int32Array, Int64Array, MapBuilder, MapFieldNames, StringViewArray,
        StringViewBuilder, TimestampMillisecondArray,
    },
    compute::{CastOptions, can_cast_types, cast_with_options},
    datatypes::{DataType, Field},
};
use krafka::consumer::{ConsumerRecord, TimestampType};
use thalweg_graph::table::{MetadataColumn, TableDescriptor, nearest};
use thalweg_plan::sql_type::{self, SqlType};

use crate::error::{Error, Result};

/// What can be asked of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// Its topic.
    Topic,
    /// Its partition.
    Partition,
    /// Its headers; of several with one name, the last.
    Headers,
    /// The epoch of the leader that wrote it.
    LeaderEpoch,
    /// Its offset.
    Offset,
    /// Its time.
    Timestamp,
    /// Who set that: `CreateTime` or `LogAppendTime`.
    TimestampType,
}

const KEYS: &[(&str, Metadata)] = &[
    ("topic", Metadata::Topic),
    ("partition", Metadata::Partition),
    ("headers", Metadata::Headers),
    ("leader-epoch", Metadata::LeaderEpoch),
    ("offset", Metadata::Offset),
    ("timestamp", Metadata::Timestamp),
    ("timestamp-type", Metadata::TimestampType),
];

impl Metadata {
    /// What a key stands for.
    pub fn parse(column: &MetadataColumn) -> Result<Self> {
        if let Some((_, metadata)) = KEYS.iter().find(|(known, _)| *known == column.key) {
            return Ok(*metadata);
        }
        let (key, name) = (&column.key, &column.column.name);
        let names: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
        let advice = match nearest(key, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are `{}`", names.join("`, `")),
        };
        Err(Error::Invalid(format!("a record has no metadata `{key}` for the column `{name}`; {advice}")))
    }

    /// Its SQL type.
    fn sql_type(self) -> &'static str {
        match self {
            Metadata::Topic | Metadata::TimestampType => "STRING",
            Metadata::Partition | Metadata::LeaderEpoch => "INT",
            Metadata::Headers => "MAP<STRING, BYTES>",
            Metadata::Offset => "BIGINT",
            Metadata::Timestamp => "TIMESTAMP_LTZ(3)",
        }
    }

    fn arrow_type(self) -> DataType {
        match self {
            Metadata::Topic | Metadata::TimestampType => DataType::Utf8View,
            Metadata::Partition | Metadata::LeaderEpoch => DataType::Int32,
            Metadata::Headers => headers(&[]).data_type().clone(),
            Metadata::Offset => DataType::Int64,
            Metadata::Timestamp => SqlType::TimestampLtz(3).to_arrow(),
        }
    }

    fn values(self, records: &[ConsumerRecord]) -> ArrayRef {
        match self {
            Metadata::Topic => {
                Arc::new(StringViewArray::from_iter_values(records.iter().map(|record| &record.topic)))
            }
            Metadata::Partition => {
                Arc::new(Int32Array::from_iter_values(records.iter().map(|record| record.partition)))
            }
            Metadata::Headers => headers(records),
            Metadata::LeaderEpoch => {
                Arc::new(records.iter().map(|record| record.leader_epoch).collect::<Int32Array>())
            }
            Metadata::Offset => {
                Arc::new(Int64Array::from_iter_values(records.iter().map(|record| record.offset)))
            }
            Metadata::Timestamp => {
                let times = records.iter().map(|record| record.timestamp);
                Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC"))
            }
            Metadata::TimestampType => {
                let kind = |record: &ConsumerRecord| match record.timestamp_type {
                    TimestampType::LogAppendTime => "LogAppendTime",
                    _ => "CreateTime",
                };
                Arc::new(StringViewArray::from_iter_values(records.iter().map(kind)))
            }
        }
    }

    /// The values of some records, in a column's type.
    pub fn column(self, records: &[ConsumerRecord], data_type: &DataType) -> Result<ArrayRef> {
        let values = self.values(records);
        let strict = CastOptions { safe: false, ..Default::default() };
        cast_with_options(&values, data_type, &strict).map_err(|error| Error::Rows(error.into()))
    }
}

fn headers(records: &[ConsumerRecord]) -> ArrayRef {
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut maps = MapBuilder::new(Some(names), StringViewBuilder::new(), BinaryBuilder::new())
        .with_keys_field(Field::new("key", DataType::Utf8View, false));
    for record in records {
        for (position, (name, value)) in record.headers.iter().enumerate() {
            if record.headers[position + 1..].iter().any(|(later, _)| later == name) {
                continue;
            }
            maps.keys().append_value(name);
            maps.values().append_option(value.as_deref());
        }
        maps.append(true).expect("keys and values were appended in pairs above");
    }
    Arc::new(maps.finish())
}

/// Checks keys and types of the table's metadata columns.
pub fn check(table: &TableDescriptor) -> Result<()> {
    for column in &table.metadata {
        let metadata = Metadata::parse(column)?;
        let schema = sql_type::schema(std::slice::from_ref(&column.column));
        let schema = schema.map_err(|error| Error::Invalid(error.message))?;
        if !can_cast_types(&metadata.arrow_type(), schema.field(0).data_type()) {
            return Err(Error::Invalid(format!(
                "metadata column `{}` is {}: `{}` of a record is {}, declare it so",
                column.column.name,
                column.column.data_type,
                column.key,
                metadata.sql_type()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray as _;
    use bytes::Bytes;

    use super::*;

    #[test]
    fn of_headers_with_one_name_the_last_is_kept() {
        let mut record = ConsumerRecord::new("t", 0, 0, None, None);
        record.headers = vec![
            ("a".to_owned(), Some(Bytes::from_static(b"1"))),
            ("b".to_owned(), None),
            ("a".to_owned(), Some(Bytes::from_static(b"2"))),
        ];
        let maps = headers(&[record, ConsumerRecord::new("t", 0, 1, None, None)]);
        let maps = maps.as_map();
        assert_eq!((maps.value_length(0), maps.value_length(1)), (2, 0));
        let keys: Vec<_> = maps.keys().as_string_view().iter().flatten().collect();
        assert_eq!(keys, ["b", "a"]);
        assert_eq!(maps.values().as_binary::<i32>().value(1), b"2");
        let declared = sql_type::SqlType::Map(
            Box::new(sql_type::Element { sql_type: SqlType::String, nullable: false }),
            Box::new(sql_type::Element { sql_type: SqlType::Bytes, nullable: true }),
        );
        assert!(can_cast_types(&Metadata::Headers.arrow_type(), &declared.to_arrow()));
    }
}
