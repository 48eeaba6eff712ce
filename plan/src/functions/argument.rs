//! What a kernel sees of its call: typed, row-wise access to columns and constants alike, and builders for the result.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BinaryViewArray, BooleanArray, BooleanBuilder,
        LargeBinaryArray, LargeStringArray, PrimitiveArray, PrimitiveBuilder, StringArray, StringViewArray,
        StringViewBuilder,
    },
    datatypes::{DataType, Float64Type, Int64Type},
};
use datafusion::{
    common::{
        Result, ScalarValue,
        cast::{
            as_binary_array, as_binary_view_array, as_boolean_array, as_large_binary_array,
            as_large_string_array, as_primitive_array, as_string_array, as_string_view_array,
        },
        config::ConfigOptions,
        exec_err,
    },
    logical_expr::ColumnarValue,
};

use crate::sql_type::SqlType;

/// What an argument may be, and what it is coerced to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text of any layout.
    Text,
    /// Any whole number, as `BIGINT`.
    Integer,
    /// Any number, as `DOUBLE`.
    Double,
    /// Any number, as it is.
    Number,
    /// A truth value.
    Boolean,
    /// Bytes of any layout.
    Bytes,
    /// Text or bytes, as they are.
    TextOrBytes,
    /// Anything, as it is.
    Any,
}

impl Kind {
    /// Returns the type to cast an argument to, or nothing if it cannot be of this kind.
    pub fn coerce(self, given: &DataType) -> Option<DataType> {
        use DataType::*;
        match (self, given) {
            (Kind::Any, _) => Some(given.clone()),
            (Kind::Text | Kind::TextOrBytes, Utf8 | LargeUtf8 | Utf8View) => Some(given.clone()),
            (Kind::Text | Kind::TextOrBytes, Null) => Some(Utf8),
            (Kind::Text, Dictionary(_, value)) if value.is_string() => Some(Utf8),
            (Kind::Bytes | Kind::TextOrBytes, Binary | LargeBinary | BinaryView) => Some(given.clone()),
            (Kind::Bytes | Kind::TextOrBytes, FixedSizeBinary(_)) => Some(Binary),
            (Kind::Bytes, Null) => Some(Binary),
            (Kind::Integer, _) if given.is_integer() || given.is_null() => Some(Int64),
            (Kind::Double, _) if given.is_numeric() || given.is_null() => Some(Float64),
            (Kind::Number, Null) => Some(Int32),
            (Kind::Number, _) if given.is_numeric() => Some(given.clone()),
            (Kind::Boolean, Boolean | Null) => Some(Boolean),
            _ => None,
        }
    }
}

/// The SQL name of a type, for messages.
pub fn type_name(data_type: &DataType) -> String {
    SqlType::from_arrow(data_type).map_or_else(|_| data_type.to_string(), |sql_type| sql_type.to_string())
}

/// One call of a kernel.
#[derive(Debug)]
pub struct Call<'a> {
    /// The arguments, coerced.
    pub arguments: &'a [ColumnarValue],
    /// Length of the result.
    pub rows: usize,
    /// Type of the result.
    pub return_type: &'a DataType,
    /// The session's settings.
    pub config: &'a ConfigOptions,
}

impl<'a> Call<'a> {
    /// Whether the call gave the argument at `index`.
    pub fn has(&self, index: usize) -> bool {
        index < self.arguments.len()
    }

    /// Number of arguments.
    pub fn count(&self) -> usize {
        self.arguments.len()
    }

    /// The argument at `index` as a column of `rows` rows.
    pub fn column(&self, index: usize) -> Result<ArrayRef> {
        self.argument(index)?.to_array(self.rows)
    }

    /// The text argument at `index`.
    pub fn text(&self, index: usize) -> Result<Text<'a>> {
        match self.argument(index)? {
            ColumnarValue::Scalar(scalar) => match scalar.try_as_str() {
                Some(text) => Ok(Text::Constant(text)),
                None => exec_err!("argument {index} is not text: {}", scalar.data_type()),
            },
            ColumnarValue::Array(array) => Text::of(array),
        }
    }

    /// All arguments from `first` on, which are text.
    pub fn texts(&self, first: usize) -> Result<Vec<Text<'a>>> {
        (first..self.count()).map(|index| self.text(index)).collect()
    }

    /// The bytes argument at `index`; text counts as its UTF-8 bytes.
    pub fn bytes(&self, index: usize) -> Result<Bytes<'a>> {
        match self.argument(index)? {
            ColumnarValue::Array(array) if array.data_type().is_string() => Ok(Bytes::Text(Text::of(array)?)),
            ColumnarValue::Array(array) => Bytes::of(array),
            ColumnarValue::Scalar(
                ScalarValue::Binary(bytes) | ScalarValue::LargeBinary(bytes) | ScalarValue::BinaryView(bytes),
            ) => Ok(Bytes::Constant(bytes.as_deref())),
            ColumnarValue::Scalar(_) => Ok(Bytes::Text(self.text(index)?)),
        }
    }

    /// The whole-number argument at `index`.
    pub fn integers(&self, index: usize) -> Result<Numbers<'a, Int64Type>> {
        self.numbers(index)
    }

    /// The `DOUBLE` argument at `index`.
    pub fn doubles(&self, index: usize) -> Result<Numbers<'a, Float64Type>> {
        self.numbers(index)
    }

    /// The argument at `index`, of a primitive type.
    pub fn numbers<T: ArrowPrimitiveType>(&self, index: usize) -> Result<Numbers<'a, T>> {
        match self.argument(index)? {
            ColumnarValue::Array(array) => Ok(Numbers::Column(as_primitive_array::<T>(array)?)),
            ColumnarValue::Scalar(scalar) => {
                let one = scalar.to_array()?;
                let one = as_primitive_array::<T>(&one)?;
                Ok(Numbers::Constant((!one.is_null(0)).then(|| one.value(0))))
            }
        }
    }

    /// The truth-value argument at `index`.
    pub fn booleans(&self, index: usize) -> Result<Booleans<'a>> {
        match self.argument(index)? {
            ColumnarValue::Array(array) => Ok(Booleans::Column(as_boolean_array(array)?)),
            ColumnarValue::Scalar(ScalarValue::Boolean(value)) => Ok(Booleans::Constant(*value)),
            ColumnarValue::Scalar(other) => {
                exec_err!("argument {index} is not a truth value: {}", other.data_type())
            }
        }
    }

    fn argument(&self, index: usize) -> Result<&'a ColumnarValue> {
        match self.arguments.get(index) {
            Some(argument) => Ok(argument),
            None => exec_err!("argument {index} of {} is missing", self.arguments.len()),
        }
    }
}

/// Text by row.
#[derive(Debug, Clone, Copy)]
pub enum Text<'a> {
    /// The same for every row.
    Constant(Option<&'a str>),
    /// 32-bit offsets.
    Utf8(&'a StringArray),
    /// 64-bit offsets.
    Large(&'a LargeStringArray),
    /// Views.
    View(&'a StringViewArray),
}

impl<'a> Text<'a> {
    /// The text of a column.
    pub fn of(array: &'a ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Utf8 => Text::Utf8(as_string_array(array)?),
            DataType::LargeUtf8 => Text::Large(as_large_string_array(array)?),
            _ => Text::View(as_string_view_array(array)?),
        })
    }

    /// The value of a row; nothing for NULL.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Text::Constant(value) => *value,
            Text::Utf8(array) => (!array.is_null(row)).then(|| array.value(row)),
            Text::Large(array) => (!array.is_null(row)).then(|| array.value(row)),
            Text::View(array) => (!array.is_null(row)).then(|| array.value(row)),
        }
    }
}

/// Bytes by row.
#[derive(Debug, Clone, Copy)]
pub enum Bytes<'a> {
    /// The same for every row.
    Constant(Option<&'a [u8]>),
    /// 32-bit offsets.
    Binary(&'a BinaryArray),
    /// 64-bit offsets.
    Large(&'a LargeBinaryArray),
    /// Views.
    View(&'a BinaryViewArray),
    /// The bytes of text.
    Text(Text<'a>),
}

impl<'a> Bytes<'a> {
    /// The bytes of a column.
    pub fn of(array: &'a ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Binary => Bytes::Binary(as_binary_array(array)?),
            DataType::LargeBinary => Bytes::Large(as_large_binary_array(array)?),
            _ => Bytes::View(as_binary_view_array(array)?),
        })
    }

    /// The value of a row; nothing for NULL.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&'a [u8]> {
        match self {
            Bytes::Constant(value) => *value,
            Bytes::Binary(array) => (!array.is_null(row)).then(|| array.value(row)),
            Bytes::Large(array) => (!array.is_null(row)).then(|| array.value(row)),
            Bytes::View(array) => (!array.is_null(row)).then(|| array.value(row)),
            Bytes::Text(text) => text.get(row).map(str::as_bytes),
        }
    }
}

/// Values of a primitive type by row.
#[derive(Debug, Clone, Copy)]
pub enum Numbers<'a, T: ArrowPrimitiveType> {
    /// The same for every row.
    Constant(Option<T::Native>),
    /// A column.
    Column(&'a PrimitiveArray<T>),
}

impl<T: ArrowPrimitiveType> Numbers<'_, T> {
    /// The value of a row; nothing for NULL.
    #[inline]
    pub fn get(&self, row: usize) -> Option<T::Native> {
        match self {
            Numbers::Constant(value) => *value,
            Numbers::Column(array) => (!array.is_null(row)).then(|| array.value(row)),
        }
    }
}

/// Truth values by row.
#[derive(Debug, Clone, Copy)]
pub enum Booleans<'a> {
    /// The same for every row.
    Constant(Option<bool>),
    /// A column.
    Column(&'a BooleanArray),
}

impl Booleans<'_> {
    /// The value of a row; nothing for NULL.
    #[inline]
    pub fn get(&self, row: usize) -> Option<bool> {
        match self {
            Booleans::Constant(value) => *value,
            Booleans::Column(array) => (!array.is_null(row)).then(|| array.value(row)),
        }
    }
}

/// Builds a text column of slices of what is there already.
pub fn slices<'a>(rows: usize, mut value: impl FnMut(usize) -> Result<Option<&'a str>>) -> Result<ArrayRef> {
    let mut column = StringViewBuilder::with_capacity(rows);
    for row in 0..rows {
        column.append_option(value(row)?);
    }
    Ok(Arc::new(column.finish()))
}

/// Builds a text column; `write` appends a row's value to the empty buffer and says whether it is one (`None`: NULL).
pub fn texts(
    rows: usize,
    mut write: impl FnMut(usize, &mut String) -> Result<Option<()>>,
) -> Result<ArrayRef> {
    let mut column = StringViewBuilder::with_capacity(rows);
    let mut buffer = String::new();
    for row in 0..rows {
        buffer.clear();
        let value = write(row, &mut buffer)?;
        column.append_option(value.map(|()| &buffer));
    }
    Ok(Arc::new(column.finish()))
}

/// Builds a binary column; like [`texts`].
pub fn binaries(
    rows: usize,
    mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<Option<()>>,
) -> Result<ArrayRef> {
    let mut column = arrow::array::BinaryBuilder::with_capacity(rows, rows * 8);
    let mut buffer = Vec::new();
    for row in 0..rows {
        buffer.clear();
        let value = write(row, &mut buffer)?;
        column.append_option(value.map(|()| &buffer));
    }
    Ok(Arc::new(column.finish()))
}

/// Builds a column of a primitive type.
pub fn numbers<T: ArrowPrimitiveType>(
    rows: usize,
    mut value: impl FnMut(usize) -> Result<Option<T::Native>>,
) -> Result<ArrayRef> {
    let mut column = PrimitiveBuilder::<T>::with_capacity(rows);
    for row in 0..rows {
        column.append_option(value(row)?);
    }
    Ok(Arc::new(column.finish()))
}

/// Builds a column of truth values.
pub fn booleans(rows: usize, mut value: impl FnMut(usize) -> Result<Option<bool>>) -> Result<ArrayRef> {
    let mut column = BooleanBuilder::with_capacity(rows);
    for row in 0..rows {
        column.append_option(value(row)?);
    }
    Ok(Arc::new(column.finish()))
}
