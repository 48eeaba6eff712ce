//! The SQL/JSON functions have clauses inside their parentheses. They become plain calls: each clause is an argument.

use sqlparser::{
    ast::{CastKind, DataType, Expr, Value, ValueWithSpan},
    dialect::{Dialect, GenericDialect, Precedence},
    keywords::Keyword,
    parser::{Parser, ParserError},
    tokenizer::Token,
};

use super::{call, text};

/// Parses the arguments of a SQL/JSON function whose name and `(` are read.
pub fn parse_call(parser: &mut Parser, name: &str) -> Result<Expr, ParserError> {
    match name {
        "JSON_EXISTS" => exists(parser),
        "JSON_VALUE" => value(parser),
        "JSON_QUERY" => query(parser),
        "JSON_OBJECT" => object(parser),
        "JSON_OBJECTAGG" => object_agg(parser),
        "JSON_ARRAY" => array(parser),
        _ => array_agg(parser),
    }
}

/// `json_exists(json, path, on_error)`
fn exists(parser: &mut Parser) -> Result<Expr, ParserError> {
    let (json, path) = json_and_path(parser)?;
    let on_error = match parser.parse_one_of_keywords(&[
        Keyword::TRUE,
        Keyword::FALSE,
        Keyword::UNKNOWN,
        Keyword::ERROR,
    ]) {
        Some(keyword) => {
            parser.expect_keywords(&[Keyword::ON, Keyword::ERROR])?;
            format!("{keyword:?}")
        }
        None => "FALSE".to_owned(),
    };
    parser.expect_token(&Token::RParen)?;
    Ok(call("json_exists", [json, path, text(on_error)]))
}

/// `json_value(json, path, type, on_empty, empty_default, on_error, error_default)`
fn value(parser: &mut Parser) -> Result<Expr, ParserError> {
    let (json, path) = json_and_path(parser)?;
    let returning = match word(parser, "RETURNING") {
        true => parser.parse_data_type()?,
        false => DataType::String(None),
    };
    let mut on_empty = (text("NULL"), null());
    let mut on_error = (text("NULL"), null());
    while !parser.consume_token(&Token::RParen) {
        let behaviour = if parser.parse_keyword(Keyword::NULL) {
            (text("NULL"), null())
        } else if parser.parse_keyword(Keyword::ERROR) {
            (text("ERROR"), null())
        } else {
            parser.expect_keyword(Keyword::DEFAULT)?;
            (text("DEFAULT"), default_value(parser.parse_expr()?, &returning))
        };
        match on_empty_or_error(parser)? {
            Event::Empty => on_empty = behaviour,
            Event::Error => on_error = behaviour,
        }
    }
    let typed = cast(null(), returning.clone());
    let default = |(behaviour, default): (Expr, Expr)| [behaviour, cast(default, returning.clone())];
    let arguments = [json, path, typed].into_iter().chain(default(on_empty)).chain(default(on_error));
    Ok(call("json_value", arguments))
}

/// A truth value as text is written as JSON writes it.
fn default_value(value: Expr, returning: &DataType) -> Expr {
    match (&value, returning) {
        (Expr::Value(ValueWithSpan { value: Value::Boolean(truth), .. }), DataType::String(_)) => {
            text(truth.to_string())
        }
        _ => value,
    }
}

/// `json_query(json, path, type, wrapper, on_empty, on_error)`
fn query(parser: &mut Parser) -> Result<Expr, ParserError> {
    let (json, path) = json_and_path(parser)?;
    let returning = match word(parser, "RETURNING") {
        true => parser.parse_data_type()?,
        false => DataType::String(None),
    };
    let mut wrapper = "WITHOUT";
    if parser.parse_keyword(Keyword::WITHOUT) {
        let _ = parser.parse_keyword(Keyword::ARRAY);
        expect_word(parser, "WRAPPER")?;
    } else if parser.parse_keyword(Keyword::WITH) {
        wrapper = if word(parser, "CONDITIONAL") { "CONDITIONAL" } else { "UNCONDITIONAL" };
        word(parser, "UNCONDITIONAL");
        let _ = parser.parse_keyword(Keyword::ARRAY);
        expect_word(parser, "WRAPPER")?;
    }
    let (mut on_empty, mut on_error) = ("NULL", "NULL");
    while !parser.consume_token(&Token::RParen) {
        let behaviour = if parser.parse_keyword(Keyword::NULL) {
            "NULL"
        } else if parser.parse_keyword(Keyword::ERROR) {
            "ERROR"
        } else {
            expect_word(parser, "EMPTY")?;
            if parser.parse_keyword(Keyword::ARRAY) {
                "ARRAY"
            } else {
                expect_word(parser, "OBJECT").map(|()| "OBJECT")?
            }
        };
        match on_empty_or_error(parser)? {
            Event::Empty => on_empty = behaviour,
            Event::Error => on_error = behaviour,
        }
    }
    let typed = cast(null(), returning);
    Ok(call("json_query", [json, path, typed, text(wrapper), text(on_empty), text(on_error)]))
}

/// `json_object(on_null, key, value, raw, ...)`: `raw` says whether the value is JSON text already.
fn object(parser: &mut Parser) -> Result<Expr, ParserError> {
    let mut pairs = vec![];
    let mut on_null = "NULL";
    while !parser.consume_token(&Token::RParen) {
        if let Some(clause) = null_clause(parser)? {
            on_null = clause;
            continue;
        }
        let (key, value) = key_and_value(parser)?;
        let raw = is_json_constructor(&value);
        pairs.extend([key, value, Expr::value(Value::Boolean(raw))]);
        let _ = parser.consume_token(&Token::Comma);
    }
    Ok(call("json_object", [text(on_null)].into_iter().chain(pairs)))
}

/// `json_array(on_null, value, raw, ...)`
fn array(parser: &mut Parser) -> Result<Expr, ParserError> {
    let mut items = vec![];
    let mut on_null = "ABSENT";
    while !parser.consume_token(&Token::RParen) {
        if let Some(clause) = null_clause(parser)? {
            on_null = clause;
            continue;
        }
        let value = parser.parse_expr()?;
        let raw = is_json_constructor(&value);
        items.extend([value, Expr::value(Value::Boolean(raw))]);
        let _ = parser.consume_token(&Token::Comma);
    }
    Ok(call("json_array", [text(on_null)].into_iter().chain(items)))
}

/// `json_objectagg(key, value_as_json, on_null)`
fn object_agg(parser: &mut Parser) -> Result<Expr, ParserError> {
    let (key, value) = key_and_value(parser)?;
    let on_null = null_clause(parser)?.unwrap_or("NULL");
    parser.expect_token(&Token::RParen)?;
    Ok(call("json_objectagg", [key, as_json(value), text(on_null)]))
}

/// `json_arrayagg(value_as_json, on_null)`
fn array_agg(parser: &mut Parser) -> Result<Expr, ParserError> {
    let value = parser.parse_expr()?;
    let on_null = null_clause(parser)?.unwrap_or("ABSENT");
    parser.expect_token(&Token::RParen)?;
    Ok(call("json_arrayagg", [as_json(value), text(on_null)]))
}

fn as_json(value: Expr) -> Expr {
    if is_json_constructor(&value) { value } else { call("json_string", [value]) }
}

fn json_and_path(parser: &mut Parser) -> Result<(Expr, Expr), ParserError> {
    let json = parser.parse_expr()?;
    parser.expect_token(&Token::Comma)?;
    Ok((json, parser.parse_expr()?))
}

fn key_and_value(parser: &mut Parser) -> Result<(Expr, Expr), ParserError> {
    let _ = parser.parse_keyword(Keyword::KEY);
    // Not as far as a colon, which would be taken for an access to a field.
    let key = parser.parse_subexpr(GenericDialect.prec_value(Precedence::Colon))?;
    if !parser.consume_token(&Token::Colon) {
        parser.expect_keyword(Keyword::VALUE)?;
    }
    Ok((key, parser.parse_expr()?))
}

fn null_clause(parser: &mut Parser) -> Result<Option<&'static str>, ParserError> {
    let clauses = [(Keyword::NULL, "NULL"), (Keyword::ABSENT, "ABSENT")];
    Ok(clauses
        .into_iter()
        .find(|(first, _)| parser.parse_keywords(&[*first, Keyword::ON, Keyword::NULL]))
        .map(|(_, name)| name))
}

enum Event {
    Empty,
    Error,
}

fn on_empty_or_error(parser: &mut Parser) -> Result<Event, ParserError> {
    parser.expect_keyword(Keyword::ON)?;
    if parser.parse_keyword(Keyword::ERROR) {
        return Ok(Event::Error);
    }
    expect_word(parser, "EMPTY").map(|()| Event::Empty)
}

/// Takes the next token if it is this word, keyword or not.
pub fn word(parser: &mut Parser, expected: &str) -> bool {
    let found =
        matches!(&parser.peek_token().token, Token::Word(word) if word.value.eq_ignore_ascii_case(expected));
    if found {
        parser.advance_token();
    }
    found
}

fn expect_word(parser: &mut Parser, expected: &str) -> Result<(), ParserError> {
    match word(parser, expected) {
        true => Ok(()),
        false => parser.expected(expected, parser.peek_token()),
    }
}

/// Values from these functions go into other JSON as they are, not as strings.
fn is_json_constructor(value: &Expr) -> bool {
    let Expr::Function(function) = value else { return false };
    let name = function.name.to_string().to_ascii_lowercase();
    ["json", "json_object", "json_array", "json_objectagg", "json_arrayagg"].contains(&name.as_str())
}

fn null() -> Expr {
    Expr::value(Value::Null)
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}
