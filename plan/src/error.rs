//! From the tokenizer's, the parser's and DataFusion's errors to one error with a code, a place and the nearest name.

use datafusion::{
    common::{Column, SchemaError},
    error::DataFusionError,
};
use sqlparser::{parser::ParserError, tokenizer::TokenizerError};
use thalweg_graph::{
    SqlError,
    sql_error::{Position, SqlErrorCode},
    table::nearest,
};

use crate::words::NOT_YET;

/// An error of the tokenizer, whose place counts from `start`.
pub fn from_tokenizer(error: TokenizerError, start: Position) -> SqlError {
    let TokenizerError { message, location } = error;
    let position = match location.line {
        0 => start,
        1 => Position { line: start.line, column: start.column + location.column - 1 },
        line => Position { line: start.line + line - 1, column: location.column },
    };
    SqlError::new(SqlErrorCode::Syntax, sentence(&message)).at(position)
}

/// An error of the parser, which writes the place into the text; where it does not, `place` is it.
pub fn from_parser(error: ParserError, place: Position) -> SqlError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => {
            return SqlError::new(SqlErrorCode::Invalid, "the statement is nested too deep").at(place);
        }
    };
    let (message, said) = split_place(&text);
    let code = match message.split(", found: ").next() {
        Some(own) if own.contains(NOT_YET) => SqlErrorCode::Unsupported,
        _ => SqlErrorCode::Syntax,
    };
    SqlError::new(code, sentence(message)).at(said.unwrap_or(place))
}

/// `text at Line: 3, Column: 7` to its parts.
pub(crate) fn split_place(text: &str) -> (&str, Option<Position>) {
    let Some((message, place)) = text.rsplit_once(" at Line: ") else { return (text, None) };
    let Some((line, column)) = place.split_once(", Column: ") else { return (text, None) };
    let column = column.trim_end_matches(|c: char| !c.is_ascii_digit());
    match (line.parse(), column.parse()) {
        (Ok(line), Ok(column)) => (message, Some(Position { line, column })),
        _ => (text, None),
    }
}

/// `Expected: a, found: b` to our words.
fn sentence(message: &str) -> String {
    let rest = message.strip_prefix("Expected: ").or_else(|| message.strip_prefix("Expected "));
    let Some(rest) = rest else { return lower_first(message) };
    match rest.rsplit_once(", found: ") {
        Some((expected, "EOF")) => format!("expected {expected}, found the end of the statement"),
        Some((expected, found)) => format!("expected {expected}, found `{found}`"),
        None => format!("expected {rest}"),
    }
}

fn lower_first(message: &str) -> String {
    let mut chars = message.trim_end_matches('.').chars();
    match (chars.next(), chars.clone().next()) {
        // An abbreviation stays.
        (Some(first), Some(second)) if second.is_uppercase() => format!("{first}{}", chars.as_str()),
        (Some(first), _) => first.to_lowercase().chain(chars).collect(),
        (None, _) => String::new(),
    }
}

/// An error of planning. The place is that of the piece of text which DataFusion names, where it names one.
pub fn from_datafusion(error: DataFusionError) -> SqlError {
    let place = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let place = place.map(|span| Position { line: span.start.line, column: span.start.column });
    let error = from_root(error.find_root()).unwrap_or_else(|| general(&error));
    match place.filter(|place| place.line > 0) {
        Some(place) => error.at(place),
        None => error,
    }
}

/// Errors that have a form of their own.
fn from_root(root: &DataFusionError) -> Option<SqlError> {
    match root {
        DataFusionError::External(source) => source.downcast_ref::<SqlError>().cloned(),
        DataFusionError::SQL(source, _) => {
            Some(from_parser(source.as_ref().clone(), Position { line: 1, column: 1 }))
        }
        DataFusionError::SchemaError(schema, _) => Some(from_schema(schema)),
        DataFusionError::NotImplemented(text) => Some(not_implemented(text)),
        DataFusionError::Plan(text) => from_plan(strip(text)),
        _ => None,
    }
}

fn general(error: &DataFusionError) -> SqlError {
    let code = match error.find_root() {
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) | DataFusionError::ParquetError(_) => {
            SqlErrorCode::Io
        }
        DataFusionError::Internal(_) => SqlErrorCode::Internal,
        DataFusionError::Configuration(_) => SqlErrorCode::InvalidOption,
        _ => SqlErrorCode::Invalid,
    };
    SqlError::new(code, lower_first(strip(&error.find_root().message())))
}

fn strip(text: &str) -> &str {
    let text = text.split("\n\nbacktrace:").next().unwrap_or(text);
    text.trim().trim_end_matches('.')
}

fn from_schema(error: &SchemaError) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => unknown_column(field, valid_fields),
        SchemaError::AmbiguousReference { field } => {
            let message =
                format!("column `{}` is in more than one table: say which, `t.{}`", field.name, field.name);
            SqlError::new(SqlErrorCode::Invalid, message)
        }
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            let message = format!("two columns have the name `{name}`: give one an alias");
            SqlError::new(SqlErrorCode::Invalid, message)
        }
    }
}

fn unknown_column(field: &Column, valid: &[Column]) -> SqlError {
    if let Some(relation) = &field.relation {
        let relations: Vec<&str> =
            valid.iter().filter_map(|column| column.relation.as_ref()).map(|r| r.table()).collect();
        if !relations.contains(&relation.table()) {
            let meant = did_you_mean(nearest(relation.table(), relations.iter().copied()));
            let message = format!("`{relation}` is no table or alias of this query{meant}");
            return SqlError::new(SqlErrorCode::UnknownTable, message);
        }
    }
    let meant = did_you_mean(nearest(&field.name, valid.iter().map(|column| column.name.as_str())));
    SqlError::new(SqlErrorCode::UnknownColumn, format!("column `{}` does not exist{meant}", field.name))
}

fn did_you_mean(name: Option<&str>) -> String {
    name.map(|name| format!(": did you mean `{name}`?")).unwrap_or_default()
}

/// DataFusion says in a text of its own that it cannot do something.
fn not_implemented(text: &str) -> SqlError {
    let text = strip(text);
    let message = if text.contains("supported") || text.contains("not implemented") {
        lower_first(text)
    } else {
        format!("{} {NOT_YET}", lower_first(text))
    };
    SqlError::new(SqlErrorCode::Unsupported, message)
}

/// Errors that DataFusion has no type for.
fn from_plan(text: &str) -> Option<SqlError> {
    let unknown = text.strip_prefix("Invalid function '").and_then(|rest| rest.split('\'').next());
    if let Some(name) = unknown.or_else(|| text.strip_prefix("There is no window function named ")) {
        return Some(SqlError::new(
            SqlErrorCode::UnknownFunction,
            format!("function `{name}` does not exist"),
        ));
    }
    let mismatch =
        ["Cannot coerce", "coercion", "Cannot infer common argument type", "data type", "Incompatible"];
    let code = if mismatch.iter().any(|word| text.contains(word)) {
        SqlErrorCode::TypeMismatch
    } else {
        SqlErrorCode::Invalid
    };
    Some(SqlError::new(code, lower_first(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Position = Position { line: 9, column: 9 };

    #[test]
    fn the_parsers_place_moves_out_of_its_text() {
        let text = "Expected: an expression, found: FROM at Line: 2, Column: 8";
        let error = from_parser(ParserError::ParserError(text.to_owned()), END);
        assert_eq!(error.to_string(), "line 2, column 8: expected an expression, found `FROM`");
        let error = from_parser(ParserError::ParserError("Expected: (, found: EOF".to_owned()), END);
        assert_eq!(error.to_string(), "line 9, column 9: expected (, found the end of the statement");
    }

    #[test]
    fn what_is_known_and_not_run_yet_has_its_own_code() {
        let text = format!("`CALL` {NOT_YET} at Line: 1, Column: 1");
        assert_eq!(from_parser(ParserError::ParserError(text), END).code, SqlErrorCode::Unsupported);
        let found = format!("Expected: (, found: '{NOT_YET}' at Line: 1, Column: 1");
        assert_eq!(from_parser(ParserError::ParserError(found), END).code, SqlErrorCode::Syntax);
    }

    #[test]
    fn an_unknown_column_names_the_nearest() {
        let valid = vec![Column::new(Some("t"), "price"), Column::new(Some("t"), "name")];
        let error = unknown_column(&Column::new_unqualified("prise"), &valid);
        assert_eq!(error.message, "column `prise` does not exist: did you mean `price`?");
        let error = unknown_column(&Column::new(Some("u"), "price"), &valid);
        assert_eq!(error.code, SqlErrorCode::UnknownTable);
    }
}
