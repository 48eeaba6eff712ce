//! What Tab offers: keywords, tables, columns and functions; inside quotes, options of `SET` and of `WITH (...)`.

use std::sync::{Arc, Mutex, PoisonError};

use reedline::{CompletionResult, Span, Suggestion};
use thalweg_graph::options;

use super::{
    keywords::{KEYWORDS, is_keyword},
    lexer::{Kind, Token, tokens},
};

/// Option names that tables take most, by connector and format.
const TABLE_OPTIONS: &[&str] = &[
    "connector",
    "csv.field-delimiter",
    "csv.ignore-parse-errors",
    "fields.#.kind",
    "format",
    "number-of-rows",
    "parquet.compression",
    "partition.default-name",
    "path",
    "print-identifier",
    "rows-per-second",
    "sink.partition-commit.policy.kind",
    "sink.rolling-policy.file-size",
];
/// Words after which a table follows.
const BEFORE_TABLE: [&str; 7] = ["FROM", "JOIN", "INTO", "OVERWRITE", "TABLE", "DESCRIBE", "DESC"];
/// Words after which a column follows.
const BEFORE_COLUMN: [&str; 7] = ["SELECT", "WHERE", "BY", "ON", "AND", "OR", "HAVING"];
/// More than this is noise.
const SUGGESTIONS_MAX: usize = 200;

/// The names of a session that can be completed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Tables and views of the current database.
    pub tables: Vec<String>,
    /// Their columns.
    pub columns: Vec<String>,
    /// Functions.
    pub functions: Vec<String>,
}

/// The names, shared with whoever runs the statements that change them.
pub type SharedNames = Arc<Mutex<Names>>;

/// reedline's question.
pub struct Completer {
    names: SharedNames,
}

impl Completer {
    /// A completer of these names.
    pub fn new(names: SharedNames) -> Self {
        Self { names }
    }
}

impl reedline::Completer for Completer {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, values) = suggestions(&line[..pos], &names);
        let suggestion = |value: String| Suggestion {
            append_whitespace: !value.ends_with(['(', '\'', '`']),
            value,
            span: Span::new(start, pos),
            ..Suggestion::default()
        };
        CompletionResult::fresh(values.into_iter().map(suggestion).collect::<Vec<_>>())
    }
}

/// What can stand at the end of `text`: where the part starts that it replaces, and the values.
fn suggestions(text: &str, names: &Names) -> (usize, Vec<String>) {
    let tokens = tokens(text);
    let Some(last) = tokens.last() else { return (0, Vec::new()) };
    let before: Vec<_> = tokens[..tokens.len() - 1]
        .iter()
        .filter(|token| !matches!(token.kind, Kind::Space | Kind::Comment))
        .collect();
    match last.kind {
        Kind::Text if !last.closed => (last.start + 1, option_names(&last.text[1..], &before)),
        Kind::Name if !last.closed => (last.start, quoted_names(&last.text[1..], names)),
        Kind::Word => (last.start, words(last.text, before.last().copied(), names)),
        Kind::Space if before.last().is_some_and(|token| precedes_table(token)) => {
            (text.len(), names.tables.iter().map(|name| as_written(name)).collect())
        }
        Kind::Space if before.last().is_some_and(|token| precedes_column(token)) => {
            (text.len(), names.columns.iter().map(|name| as_written(name)).collect())
        }
        Kind::Symbol if last.text == "." => {
            (text.len(), names.columns.iter().map(|name| as_written(name)).collect())
        }
        _ => (text.len(), Vec::new()),
    }
}

fn precedes_table(token: &Token<'_>) -> bool {
    BEFORE_TABLE.iter().any(|word| token.is_word(word))
}

fn precedes_column(token: &Token<'_>) -> bool {
    BEFORE_COLUMN.iter().any(|word| token.is_word(word)) || token.text == ","
}

/// A name in backticks where it needs them.
fn as_written(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_numeric())
        && !is_keyword(name);
    if plain { name.to_owned() } else { format!("`{}`", name.replace('`', "``")) }
}

fn option_names(prefix: &str, before: &[&Token<'_>]) -> Vec<String> {
    let first = before.iter().rev().take_while(|token| token.kind != Kind::Semicolon).last();
    let is_set = first.is_some_and(|token| token.is_word("SET") || token.is_word("RESET"));
    let is_value = before.last().is_some_and(|token| token.text == "=");
    let names: Vec<&str> = match (is_value, is_set) {
        (true, _) => return Vec::new(),
        (_, true) => options::KNOWN.iter().map(|known| known.name).collect(),
        (_, false) => TABLE_OPTIONS.to_vec(),
    };
    let names = names.into_iter().filter(|name| name.starts_with(prefix));
    names.map(|name| format!("{name}'")).collect()
}

fn quoted_names(prefix: &str, names: &Names) -> Vec<String> {
    let all = names.tables.iter().chain(&names.columns);
    all.filter(|name| name.starts_with(prefix)).map(|name| format!("`{name}`")).collect()
}

fn words(prefix: &str, before: Option<&Token<'_>>, names: &Names) -> Vec<String> {
    let starts =
        |name: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let like_typed = |word: &str| match prefix.chars().all(char::is_lowercase) {
        true => word.to_ascii_lowercase(),
        false => word.to_owned(),
    };
    let tables = names.tables.iter().filter(|name| starts(name)).map(|name| as_written(name));
    if before.is_some_and(precedes_table) {
        return tables.collect();
    }
    let columns = names.columns.iter().filter(|name| starts(name)).map(|name| as_written(name));
    if before.is_some_and(|token| token.text == ".") {
        return columns.chain(tables).collect();
    }
    let keywords = KEYWORDS.iter().filter(|word| starts(word)).map(|word| like_typed(word));
    let functions = names.functions.iter().filter(|name| starts(name));
    let functions = functions.map(|name| like_typed(&name.to_ascii_uppercase()) + "(");
    let mut words: Vec<String> = keywords.chain(columns).chain(tables).chain(functions).collect();
    words.truncate(SUGGESTIONS_MAX);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(text: &str) -> Vec<String> {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let names = Names {
            tables: list(&["orders", "order items"]),
            columns: list(&["order_id"]),
            functions: list(&["upper"]),
        };
        suggestions(text, &names).1
    }

    #[test]
    fn words_complete_in_the_case_that_is_typed() {
        assert_eq!(complete("sel"), ["select"]);
        assert_eq!(complete("SEL"), ["SELECT"]);
        assert_eq!(complete("SELECT upp"), ["upper("]);
        assert_eq!(complete("SELECT order_"), ["order_id"]);
    }

    #[test]
    fn a_table_follows_from() {
        assert_eq!(complete("SELECT * FROM ord"), ["orders", "`order items`"]);
        assert_eq!(complete("SELECT * FROM "), ["orders", "`order items`"]);
        assert_eq!(complete("SELECT * FROM `order i"), ["`order items`"]);
    }

    #[test]
    fn columns_follow_where_names_of_columns_stand() {
        assert_eq!(complete("SELECT o."), ["order_id"]);
        assert_eq!(complete("SELECT o.ord"), ["order_id", "orders", "`order items`"]);
        assert_eq!(complete("SELECT 1 FROM orders WHERE "), ["order_id"]);
    }

    #[test]
    fn quotes_hold_option_names() {
        assert_eq!(complete("SET 'rest.p"), ["rest.port'"]);
        assert_eq!(complete("CREATE TABLE t (a INT) WITH ('conn"), ["connector'"]);
        assert!(complete("SET 'rest.port' = '").is_empty());
    }
}
