//! One statement's tokens in Flink's dialect, placed in the script, and the hints that its comments carry.

use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};
use thalweg_graph::{SqlError, sql_error::SqlErrorCode};

use super::{
    dialect::FlinkDialect,
    hint::{self, Hints},
    source::{Source, position},
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

/// Most parts of a name: catalog, database, table, column, and fields within fields. The parser reads what follows each dot again and again.
const NAME_PARTS_MAX: usize = 64;

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
    check_names(&tokens.list)?;
    Ok(tokens)
}

fn check_names(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    let mut parts = 0;
    for pair in tokens.windows(2) {
        match (&pair[0].token, &pair[1].token) {
            (Token::Period, _) => {}
            (_, Token::Period) => parts += 1,
            _ => parts = 0,
        }
        if parts > NAME_PARTS_MAX {
            let message = format!("a name has more than {NAME_PARTS_MAX} parts");
            return Err(SqlError::new(SqlErrorCode::Invalid, message).at(position(&pair[1])));
        }
    }
    Ok(())
}

fn raw_tokens(source: Source<'_>) -> Result<Vec<TokenWithSpan>, SqlError> {
    let mut tokens = Vec::new();
    Tokenizer::new(&FlinkDialect, source.text)
        .tokenize_with_location_into_buf(&mut tokens)
        .map_err(|refused| error::from_tokenizer(refused, source.start))?;
    Ok(tokens)
}
