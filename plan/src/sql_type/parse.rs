//! Reads a type from tokens: Flink's names, defaults and nesting, which sqlparser's own types do not cover.

use std::str::FromStr;

use sqlparser::{
    dialect::GenericDialect,
    parser::{Parser, ParserError},
    tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer},
};
use thalweg_graph::table::nearest;

use crate::words::{NOT_YET, take_word, take_words};

use super::{Element, IntervalKind, RowField, SqlType};

/// The length that makes `VARCHAR` a `STRING` and `VARBINARY` a `BYTES`.
const MAX_LENGTH: u64 = i32::MAX as u64;
/// Digits that a decimal may have.
const MAX_DECIMAL_PRECISION: u64 = 38;
/// Digits that a fraction of a second may have.
const MAX_TIME_PRECISION: u64 = 9;

/// Names for "did you mean".
const NAMES: &[&str] = &[
    "BOOLEAN",
    "CHAR",
    "VARCHAR",
    "STRING",
    "BINARY",
    "VARBINARY",
    "BYTES",
    "TINYINT",
    "SMALLINT",
    "INT",
    "INTEGER",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
    "NUMERIC",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP_LTZ",
    "INTERVAL",
    "ARRAY",
    "MAP",
    "ROW",
];

/// Types that Flink has and we do not.
const OTHERS: &[&str] = &["MULTISET", "RAW", "STRUCTURED", "VARIANT", "BITMAP", "UUID", "GEOGRAPHY"];

/// A text that is not a type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a type: {reason}")]
pub struct InvalidType {
    /// The text.
    pub text: String,
    /// Why not.
    pub reason: String,
}

impl FromStr for SqlType {
    type Err = InvalidType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_whole(text).map_err(|error| {
            let reason = match error {
                ParserError::TokenizerError(reason) | ParserError::ParserError(reason) => reason,
                ParserError::RecursionLimitExceeded => "it is nested too deep".to_owned(),
            };
            InvalidType { text: text.to_owned(), reason }
        })
    }
}

fn parse_whole(text: &str) -> Result<SqlType, ParserError> {
    let dialect = GenericDialect {};
    let tokens = split_shift_right(Tokenizer::new(&dialect, text).tokenize_with_location()?);
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let sql_type = next_type(&mut parser)?;
    parser.expect_token(&Token::EOF)?;
    Ok(sql_type)
}

/// Splits each `>>` into two `>`: SQL has no shift operator, but types close twice.
pub fn split_shift_right(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !tokens.iter().any(|token| token.token == Token::ShiftRight) {
        return tokens;
    }
    let mut split = Vec::with_capacity(tokens.len() + 8);
    for token in tokens {
        if token.token != Token::ShiftRight {
            split.push(token);
            continue;
        }
        let Span { start, end } = token.span;
        let middle = Location::new(start.line, start.column + 1);
        split.push(TokenWithSpan::new(Token::Gt, Span::new(start, middle)));
        split.push(TokenWithSpan::new(Token::Gt, Span::new(middle, end)));
    }
    split
}

/// Reads the type that the parser stands at. Tokens must have gone through [`split_shift_right`].
pub fn next_type(parser: &mut Parser<'_>) -> Result<SqlType, ParserError> {
    let token = parser.peek_token();
    let Token::Word(word) = &token.token else { return parser.expected("a type", token) };
    if word.quote_style.is_some() {
        return parser.expected("a type", token);
    }
    let name = word.value.to_uppercase();
    parser.next_token();
    let mut sql_type = named_type(parser, &name, token)?;
    // `INT ARRAY` is the older form of `ARRAY<INT>`.
    while take_word(parser, "ARRAY") {
        sql_type = SqlType::Array(Box::new(Element { sql_type, nullable: true }));
    }
    Ok(sql_type)
}

fn named_type(parser: &mut Parser<'_>, name: &str, token: TokenWithSpan) -> Result<SqlType, ParserError> {
    Ok(match name {
        "NULL" => SqlType::Null,
        "BOOLEAN" => SqlType::Boolean,
        "CHAR" => SqlType::Char(length(parser)?.unwrap_or(1)),
        "VARCHAR" => length(parser)?.map_or(SqlType::Varchar(1), |length| match u64::from(length) {
            MAX_LENGTH => SqlType::String,
            _ => SqlType::Varchar(length),
        }),
        "STRING" => SqlType::String,
        "BINARY" => SqlType::Binary(length(parser)?.unwrap_or(1)),
        "VARBINARY" => length(parser)?.map_or(SqlType::Varbinary(1), |length| match u64::from(length) {
            MAX_LENGTH => SqlType::Bytes,
            _ => SqlType::Varbinary(length),
        }),
        "BYTES" => SqlType::Bytes,
        "TINYINT" => SqlType::TinyInt,
        "SMALLINT" => SqlType::SmallInt,
        "INT" | "INTEGER" => SqlType::Int,
        "BIGINT" => SqlType::BigInt,
        "FLOAT" => SqlType::Float,
        "DOUBLE" => {
            take_word(parser, "PRECISION");
            SqlType::Double
        }
        "DECIMAL" | "DEC" | "NUMERIC" => decimal(parser)?,
        "DATE" => SqlType::Date,
        "TIME" => {
            let precision = time_precision(parser)?.unwrap_or(0);
            take_words(parser, &["WITHOUT", "TIME", "ZONE"]);
            SqlType::Time(precision)
        }
        "TIMESTAMP" => timestamp(parser)?,
        "TIMESTAMP_LTZ" => SqlType::TimestampLtz(time_precision(parser)?.unwrap_or(6)),
        "INTERVAL" => interval(parser)?,
        "ARRAY" => SqlType::Array(Box::new(single_element(parser)?)),
        "MAP" => map(parser)?,
        "ROW" => row(parser)?,
        _ => return unknown_type(name, &token),
    })
}

fn unknown_type(name: &str, token: &TokenWithSpan) -> Result<SqlType, ParserError> {
    let hint = match nearest(name, NAMES.iter().copied()) {
        _ if OTHERS.contains(&name) => format!("type `{name}` {NOT_YET}"),
        Some(meant) => format!("unknown type `{name}`: did you mean `{meant}`?"),
        None => format!("unknown type `{name}`"),
    };
    Err(ParserError::ParserError(format!("{hint}{}", token.span.start)))
}

fn decimal(parser: &mut Parser<'_>) -> Result<SqlType, ParserError> {
    let start = parser.peek_token();
    let (precision, scale) = match parameters(parser)?[..] {
        [] => (10, 0),
        [precision] => (precision, 0),
        [precision, scale] => (precision, scale),
        _ => return parser.expected("DECIMAL(precision, scale)", start),
    };
    if precision == 0 || precision > MAX_DECIMAL_PRECISION || scale > precision {
        let rule = "a decimal precision from 1 to 38 and a scale from 0 to the precision";
        return parser.expected(rule, start);
    }
    Ok(SqlType::Decimal(precision as u8, scale as u8))
}

fn timestamp(parser: &mut Parser<'_>) -> Result<SqlType, ParserError> {
    let precision = time_precision(parser)?.unwrap_or(6);
    if take_words(parser, &["WITH", "LOCAL", "TIME", "ZONE"]) {
        return Ok(SqlType::TimestampLtz(precision));
    }
    take_words(parser, &["WITHOUT", "TIME", "ZONE"]);
    Ok(SqlType::Timestamp(precision))
}

fn interval(parser: &mut Parser<'_>) -> Result<SqlType, ParserError> {
    let kind = interval_unit(parser)?;
    if take_word(parser, "TO") {
        interval_unit(parser)?;
    }
    Ok(SqlType::Interval(kind))
}

fn interval_unit(parser: &mut Parser<'_>) -> Result<IntervalKind, ParserError> {
    let token = parser.next_token();
    let word = if let Token::Word(word) = &token.token { word.value.to_uppercase() } else { String::new() };
    let kind = match word.as_str() {
        "YEAR" | "MONTH" => IntervalKind::YearMonth,
        "DAY" | "HOUR" | "MINUTE" | "SECOND" => IntervalKind::DaySecond,
        _ => return parser.expected("YEAR, MONTH, DAY, HOUR, MINUTE or SECOND", token),
    };
    parameters(parser)?;
    Ok(kind)
}

fn single_element(parser: &mut Parser<'_>) -> Result<Element, ParserError> {
    parser.expect_token(&Token::Lt)?;
    let element = element(parser)?;
    parser.expect_token(&Token::Gt)?;
    Ok(element)
}

fn map(parser: &mut Parser<'_>) -> Result<SqlType, ParserError> {
    parser.expect_token(&Token::Lt)?;
    let key = element(parser)?;
    parser.expect_token(&Token::Comma)?;
    let value = element(parser)?;
    parser.expect_token(&Token::Gt)?;
    Ok(SqlType::Map(Box::new(key), Box::new(value)))
}

fn row(parser: &mut Parser<'_>) -> Result<SqlType, ParserError> {
    let close = if parser.consume_token(&Token::LParen) {
        Token::RParen
    } else {
        parser.expect_token(&Token::Lt)?;
        Token::Gt
    };
    let fields = parser.parse_comma_separated(|parser| {
        let name = parser.parse_identifier()?.value;
        let field = RowField { name, element: element(parser)? };
        // A field may carry a comment, which nothing shows.
        if matches!(parser.peek_token_ref().token, Token::SingleQuotedString(_)) {
            parser.next_token();
        }
        Ok(field)
    })?;
    parser.expect_token(&close)?;
    Ok(SqlType::Row(fields))
}

fn element(parser: &mut Parser<'_>) -> Result<Element, ParserError> {
    let sql_type = next_type(parser)?;
    let nullable = !take_words(parser, &["NOT", "NULL"]);
    if nullable {
        take_word(parser, "NULL");
    }
    Ok(Element { sql_type, nullable })
}

fn length(parser: &mut Parser<'_>) -> Result<Option<u32>, ParserError> {
    single_parameter(parser, 1, MAX_LENGTH, "a length from 1 to 2147483647")
}

fn time_precision(parser: &mut Parser<'_>) -> Result<Option<u8>, ParserError> {
    let precision = single_parameter(parser, 0, MAX_TIME_PRECISION, "a precision from 0 to 9")?;
    Ok(precision.map(|precision| precision as u8))
}

/// Reads `(n)` if it is there; `n` is within `min..=max`, and so fits into 32 bits.
fn single_parameter(
    parser: &mut Parser<'_>,
    min: u64,
    max: u64,
    rule: &str,
) -> Result<Option<u32>, ParserError> {
    let start = parser.peek_token();
    match parameters(parser)?[..] {
        [] => Ok(None),
        [number] if (min..=max).contains(&number) => Ok(Some(number as u32)),
        _ => parser.expected(rule, start),
    }
}

/// Reads `(n, ...)` if it is there.
fn parameters(parser: &mut Parser<'_>) -> Result<Vec<u64>, ParserError> {
    if !parser.consume_token(&Token::LParen) {
        return Ok(Vec::new());
    }
    let numbers = parser.parse_comma_separated(Parser::parse_literal_uint)?;
    parser.expect_token(&Token::RParen)?;
    Ok(numbers)
}
