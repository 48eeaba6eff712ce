//! `SET` and `RESET`, with keys and values in quotes or bare.

use sqlparser::tokenizer::{Location, Token};

use super::{Parsed, StatementParser};
use crate::sql::{
    command::{Command, Setting},
    source::position,
};

impl StatementParser<'_> {
    pub(super) fn set(&mut self) -> Parsed<Command> {
        self.expect(&["SET"])?;
        if self.at_end() {
            return Ok(Command::Set(None));
        }
        let place = position(self.parser.peek_token_ref());
        let key = self.bare_or_quoted()?;
        self.parser.expect_token(&Token::Eq)?;
        let value = self.bare_or_quoted()?;
        Ok(Command::Set(Some(Setting { key, value, position: place })))
    }

    pub(super) fn reset(&mut self) -> Parsed<Command> {
        self.expect(&["RESET"])?;
        if self.at_end() {
            return Ok(Command::Reset(None));
        }
        let place = position(self.parser.peek_token_ref());
        Ok(Command::Reset(Some((self.bare_or_quoted()?, place))))
    }

    fn at_end(&self) -> bool {
        matches!(self.parser.peek_token_ref().token, Token::EOF | Token::SemiColon)
    }

    /// `'a.b-c'`, or `a.b-c` as old scripts have it: everything up to `=` or the end.
    fn bare_or_quoted(&mut self) -> Parsed<String> {
        if let Token::SingleQuotedString(_) = self.parser.peek_token_ref().token {
            return self.parser.parse_literal_string();
        }
        let (start, mut end): (Location, Option<Location>) = (self.here(), None);
        while !self.at_end() && self.parser.peek_token_ref().token != Token::Eq {
            end = Some(self.parser.next_token().span.end);
        }
        match end {
            Some(end) => Ok(self.source.between(start, end).to_owned()),
            None => self.expected("an option's name or value"),
        }
    }
}
