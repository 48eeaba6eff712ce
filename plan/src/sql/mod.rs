//! Text to statements: a script is split, each statement is tokenised in Flink's dialect and parsed.
//!
//! `script` (text -> statements) `-> tokens` (with `hint`s) `-> parse` (with `dialect`) `-> command`; `refuse` names what is
//! known and not run yet.

pub mod command;
pub mod dialect;
pub mod hint;
mod parse;
pub mod refuse;
mod script;
mod source;
mod split;
mod tokens;

pub use self::{
    command::Command,
    parse::{parse, parse_expression, parse_name},
    script::{STATEMENT_BYTES_MAX, Statement, StatementKind, parse_script},
    source::Source,
    tokens::{Tokens, tokenise},
};
