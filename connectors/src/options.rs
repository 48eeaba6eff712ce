//! The `WITH` options of tables: which exist, what they take, and what a table says.

use std::{collections::BTreeMap, ops::Deref};

use thalweg_graph::{
    options::{MemorySize, Value},
    table::nearest,
};

use thalweg_plan::stream::watermark;

use crate::error::{Error, Result};

/// An option of a connector or format.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// Whether a text is a value of it, and what it takes, in words.
    pub takes: Takes,
}

/// The values that an option takes.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// Any text.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number that is not negative.
    Number,
    /// A size such as `128MB`.
    Size,
    /// A duration such as `1 min`.
    Duration,
    /// One character, or an escape such as `\t`.
    Character,
    /// One of some words, in any case.
    OneOf(&'static [&'static str]),
    /// Known from Flink and refused, with the reason.
    Refused(&'static str),
}

/// Options that exist for a table.
pub type KnownOptions = Vec<Known>;

/// Shorthand for tables of options.
pub const fn known(name: &'static str, takes: Takes) -> Known {
    Known { name, takes }
}

/// Options that the tables of all connectors have.
const OF_ANY_TABLE: &[Known] = &[
    known(watermark::MAX_AHEAD, Takes::Duration),
    known(watermark::ALIGNMENT_GROUP, Takes::Text),
    known(watermark::ALIGNMENT_MAX_DRIFT, Takes::Duration),
    known(watermark::ALIGNMENT_UPDATE_INTERVAL, Takes::Duration),
];

/// Checks every option of a table of connector `connector` against those that exist.
pub fn check(connector: &str, options: &BTreeMap<String, String>, known: &[Known]) -> Result<()> {
    for (name, value) in options {
        let Some(option) = known.iter().chain(OF_ANY_TABLE).find(|option| option.name == name.as_str())
        else {
            return Err(Error::InvalidOption(unknown(connector, name, known)));
        };
        option.takes.check(name, value)?;
    }
    Ok(())
}

fn unknown(connector: &str, name: &str, known: &[Known]) -> String {
    match nearest(name, known.iter().map(|option| option.name)) {
        Some(near) => format!("connector `{connector}` has no option `{name}`; did you mean `{near}`?"),
        None => {
            let names: Vec<_> = known.iter().map(|option| option.name).collect();
            format!("connector `{connector}` has no option `{name}`; it has {}", names.join(", "))
        }
    }
}

impl Takes {
    fn check(self, name: &str, value: &str) -> Result<()> {
        let fits = match self {
            Takes::Text => true,
            Takes::Bool => bool::parse(value).is_some(),
            Takes::Number => u64::parse(value).is_some(),
            Takes::Size => MemorySize::parse(value).is_some(),
            Takes::Duration => std::time::Duration::parse(value).is_some(),
            Takes::Character => character(value).is_some(),
            Takes::OneOf(words) => words.iter().any(|word| word.eq_ignore_ascii_case(value)),
            Takes::Refused(reason) => {
                return Err(Error::Unsupported(format!(
                    "option `{name}` = `{value}` is not supported: {reason}"
                )));
            }
        };
        if fits {
            return Ok(());
        }
        Err(Error::InvalidOption(format!(
            "option `{name}` cannot be `{value}`: expected {}",
            self.in_words()
        )))
    }

    fn in_words(self) -> String {
        match self {
            Takes::Text => String::EXPECTED.to_owned(),
            Takes::Bool => bool::EXPECTED.to_owned(),
            Takes::Number => u64::EXPECTED.to_owned(),
            Takes::Size => MemorySize::EXPECTED.to_owned(),
            Takes::Duration => std::time::Duration::EXPECTED.to_owned(),
            Takes::Character => "one character, or an escape such as `\\t`".to_owned(),
            Takes::OneOf(words) => format!("one of `{}`", words.join("`, `")),
            Takes::Refused(reason) => reason.to_owned(),
        }
    }
}

/// One ASCII character: itself, or written as `\t`, `\n`, `\r`, `\\` or `\u0001`.
pub fn character(text: &str) -> Option<u8> {
    let escaped = match text.strip_prefix('\\') {
        None | Some("") => None,
        Some("t") => Some('\t'),
        Some("n") => Some('\n'),
        Some("r") => Some('\r'),
        Some("\\") => Some('\\'),
        Some(rest) => {
            let code = rest.strip_prefix('u').filter(|code| code.len() == 4)?;
            Some(char::from_u32(u32::from_str_radix(code, 16).ok()?)?)
        }
    };
    let mut characters = text.chars();
    let character = match (escaped, characters.next(), characters.next()) {
        (Some(escaped), ..) => escaped,
        (None, Some(only), None) => only,
        _ => return None,
    };
    u8::try_from(u32::from(character)).ok().filter(u8::is_ascii)
}

/// A table's options, for reading. Values were checked before; what does not parse counts as not given.
#[derive(Debug, Clone, Copy)]
pub struct TableOptions<'a>(pub &'a BTreeMap<String, String>);

impl TableOptions<'_> {
    /// An option's text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// An option as a value.
    pub fn value<T: Value>(&self, name: &str) -> Option<T> {
        self.text(name).and_then(T::parse)
    }

    /// A switch, off where not given.
    pub fn is_set(&self, name: &str) -> bool {
        self.value(name).unwrap_or(false)
    }

    /// A character.
    pub fn character(&self, name: &str) -> Option<u8> {
        self.text(name).and_then(character)
    }

    /// An option that must be given.
    pub fn required(&self, connector: &str, name: &str) -> Result<&str> {
        self.text(name)
            .filter(|text| !text.trim().is_empty())
            .ok_or_else(|| Error::InvalidOption(format!("connector `{connector}` needs the option `{name}`")))
    }
}

impl Deref for TableOptions<'_> {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(name: &str, value: &str) -> String {
        let known = [
            known("path", Takes::Text),
            known("sink.size", Takes::Size),
            known("old", Takes::Refused("gone")),
        ];
        let options = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        check("filesystem", &options, &known).map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn options_are_checked_by_name_and_value() {
        assert_eq!(check_one("path", "/a"), "fine");
        assert!(check_one("pth", "/a").contains("did you mean `path`"));
        assert!(check_one("sink.size", "big").contains("expected a size"));
        assert!(check_one("old", "x").contains("gone"));
    }

    #[test]
    fn characters_may_be_escaped() {
        assert_eq!(character(";"), Some(b';'));
        assert_eq!(character("\\t"), Some(b'\t'));
        assert_eq!(character("\\u0001"), Some(1));
        assert_eq!(character("\\"), Some(b'\\'));
        assert_eq!(character("ab"), None);
        assert_eq!(character(""), None);
    }
}
