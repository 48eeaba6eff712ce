//! Partitions: folders named `k=v`, one level for each partition column, escaped as Hive and Flink do.

use arrow::{
    array::ArrayRef,
    datatypes::{DataType, SchemaRef},
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::common::ScalarValue;

use crate::error::{Error, Result};

/// What is written as `%XX` in the name of a folder.
fn needs_escape(c: char) -> bool {
    c.is_ascii_control() || c == '\u{7f}' || "\"#%'*/:=?\\{[]^".contains(c)
}

/// A name or value as part of a folder's name.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match needs_escape(c) {
            true => escaped.push_str(&format!("%{:02X}", u32::from(c))),
            false => escaped.push(c),
        }
    }
    escaped
}

/// The text that was escaped; what is no escape stays.
pub fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The folder of one partition, below the table: `k=v/l=w`.
pub fn folder(keys: &[String], values: &[Option<String>], default_name: &str) -> String {
    let part = |(key, value): (&String, &Option<String>)| {
        let value = value.as_deref().filter(|value| !value.is_empty()).unwrap_or(default_name);
        format!("{}={}", escape(key), escape(value))
    };
    keys.iter().zip(values).map(part).collect::<Vec<_>>().join("/")
}

/// The values of the partition columns in a file's path, in the keys' order; NULL for the default name.
pub fn values_in_path(path: &str, keys: &[String], default_name: &str) -> Result<Vec<Option<String>>> {
    let folders: Vec<(String, &str)> = path
        .split('/')
        .rev()
        .skip(1)
        .filter_map(|part| part.split_once('='))
        .map(|(key, value)| (unescape(key), value))
        .collect();
    let value = |key: &String| {
        let (_, value) = folders.iter().find(|(name, _)| name == key).ok_or_else(|| {
            Error::Invalid(format!(
                "`{path}` is not in a folder `{key}=...`, but the table is partitioned by `{key}`; move the file or \
                 drop PARTITIONED BY"
            ))
        })?;
        let value = unescape(value);
        Ok((value != default_name).then_some(value))
    };
    keys.iter().map(value).collect()
}

/// A partition value in its column's type.
pub fn typed(path: &str, column: &str, value: Option<&str>, data_type: &DataType) -> Result<ScalarValue> {
    let Some(value) = value else {
        return ScalarValue::try_from(data_type).map_err(Error::Rows);
    };
    ScalarValue::try_from_string(value.to_owned(), data_type).map_err(|error| Error::SchemaMismatch {
        path: path.to_owned(),
        column: column.to_owned(),
        found: format!("the partition value `{value}` ({})", error.strip_backtrace()),
        expected: crate::format::schema::type_text(data_type),
        advice: "change the column's type in the table, or rename the folder",
    })
}

/// The values of the partition columns of each row, as text.
pub struct PartitionText<'a> {
    columns: Vec<(ArrayFormatter<'a>, &'a ArrayRef)>,
}

const TEXT_FORMAT: FormatOptions<'static> = FormatOptions::new()
    .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
    .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f"));

impl<'a> PartitionText<'a> {
    /// Over the partition columns of a batch.
    pub fn new(columns: &'a [ArrayRef]) -> Result<Self> {
        let formatter = |column: &'a ArrayRef| {
            let formatter = ArrayFormatter::try_new(column.as_ref(), &TEXT_FORMAT);
            formatter.map(|formatter| (formatter, column)).map_err(|error| Error::Rows(error.into()))
        };
        Ok(Self { columns: columns.iter().map(formatter).collect::<Result<_>>()? })
    }

    /// Of one row.
    pub fn of_row(&self, row: usize) -> Vec<Option<String>> {
        let value = |(formatter, column): &(ArrayFormatter<'_>, &ArrayRef)| {
            column.is_valid(row).then(|| formatter.value(row).to_string())
        };
        self.columns.iter().map(value).collect()
    }
}

/// The positions of the partition columns in a schema, and of the others.
pub fn positions(schema: &SchemaRef, keys: &[String]) -> Result<(Vec<usize>, Vec<usize>)> {
    let position = |key: &String| {
        schema
            .index_of(key)
            .map_err(|_| Error::Invalid(format!("the partition column `{key}` is not a column")))
    };
    let partition = keys.iter().map(position).collect::<Result<Vec<_>>>()?;
    let rest = (0..schema.fields().len()).filter(|position| !partition.contains(position)).collect();
    Ok((partition, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_escaped_as_hive_does() {
        let keys = ["day".to_owned(), "a=b".to_owned()];
        let values = [Some("2024-01-01 10:00".to_owned()), None];
        let folder = folder(&keys, &values, "__DEFAULT_PARTITION__");
        assert_eq!(folder, "day=2024-01-01 10%3A00/a%3Db=__DEFAULT_PARTITION__");
        let path = format!("/t/{folder}/part-0");
        assert_eq!(values_in_path(&path, &keys, "__DEFAULT_PARTITION__").unwrap(), values);
    }

    #[test]
    fn what_is_escaped_comes_back() {
        for text in ["a/b", "100%", "ä:ö", "%41", "=", "'\"", "{x}[y]"] {
            assert_eq!(unescape(&escape(text)), text);
        }
        assert_eq!(unescape("%zz%4"), "%zz%4");
    }

    #[test]
    fn a_file_outside_any_partition_is_an_error() {
        let error = values_in_path("/t/part-0", &["day".to_owned()], "x").unwrap_err().to_string();
        assert!(error.contains("`/t/part-0`") && error.contains("`day`"), "{error}");
    }

    #[test]
    fn values_take_their_columns_type() {
        assert_eq!(typed("/f", "c", Some("7"), &DataType::Int32).unwrap(), ScalarValue::Int32(Some(7)));
        assert_eq!(typed("/f", "c", None, &DataType::Int32).unwrap(), ScalarValue::Int32(None));
        assert!(typed("/f", "c", Some("x"), &DataType::Int32).unwrap_err().to_string().contains("`x`"));
    }
}
