//! One statement's tokens in Flink's dialect, placed in the script, and the hints that its comments carry.

use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};
use thalweg_graph::SqlError;

use super::{
    dialect::FlinkDialect,
    hint::{self, Hints},
    source::Source,
};
use crate::{error, sql_type::split_shift_right};

/// What a statement consists of.
#[derive(Debug, Default)]
pub struct Tokens {
    /// Its tokens without white space and comments.
    pub list: Vec<TokenWithSpan>,
    /// Its hints.
    pub hints: Hints,
}

/// Reads a statement's tokens.
pub fn tokenise(source: Source<'_>) -> Result<Tokens, SqlError> {
    let mut raw = raw_tokens(source)?;
    for token in &mut raw {
        token.span = source.shift(token.span);
    }
    let mut tokens = Tokens { list: Vec::with_capacity(raw.len() / 2), hints: Hints::default() };
    for token in raw {
        match &token.token {
            Token::Whitespace(Whitespace::MultiLineComment(comment)) if comment.starts_with('+') => {
                hint::read(&comment[1..], &token, tokens.list.last(), &mut tokens.hints)?;
            }
            Token::Whitespace(_) => {}
            _ => tokens.list.push(token),
        }
    }
    tokens.list = split_shift_right(tokens.list);
    Ok(tokens)
}

fn raw_tokens(source: Source<'_>) -> Result<Vec<TokenWithSpan>, SqlError> {
    let mut tokens = Vec::new();
    Tokenizer::new(&FlinkDialect, source.text)
        .tokenize_with_location_into_buf(&mut tokens)
        .map_err(|refused| error::from_tokenizer(refused, source.start))?;
    Ok(tokens)
}
