//! Strings taken apart.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, ListBuilder, MapBuilder, MapFieldNames, StringViewBuilder},
    datatypes::{DataType, Field, FieldRef},
};
use datafusion::common::Result;

use super::regexp::{Patterns, failed};
use crate::functions::argument::{Call, Text, slices};

/// The type of an array of strings.
pub fn text_list() -> DataType {
    DataType::List(text_item())
}

/// The element field of such an array.
pub fn text_item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Utf8View, true))
}

/// The type of a map from strings to strings.
pub fn text_map() -> DataType {
    let key = Field::new("key", DataType::Utf8View, false);
    let value = Field::new("value", DataType::Utf8View, true);
    let entries = DataType::Struct(vec![key, value].into());
    DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
}

/// `SPLIT_INDEX(string, delimiter, index)`: an empty string or delimiter has no parts.
pub fn split_index(call: &Call) -> Result<ArrayRef> {
    let (text, index) = (call.text(0)?, call.integers(2)?);
    let delimiters = Delimiters::of(call)?;
    let delimiters = delimiters.as_text()?;
    slices(call.rows, |row| {
        let (Some(text), Some(delimiter), Some(index)) = (text.get(row), delimiters.get(row), index.get(row))
        else {
            return Ok(None);
        };
        let index = usize::try_from(index).ok().filter(|_| !delimiter.is_empty() && !text.is_empty());
        Ok(index.and_then(|index| text.split(delimiter).nth(index)))
    })
}

/// The delimiters of [`split_index`]: text, or the codes of characters.
enum Delimiters<'a> {
    Text(Text<'a>),
    Codes(ArrayRef),
}

impl<'a> Delimiters<'a> {
    fn of(call: &Call<'a>) -> Result<Self> {
        if !call.arguments[1].data_type().is_integer() {
            return Ok(Delimiters::Text(call.text(1)?));
        }
        let codes = arrow::compute::cast(&call.column(1)?, &DataType::UInt32)?;
        let codes = datafusion::common::cast::as_uint32_array(&codes)?;
        let characters = codes.iter().map(|code| code.and_then(char::from_u32).map(String::from));
        Ok(Delimiters::Codes(Arc::new(characters.collect::<arrow::array::StringArray>())))
    }

    fn as_text(&self) -> Result<Text<'_>> {
        match self {
            Delimiters::Text(text) => Ok(*text),
            Delimiters::Codes(characters) => Text::of(characters),
        }
    }
}

/// `SPLIT(string, delimiter)`
pub fn split(call: &Call) -> Result<ArrayRef> {
    let (text, delimiter) = (call.text(0)?, call.text(1)?);
    let mut lists = ListBuilder::new(StringViewBuilder::new()).with_field(text_item());
    for row in 0..call.rows {
        let both = text.get(row).zip(delimiter.get(row));
        match both {
            Some((text, "")) => text.char_indices().for_each(|(start, character)| {
                lists.values().append_value(&text[start..start + character.len_utf8()]);
            }),
            Some((text, delimiter)) => {
                text.split(delimiter).for_each(|part| lists.values().append_value(part));
            }
            None => {}
        }
        lists.append(both.is_some());
    }
    Ok(Arc::new(lists.finish()))
}

/// `STR_TO_MAP(string [, pairs, key_value])`: a pair without a value has a NULL one.
pub fn str_to_map(call: &Call) -> Result<ArrayRef> {
    let text = call.text(0)?;
    let delimiter =
        |index, default| if call.has(index) { call.text(index) } else { Ok(Text::Constant(Some(default))) };
    let (mut pairs, mut key_values) = (Patterns::new(delimiter(1, ",")?), Patterns::new(delimiter(2, "=")?));
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut maps = MapBuilder::new(Some(names), StringViewBuilder::new(), StringViewBuilder::new());
    for row in 0..call.rows {
        let (Some(text), Some(pairs), Some(key_values)) =
            (text.get(row), pairs.get(row), key_values.get(row))
        else {
            maps.append(false)?;
            continue;
        };
        let mut entries: Vec<(&str, Option<&str>)> = vec![];
        for pair in pairs.split(text).filter(|pair| pair.as_ref().map_or(true, |pair| !pair.is_empty())) {
            let mut parts = key_values.splitn(pair.map_err(failed)?, 2);
            let key = parts.next().transpose().map_err(failed)?.unwrap_or_default();
            let value = parts.next().transpose().map_err(failed)?;
            match entries.iter_mut().find(|(known, _)| *known == key) {
                Some(entry) => entry.1 = value,
                None => entries.push((key, value)),
            }
        }
        for (key, value) in entries {
            maps.keys().append_value(key);
            maps.values().append_option(value);
        }
        maps.append(true)?;
    }
    Ok(Arc::new(maps.finish()))
}

/// `ELT(index, value, ...)`
pub fn elt(call: &Call) -> Result<ArrayRef> {
    let (index, values) = (call.integers(0)?, call.texts(1)?);
    slices(call.rows, |row| {
        let place = index.get(row).and_then(|index| usize::try_from(index.checked_sub(1)?).ok());
        Ok(place.and_then(|place| values.get(place)).and_then(|value| value.get(row)))
    })
}
