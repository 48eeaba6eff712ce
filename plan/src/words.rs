//! Reading words off a sqlparser parser: most of Flink's grammar is words which are keywords only where they stand.

use sqlparser::{
    parser::{Parser, ParserError},
    tokenizer::{Token, TokenWithSpan},
};

/// Whether the next token is this word, unquoted, in any case.
pub fn peek_word(parser: &Parser<'_>, word: &str) -> bool {
    peek_words(parser, &[word])
}

/// Whether the next tokens are these words.
pub fn peek_words(parser: &Parser<'_>, words: &[&str]) -> bool {
    words.iter().enumerate().all(|(position, word)| is_word(parser.peek_nth_token_ref(position), word))
}

/// Takes the next token if it is this word.
pub fn take_word(parser: &mut Parser<'_>, word: &str) -> bool {
    take_words(parser, &[word])
}

/// Takes the next tokens if they are these words, all or none.
pub fn take_words(parser: &mut Parser<'_>, words: &[&str]) -> bool {
    let found = peek_words(parser, words);
    if found {
        for _ in words {
            parser.next_token();
        }
    }
    found
}

/// Takes one of several words, in the case in which it is listed.
pub fn take_one_of(parser: &mut Parser<'_>, words: &[&'static str]) -> Option<&'static str> {
    words.iter().copied().find(|word| take_word(parser, word))
}

/// Takes these words or says what was found.
pub fn expect_words(parser: &mut Parser<'_>, words: &[&str]) -> Result<(), ParserError> {
    for word in words {
        if !take_word(parser, word) {
            return parser.expected(&format!("`{word}`"), parser.peek_token());
        }
    }
    Ok(())
}

/// Whether a token is this word, unquoted, in any case.
pub fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

/// An error for something that we know of and do not run yet, at a token. [`crate::error`] knows it by its words.
pub fn not_yet(what: &str, token: &TokenWithSpan) -> ParserError {
    ParserError::ParserError(format!("{what} {NOT_YET}{}", token.span.start))
}

/// What the message of every such error ends with.
pub const NOT_YET: &str = "is not supported yet";
