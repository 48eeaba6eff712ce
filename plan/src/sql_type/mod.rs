//! Flink's SQL types: their text, and the Arrow types that hold their values.
//!
//! `parse` reads them from tokens, `arrow` maps them; printing gives Flink's own form, which parses back.

mod arrow;
mod parse;

use std::fmt;

pub use self::{
    arrow::{UnsupportedType, columns, schema},
    parse::{InvalidType, next_type, split_shift_right},
};

/// A type as Flink SQL writes it, without the nullability of the value itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlType {
    /// The type of a bare `NULL`.
    Null,
    /// `BOOLEAN`
    Boolean,
    /// `CHAR(n)`
    Char(u32),
    /// `VARCHAR(n)`
    Varchar(u32),
    /// `STRING`, the longest `VARCHAR`
    String,
    /// `BINARY(n)`
    Binary(u32),
    /// `VARBINARY(n)`
    Varbinary(u32),
    /// `BYTES`, the longest `VARBINARY`
    Bytes,
    /// `TINYINT`
    TinyInt,
    /// `SMALLINT`
    SmallInt,
    /// `INT`
    Int,
    /// `BIGINT`
    BigInt,
    /// `FLOAT`
    Float,
    /// `DOUBLE`
    Double,
    /// `DECIMAL(precision, scale)`
    Decimal(u8, u8),
    /// `DATE`
    Date,
    /// `TIME(precision)`
    Time(u8),
    /// `TIMESTAMP(precision)`: a local date and time
    Timestamp(u8),
    /// `TIMESTAMP_LTZ(precision)`: a point in time
    TimestampLtz(u8),
    /// `INTERVAL ...`, with its qualifier
    Interval(IntervalKind),
    /// `ARRAY<element>`
    Array(Box<Element>),
    /// `MAP<key, value>`
    Map(Box<Element>, Box<Element>),
    /// `ROW<name type, ...>`
    Row(Vec<RowField>),
}

/// A type inside another, with its nullability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// The type.
    pub sql_type: SqlType,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// One field of a `ROW`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowField {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub element: Element,
}

/// The two families of intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntervalKind {
    /// `INTERVAL YEAR TO MONTH`
    YearMonth,
    /// `INTERVAL DAY TO SECOND(3)`
    DaySecond,
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SqlType::Null => f.write_str("NULL"),
            SqlType::Boolean => f.write_str("BOOLEAN"),
            SqlType::Char(length) => write!(f, "CHAR({length})"),
            SqlType::Varchar(length) => write!(f, "VARCHAR({length})"),
            SqlType::String => f.write_str("STRING"),
            SqlType::Binary(length) => write!(f, "BINARY({length})"),
            SqlType::Varbinary(length) => write!(f, "VARBINARY({length})"),
            SqlType::Bytes => f.write_str("BYTES"),
            SqlType::TinyInt => f.write_str("TINYINT"),
            SqlType::SmallInt => f.write_str("SMALLINT"),
            SqlType::Int => f.write_str("INT"),
            SqlType::BigInt => f.write_str("BIGINT"),
            SqlType::Float => f.write_str("FLOAT"),
            SqlType::Double => f.write_str("DOUBLE"),
            SqlType::Decimal(precision, scale) => write!(f, "DECIMAL({precision}, {scale})"),
            SqlType::Date => f.write_str("DATE"),
            SqlType::Time(precision) => write!(f, "TIME({precision})"),
            SqlType::Timestamp(precision) => write!(f, "TIMESTAMP({precision})"),
            SqlType::TimestampLtz(precision) => write!(f, "TIMESTAMP_LTZ({precision})"),
            SqlType::Interval(IntervalKind::YearMonth) => f.write_str("INTERVAL YEAR TO MONTH"),
            SqlType::Interval(IntervalKind::DaySecond) => f.write_str("INTERVAL DAY TO SECOND(3)"),
            SqlType::Array(element) => write!(f, "ARRAY<{element}>"),
            SqlType::Map(key, value) => write!(f, "MAP<{key}, {value}>"),
            SqlType::Row(fields) => write_row(f, fields),
        }
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, fields: &[RowField]) -> fmt::Result {
    f.write_str("ROW<")?;
    for (position, RowField { name, element }) in fields.iter().enumerate() {
        let separator = if position == 0 { "" } else { ", " };
        write!(f, "{separator}`{}` {element}", name.replace('`', "``"))?;
    }
    f.write_str(">")
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.nullable { "" } else { " NOT NULL" };
        write!(f, "{}{suffix}", self.sql_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The types that print as they were written.
    const CANONICAL: &[&str] = &[
        "BOOLEAN",
        "CHAR(3)",
        "VARCHAR(20)",
        "STRING",
        "BINARY(4)",
        "VARBINARY(8)",
        "BYTES",
        "TINYINT",
        "SMALLINT",
        "INT",
        "BIGINT",
        "FLOAT",
        "DOUBLE",
        "DECIMAL(12, 2)",
        "DATE",
        "TIME(0)",
        "TIMESTAMP(3)",
        "TIMESTAMP_LTZ(9)",
        "INTERVAL YEAR TO MONTH",
        "INTERVAL DAY TO SECOND(3)",
        "ARRAY<ARRAY<INT NOT NULL>>",
        "MAP<STRING, MAP<INT, BIGINT>>",
        "ROW<`a` INT NOT NULL, `b c` ROW<`d` ARRAY<STRING>>>",
    ];

    #[test]
    fn types_print_as_flink_writes_them() {
        for text in CANONICAL {
            assert_eq!(text.parse::<SqlType>().unwrap().to_string(), *text);
        }
    }

    #[test]
    fn other_spellings_and_defaults_are_understood() {
        for (text, expected) in [
            ("decimal", "DECIMAL(10, 0)"),
            ("NUMERIC(5)", "DECIMAL(5, 0)"),
            ("DEC(5,1)", "DECIMAL(5, 1)"),
            ("INTEGER", "INT"),
            ("CHAR", "CHAR(1)"),
            ("VARCHAR", "VARCHAR(1)"),
            ("VARCHAR(2147483647)", "STRING"),
            ("DOUBLE PRECISION", "DOUBLE"),
            ("TIME", "TIME(0)"),
            ("TIME(3) WITHOUT TIME ZONE", "TIME(3)"),
            ("timestamp", "TIMESTAMP(6)"),
            ("TIMESTAMP(3) WITHOUT TIME ZONE", "TIMESTAMP(3)"),
            ("TIMESTAMP(3) WITH LOCAL TIME ZONE", "TIMESTAMP_LTZ(3)"),
            ("TIMESTAMP_LTZ", "TIMESTAMP_LTZ(6)"),
            ("INTERVAL HOUR", "INTERVAL DAY TO SECOND(3)"),
            ("INTERVAL YEAR(4)", "INTERVAL YEAR TO MONTH"),
            ("ROW(a INT, b STRING 'with a comment')", "ROW<`a` INT, `b` STRING>"),
            ("INT ARRAY", "ARRAY<INT>"),
        ] {
            assert_eq!(text.parse::<SqlType>().unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_type_is_refused() {
        for text in ["", "STRNG", "DECIMAL(39, 0)", "DECIMAL(5, 6)", "TIMESTAMP(10)", "INT INT", "ARRAY<INT"]
        {
            assert!(text.parse::<SqlType>().is_err(), "{text}");
        }
        let error = "STRNG".parse::<SqlType>().unwrap_err().to_string();
        assert!(error.contains("did you mean `STRING`"), "{error}");
    }

    #[test]
    fn arrow_types_and_back() {
        for text in CANONICAL {
            let sql_type: SqlType = text.parse().unwrap();
            let back = SqlType::from_arrow(&sql_type.to_arrow()).unwrap();
            assert_eq!(back.to_arrow(), sql_type.to_arrow(), "{text}");
        }
    }
}
