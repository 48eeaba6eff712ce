//! Which types of a file can be read as which types of a table, and how batches of a file become batches of a table.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, Schema, SchemaRef},
};

use crate::error::{Error, Result};

/// Whether values of type `file` are read as `table` without loss: the same, wider, or another layout of the same.
pub fn can_read(file: &DataType, table: &DataType) -> bool {
    use DataType::*;
    if file == table {
        return true;
    }
    match (file, table) {
        (Dictionary(_, value), table) => can_read(value, table),
        (Null, _) => true,
        (file, table) if is_text(file) && is_text(table) => true,
        (file, table) if is_binary(file) && (is_binary(table) || is_text(table)) => true,
        (Date32 | Date64, Date32 | Date64) => true,
        (Time32(_) | Time64(_), Time32(_) | Time64(_)) => true,
        (Timestamp(..), Timestamp(..)) => true,
        (Duration(_), Duration(_)) => true,
        (Float16 | Float32, Float32 | Float64) => true,
        (file, Float64) => integer_digits(file).is_some_and(|(digits, _)| digits <= 10),
        (file, Float32) => integer_digits(file).is_some_and(|(digits, _)| digits <= 5),
        (Decimal32(p1, s1) | Decimal64(p1, s1) | Decimal128(p1, s1) | Decimal256(p1, s1), table) => {
            decimal(table)
                .is_some_and(|(p2, s2)| s2 >= *s1 && p2 as i16 - s2 as i16 >= *p1 as i16 - *s1 as i16)
        }
        (file, Decimal128(p, s) | Decimal256(p, s)) => {
            integer_digits(file).is_some_and(|(digits, _)| i16::from(*p) - i16::from(*s) >= i16::from(digits))
        }
        (List(file) | LargeList(file) | FixedSizeList(file, _), List(table) | LargeList(table)) => {
            can_read(file.data_type(), table.data_type())
        }
        (Map(file, _), Map(table, _)) => can_read(file.data_type(), table.data_type()),
        (Struct(file), Struct(table)) => {
            file.len() == table.len()
                && file.iter().zip(table).all(|(file, table)| can_read(file.data_type(), table.data_type()))
        }
        (file, table) => match (integer_digits(file), integer_digits(table)) {
            (Some((_, from)), Some((_, to))) => from.fits(to),
            _ => false,
        },
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)
    )
}

fn decimal(data_type: &DataType) -> Option<(u8, i8)> {
    match data_type {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            Some((*precision, *scale))
        }
        _ => None,
    }
}

#[derive(Clone, Copy)]
struct Bits {
    bits: u8,
    signed: bool,
}

impl Bits {
    fn fits(self, other: Bits) -> bool {
        match (self.signed, other.signed) {
            (false, true) => self.bits < other.bits,
            (true, false) => false,
            _ => self.bits <= other.bits,
        }
    }
}

/// The decimal digits that any value of an integer type fits in, and its bits.
fn integer_digits(data_type: &DataType) -> Option<(u8, Bits)> {
    let (digits, bits, signed) = match data_type {
        DataType::Int8 => (3, 8, true),
        DataType::Int16 => (5, 16, true),
        DataType::Int32 => (10, 32, true),
        DataType::Int64 => (19, 64, true),
        DataType::UInt8 => (3, 8, false),
        DataType::UInt16 => (5, 16, false),
        DataType::UInt32 => (10, 32, false),
        DataType::UInt64 => (20, 64, false),
        _ => return None,
    };
    Some((digits, Bits { bits, signed }))
}

/// A type in SQL's words, or Arrow's where SQL has none.
pub fn type_text(data_type: &DataType) -> String {
    let schema = Schema::new(vec![Field::new("c", data_type.clone(), true)]);
    match thalweg_plan::sql_type::columns(&schema) {
        Ok(columns) => columns.into_iter().map(|column| column.data_type).collect(),
        Err(_) => data_type.to_string(),
    }
}

/// Checks that a file can be read as a table: each column of the table is there in a readable type, or may be NULL.
pub fn check(path: &str, file: &Schema, table: &Schema) -> Result<()> {
    for field in table.fields() {
        match file.field_with_name(field.name()) {
            Ok(found) if can_read(found.data_type(), field.data_type()) => {}
            Ok(found) => {
                return Err(Error::SchemaMismatch {
                    path: path.to_owned(),
                    column: field.name().clone(),
                    found: type_text(found.data_type()),
                    expected: type_text(field.data_type()),
                    advice: "change the column's type in the table, or rewrite the file",
                });
            }
            Err(_) if field.is_nullable() => {}
            Err(_) => {
                return Err(Error::SchemaMismatch {
                    path: path.to_owned(),
                    column: field.name().clone(),
                    found: "nothing (the column is missing)".to_owned(),
                    expected: format!("{} NOT NULL", type_text(field.data_type())),
                    advice: "declare the column without NOT NULL to read NULL from such files",
                });
            }
        }
    }
    Ok(())
}

/// The columns of several files, by name, in the order they are first met, each in the widest type met.
#[derive(Debug, Default)]
pub struct Union {
    fields: Vec<(Field, String)>,
    files: usize,
}

impl Union {
    /// Adds one file's columns.
    pub fn add(&mut self, path: &str, file: &Schema) -> Result<()> {
        for field in file.fields() {
            match self.fields.iter_mut().find(|(known, _)| known.name() == field.name()) {
                None => {
                    let nullable = field.is_nullable() || self.files > 0;
                    self.fields.push((field.as_ref().clone().with_nullable(nullable), path.to_owned()));
                }
                Some((known, _)) if can_read(field.data_type(), known.data_type()) => {
                    *known = known.clone().with_nullable(known.is_nullable() || field.is_nullable());
                }
                Some((known, first)) if can_read(known.data_type(), field.data_type()) => {
                    let nullable = known.is_nullable() || field.is_nullable();
                    *known = field.as_ref().clone().with_nullable(nullable);
                    *first = path.to_owned();
                }
                Some((known, first)) => {
                    return Err(Error::SchemaMismatch {
                        path: path.to_owned(),
                        column: field.name().clone(),
                        found: type_text(field.data_type()),
                        expected: format!("{} as in `{first}`", type_text(known.data_type())),
                        advice: "declare the table's columns, or keep files of different types in different tables",
                    });
                }
            }
        }
        for (known, _) in &mut self.fields {
            if file.field_with_name(known.name()).is_err() {
                *known = known.clone().with_nullable(true);
            }
        }
        self.files += 1;
        Ok(())
    }

    /// The columns.
    pub fn finish(self) -> Schema {
        Schema::new(
            self.fields
                .into_iter()
                .map(|(field, _)| field.with_metadata(Default::default()))
                .collect::<Vec<_>>(),
        )
    }
}

/// The columns of `target`, by name, from a batch of a file: cast where the types differ, NULL where missing.
pub fn adapt(path: &str, batch: &RecordBatch, target: &SchemaRef) -> Result<RecordBatch> {
    let strict = CastOptions { safe: false, ..Default::default() };
    let column = |field: &Arc<Field>| -> Result<ArrayRef> {
        match batch.column_by_name(field.name()) {
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => cast_with_options(column, field.data_type(), &strict).map_err(|error| {
                Error::Io { action: "convert the values of", path: path.to_owned(), source: Box::new(error) }
            }),
        }
    };
    let columns = target.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(target), columns, &options).map_err(|error| Error::Corrupt {
        path: path.to_owned(),
        format: "data",
        source: Box::new(error),
    })
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn types_widen_and_never_narrow() {
        use DataType::*;
        for (file, table) in [
            (Int32, Int64),
            (UInt32, Int64),
            (Int32, Float64),
            (Float32, Float64),
            (Decimal128(10, 2), Decimal128(12, 2)),
            (Int32, Decimal128(10, 0)),
            (Utf8, Utf8View),
            (Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), Timestamp(TimeUnit::Millisecond, None)),
        ] {
            assert!(can_read(&file, &table), "{file} as {table}");
        }
        for (file, table) in [
            (Int64, Int32),
            (UInt64, Int64),
            (Int64, Float64),
            (Float64, Float32),
            (Decimal128(12, 2), Decimal128(10, 2)),
            (Decimal128(10, 4), Decimal128(20, 2)),
            (Utf8, Int32),
            (Int32, Utf8),
        ] {
            assert!(!can_read(&file, &table), "{file} as {table}");
        }
    }

    #[test]
    fn a_union_takes_the_widest_type_and_names_what_does_not_fit() {
        let schema = |name: &str, data_type: DataType| Schema::new(vec![Field::new(name, data_type, false)]);
        let mut union = Union::default();
        union.add("/1", &schema("a", DataType::Int32)).unwrap();
        union.add("/2", &schema("a", DataType::Int64)).unwrap();
        union.add("/3", &schema("b", DataType::Utf8)).unwrap();
        let error = union.add("/4", &schema("a", DataType::Utf8)).unwrap_err().to_string();
        assert!(
            error.contains("`/4`") && error.contains("STRING") && error.contains("BIGINT as in `/2`"),
            "{error}"
        );
        let merged = union.finish();
        assert_eq!(merged.field(0).data_type(), &DataType::Int64);
        assert!(merged.field(0).is_nullable() && merged.field(1).is_nullable());
    }
}
