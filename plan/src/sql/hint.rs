//! Hints: `/*+ OPTIONS('k'='v') */` after a table's name, `/*+ BROADCAST(t) */` after `SELECT`.
//!
//! The parser drops comments, so hints are read from the tokens and found again by the place of the name before them.

use std::collections::BTreeMap;

use sqlparser::{
    parser::{Parser, ParserError},
    tokenizer::{Location, Token, TokenWithSpan},
};
use thalweg_graph::{
    SqlError,
    sql_error::{Position, SqlErrorCode},
    table::nearest,
};

use super::{
    dialect::FlinkDialect,
    source::{Source, position},
    tokens,
};
use crate::{error, words::NOT_YET};

/// Ways to join that a hint can ask for in a batch job.
const JOIN_HINTS: &[&str] = &["BROADCAST", "SHUFFLE_HASH", "SHUFFLE_MERGE", "NEST_LOOP"];
/// Hints of Flink that mean something only to streams.
const STREAM_HINTS: &[&str] = &["LOOKUP", "STATE_TTL", "MULTI_JOIN"];

/// All hints of one statement.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// `OPTIONS`, by the place of the last word of the table's name.
    pub options: BTreeMap<Location, TableHint>,
    /// Join hints in the order of the text.
    pub joins: Vec<JoinHint>,
}

/// Options for one mention of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableHint {
    /// Where the hint stands.
    pub position: Position,
    /// The options; a later one wins.
    pub options: BTreeMap<String, String>,
}

/// A wish for how to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinHint {
    /// Where the hint stands.
    pub position: Position,
    /// `BROADCAST`, `SHUFFLE_HASH`, `SHUFFLE_MERGE` or `NEST_LOOP`.
    pub strategy: String,
    /// The tables or aliases that it is about.
    pub tables: Vec<String>,
}

/// Reads the hints of one comment. `before` is the token that it follows.
pub fn read(
    text: &str,
    comment: &TokenWithSpan,
    before: Option<&TokenWithSpan>,
    hints: &mut Hints,
) -> Result<(), SqlError> {
    let place = position(comment);
    let start = Position { column: place.column + 3, ..place }; // after `/*+`
    let tokens = tokens::tokenise(Source { text, start })?;
    let mut parser = Parser::new(&FlinkDialect).with_tokens_with_locations(tokens.list);
    let at_end = |refused: ParserError| error::from_parser(refused, place);
    while parser.peek_token_ref().token != Token::EOF {
        let name = parser.parse_identifier().map_err(at_end)?.value.to_uppercase();
        match name.as_str() {
            "OPTIONS" => {
                let options = key_values(&mut parser).map_err(at_end)?;
                add_options(hints, options, place, before)?;
            }
            _ if JOIN_HINTS.contains(&name.as_str()) => {
                let tables = names(&mut parser).map_err(at_end)?;
                hints.joins.push(JoinHint { position: place, strategy: name, tables });
            }
            _ => return Err(unknown(&name).at(place)),
        }
        let _ = parser.consume_token(&Token::Comma);
    }
    Ok(())
}

fn add_options(
    hints: &mut Hints,
    options: Vec<(String, String)>,
    position: Position,
    before: Option<&TokenWithSpan>,
) -> Result<(), SqlError> {
    let Some(TokenWithSpan { token: Token::Word(_), span }) = before else { return Err(misplaced(position)) };
    let entry = hints.options.entry(span.start);
    entry.or_insert_with(|| TableHint { position, options: BTreeMap::new() }).options.extend(options);
    Ok(())
}

/// The refusal of an `OPTIONS` hint that no table's name stands before.
pub fn misplaced(position: Position) -> SqlError {
    let message = "the hint `OPTIONS` must follow the name of a table: `FROM t /*+ OPTIONS('k'='v') */`";
    SqlError::new(SqlErrorCode::Invalid, message).at(position)
}

fn unknown(name: &str) -> SqlError {
    if STREAM_HINTS.contains(&name) {
        return SqlError::new(SqlErrorCode::Unsupported, format!("the hint `{name}` {NOT_YET}"));
    }
    let known = JOIN_HINTS.iter().chain(["OPTIONS"].iter()).chain(STREAM_HINTS).copied();
    let meant = nearest(name, known).map(|meant| format!(": did you mean `{meant}`?")).unwrap_or_default();
    SqlError::new(SqlErrorCode::Invalid, format!("unknown hint `{name}`{meant}"))
}

fn key_values(parser: &mut Parser<'_>) -> Result<Vec<(String, String)>, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let options = parser.parse_comma_separated(|parser| {
        let key = parser.parse_literal_string()?;
        parser.expect_token(&Token::Eq)?;
        Ok((key, parser.parse_literal_string()?))
    })?;
    parser.expect_token(&Token::RParen)?;
    Ok(options)
}

fn names(parser: &mut Parser<'_>) -> Result<Vec<String>, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let names = parser.parse_comma_separated(|parser| Ok(parser.parse_object_name(false)?.to_string()))?;
    parser.expect_token(&Token::RParen)?;
    Ok(names)
}
