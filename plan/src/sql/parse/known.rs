//! Statements of Flink that are known and not run yet: refused by name, never as a mistake in the text.

use sqlparser::{
    parser::{Parser, ParserError},
    tokenizer::Token,
};
use thalweg_graph::table::nearest;

use crate::words::{is_word, not_yet, peek_words};

/// The words that each such statement starts with.
const NOT_YET: &[&[&str]] = &[
    &["ADD", "JAR"],
    &["ADD", "CUSTOMJAR"],
    &["ALTER", "FUNCTION"],
    &["ALTER", "MATERIALIZED", "TABLE"],
    &["ALTER", "MODEL"],
    &["ALTER", "CONNECTION"],
    &["ALTER", "TEMPORARY"],
    &["ANALYZE", "TABLE"],
    &["CALL"],
    &["COMPILE", "AND", "EXECUTE", "PLAN"],
    &["COMPILE", "PLAN"],
    &["CREATE", "CONNECTION"],
    &["CREATE", "FUNCTION"],
    &["CREATE", "MATERIALIZED", "TABLE"],
    &["CREATE", "MODEL"],
    &["CREATE", "OR", "ALTER", "MATERIALIZED", "TABLE"],
    &["CREATE", "OR", "REPLACE", "MATERIALIZED", "TABLE"],
    &["CREATE", "TEMPORARY", "FUNCTION"],
    &["CREATE", "TEMPORARY", "MODEL"],
    &["CREATE", "TEMPORARY", "SYSTEM", "FUNCTION"],
    &["DELETE"],
    &["DESC", "JOB"],
    &["DESC", "MODEL"],
    &["DESCRIBE", "JOB"],
    &["DESCRIBE", "MODEL"],
    &["DROP", "CONNECTION"],
    &["DROP", "FUNCTION"],
    &["DROP", "MATERIALIZED", "TABLE"],
    &["DROP", "MODEL"],
    &["DROP", "TEMPORARY", "FUNCTION"],
    &["DROP", "TEMPORARY", "MODEL"],
    &["DROP", "TEMPORARY", "SYSTEM", "FUNCTION"],
    &["EXECUTE", "PLAN"],
    &["LOAD", "MODULE"],
    &["MERGE", "INTO"],
    &["REMOVE", "JAR"],
    &["SHOW", "CREATE", "MATERIALIZED", "TABLE"],
    &["SHOW", "CREATE", "MODEL"],
    &["SHOW", "CREATE", "OR", "ALTER"],
    &["SHOW", "MATERIALIZED", "TABLES"],
    &["SHOW", "MODELS"],
    &["SHOW", "PARTITIONS"],
    &["SHOW", "PROCEDURES"],
    &["SOURCE"],
    &["TRUNCATE", "TABLE"],
    &["UNLOAD", "MODULE"],
    &["UPDATE"],
    &["UPSERT", "INTO"],
    &["USE", "MODULES"],
];

/// The first words of all statements, for "did you mean".
const FIRST_WORDS: &[&str] = &[
    "SELECT", "WITH", "VALUES", "INSERT", "EXECUTE", "BEGIN", "CREATE", "REPLACE", "DROP", "ALTER", "USE",
    "SET", "RESET", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "HELP", "CLEAR", "QUIT", "EXIT", "ADD", "REMOVE",
    "ANALYZE", "CALL", "COMPILE", "DELETE", "LOAD", "UNLOAD", "MERGE", "SOURCE", "STOP", "TRUNCATE",
    "UPDATE",
];

/// Refuses a statement that is known and not run yet.
pub fn refuse_statement(parser: &Parser<'_>) -> Result<(), ParserError> {
    match NOT_YET.iter().find(|words| peek_words(parser, words)) {
        Some(words) => Err(not_yet(&format!("`{}`", words.join(" ")), parser.peek_token_ref())),
        None => Ok(()),
    }
}

/// Clauses of Flink that sqlparser would misread: the words they start with, and whether a bracket follows.
const CLAUSES: &[(&[&str], bool)] = &[
    (&["MATCH_RECOGNIZE"], true),
    (&["ML_PREDICT"], true),
    (&["ML_EVALUATE"], true),
    (&["VECTOR_SEARCH"], true),
    (&["ON", "CONFLICT", "DO"], false),
];

/// Refuses clauses whose grammar sqlparser does not know well enough to say so itself.
pub fn refuse_anywhere(parser: &Parser<'_>) -> Result<(), ParserError> {
    let mut start = 0;
    while parser.token_at(start).token != Token::EOF {
        let here = |(words, bracket): &&(&[&str], bool)| {
            words.iter().enumerate().all(|(offset, word)| is_word(parser.token_at(start + offset), word))
                && (!bracket || parser.token_at(start + words.len()).token == Token::LParen)
        };
        if let Some((words, _)) = CLAUSES.iter().find(here) {
            return Err(not_yet(&format!("`{}`", words.join(" ")), parser.token_at(start)));
        }
        start += 1;
    }
    Ok(())
}

/// The refusal of a text that starts like no statement.
pub fn no_statement<T>(parser: &Parser<'_>) -> Result<T, ParserError> {
    let token = parser.peek_token();
    let found = token.token.to_string();
    match nearest(&found, FIRST_WORDS.iter().copied()) {
        Some(meant) => parser.expected(&format!("a statement (did you mean `{meant}`?)"), token),
        None => parser.expected("a statement", token),
    }
}
