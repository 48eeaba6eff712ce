//! Tokens to a [`Command`]: one file for each family of statements.

mod alter;
mod column;
mod create;
mod create_table;
mod describe;
mod insert;
mod known;
mod query;
mod set;
mod show;

use std::collections::BTreeMap;

use sqlparser::{
    ast,
    parser::{Parser, ParserError},
    tokenizer::{Location, Token},
};
use thalweg_graph::{SqlError, sql_error::Position};

use super::{
    command::{Command, StopMode},
    dialect::FlinkDialect,
    hint::Hints,
    source::{Source, position, position_of},
    tokens,
};
use crate::{
    catalog::Name,
    error,
    words::{expect_words, peek_word, peek_words, take_word, take_words},
};

/// How deep a statement may nest: each bracket or subquery takes a few levels.
const RECURSION_LIMIT: usize = 4000;

/// Reads one statement. `source` has no semicolon at its end, but those inside a statement set.
pub fn parse(source: Source<'_>) -> Result<Command, SqlError> {
    let tokens = tokens::tokenise(source)?;
    let parser = Parser::new(&FlinkDialect)
        .with_recursion_limit(RECURSION_LIMIT)
        .with_tokens_with_locations(tokens.list);
    let mut statement = StatementParser { parser, source, hints: tokens.hints };
    statement.whole().map_err(|refused| {
        let refused = without_wrong_place(&statement.parser, refused);
        let place = place_reached(&statement.parser, &refused).unwrap_or(source.end());
        error::from_parser(refused, place)
    })
}

/// The error without its place where that is of another token than the one that the error names: the parser's own places are
/// one token late for what cannot start an expression.
fn without_wrong_place(parser: &Parser<'_>, refused: ParserError) -> ParserError {
    let ParserError::ParserError(text) = &refused else { return refused };
    let (message, Some(place)) = error::split_place(text) else { return refused };
    let Some((_, found)) = message.rsplit_once(", found: ") else { return refused };
    let mut passed = (0..=parser.get_current_index() + 1).rev().map(|index| parser.token_at(index));
    match passed.find(|token| position(token) == place) {
        Some(token) if token.token.to_string() != found => ParserError::ParserError(message.to_owned()),
        _ => refused,
    }
}

/// Where the parser stood when it refused, for errors that do not say so: at the token that the error names, if it names one.
fn place_reached(parser: &Parser<'_>, refused: &ParserError) -> Option<Position> {
    let text = refused.to_string();
    let found = text.rsplit_once(", found: ").map(|(_, found)| found);
    let passed = (0..=parser.get_current_index()).rev().map(|index| parser.token_at(index));
    let token = match found {
        Some("EOF") => None,
        Some(found) => passed.into_iter().find(|token| token.token.to_string() == found),
        None => Some(parser.get_current_token()),
    };
    token.map(position).filter(|place| place.line > 0)
}

/// Reads an expression of a table's declaration.
pub fn parse_expression(text: &str) -> Result<ast::Expr, SqlError> {
    let source = Source::new(text);
    let tokens = tokens::tokenise(source)?;
    let mut parser = Parser::new(&FlinkDialect)
        .with_recursion_limit(RECURSION_LIMIT)
        .with_tokens_with_locations(tokens.list);
    let whole = parser.parse_expr().and_then(|expr| parser.expect_token(&Token::EOF).map(|_| expr));
    whole.map_err(|refused| error::from_parser(refused, source.end()))
}

/// Reads the name of a table that stands in an option.
pub fn parse_name(text: &str) -> Result<Name, SqlError> {
    let source = Source::new(text);
    let tokens = tokens::tokenise(source)?;
    let parser = Parser::new(&FlinkDialect).with_tokens_with_locations(tokens.list);
    let mut name = StatementParser { parser, source, hints: Hints::default() };
    let whole = name.name().and_then(|found| name.parser.expect_token(&Token::EOF).map(|_| found));
    whole.map_err(|refused| error::from_parser(refused, source.end()))
}

/// A statement that is being read.
struct StatementParser<'a> {
    parser: Parser<'a>,
    source: Source<'a>,
    hints: Hints,
}

type Parsed<T> = Result<T, ParserError>;

impl StatementParser<'_> {
    fn whole(&mut self) -> Parsed<Command> {
        known::refuse_anywhere(&self.parser)?;
        let command = self.command()?;
        let _ = self.parser.consume_token(&Token::SemiColon);
        let rest = self.parser.peek_token();
        if rest.token != Token::EOF {
            return self.parser.expected("the end of the statement", rest);
        }
        Ok(command)
    }

    fn command(&mut self) -> Parsed<Command> {
        known::refuse_statement(&self.parser)?;
        let token = self.parser.peek_token();
        let Token::Word(word) = &token.token else { return self.query_command() };
        match word.value.to_uppercase().as_str() {
            "SELECT" | "WITH" | "VALUES" | "TABLE" => self.query_command(),
            "INSERT" => Ok(Command::Insert(self.insert()?)),
            "EXECUTE" => self.execute(),
            "BEGIN" => self.old_statement_set(),
            "CREATE" => self.create(),
            "REPLACE" => self.replace_table(),
            "DROP" => self.drop_command(),
            "ALTER" => self.alter(),
            "USE" => self.use_command(),
            "SET" => self.set(),
            "RESET" => self.reset(),
            "SHOW" => self.show(),
            "DESCRIBE" | "DESC" => self.describe(),
            "EXPLAIN" => self.explain(),
            "STOP" => self.stop_job(),
            "HELP" => self.bare(Command::Help),
            "CLEAR" => self.bare(Command::Clear),
            "QUIT" | "EXIT" => self.bare(Command::Quit),
            _ => known::no_statement(&self.parser),
        }
    }

    fn bare(&mut self, command: Command) -> Parsed<Command> {
        self.parser.next_token();
        Ok(command)
    }

    /// `STOP JOB 'id' [WITH SAVEPOINT [WITH DRAIN]]`
    fn stop_job(&mut self) -> Parsed<Command> {
        self.expect(&["STOP", "JOB"])?;
        let job = self.job_id()?;
        let mode = match self.take(&["WITH", "SAVEPOINT"]) {
            true => StopMode::Savepoint { drain: self.take(&["WITH", "DRAIN"]) },
            false => StopMode::Cancel,
        };
        Ok(Command::StopJob(job, mode))
    }

    pub(super) fn job_id(&mut self) -> Parsed<thalweg_graph::JobId> {
        let token = self.parser.peek_token();
        match self.parser.parse_literal_string()?.parse() {
            Ok(job) => Ok(job),
            Err(_) => self.parser.expected("the id of a job, 32 hexadecimal digits", token),
        }
    }

    fn use_command(&mut self) -> Parsed<Command> {
        self.expect(&["USE"])?;
        if self.take(&["CATALOG"]) {
            return Ok(Command::UseCatalog(self.name()?));
        }
        Ok(Command::UseDatabase(self.name()?))
    }

    fn take(&mut self, words: &[&str]) -> bool {
        take_words(&mut self.parser, words)
    }

    fn peek(&self, words: &[&str]) -> bool {
        peek_words(&self.parser, words)
    }

    fn expect(&mut self, words: &[&str]) -> Parsed<()> {
        expect_words(&mut self.parser, words)
    }

    fn expected<T>(&self, what: &str) -> Parsed<T> {
        self.parser.expected(what, self.parser.peek_token())
    }

    /// `[[catalog.]database.]object`
    fn name(&mut self) -> Parsed<Name> {
        let place = position(self.parser.peek_token_ref());
        let mut parts = vec![self.parser.parse_identifier()?.value];
        while self.parser.consume_token(&Token::Period) {
            parts.push(self.parser.parse_identifier()?.value);
        }
        Ok(Name { parts, position: place })
    }

    /// One identifier.
    fn identifier(&mut self) -> Parsed<Name> {
        let place = position(self.parser.peek_token_ref());
        Ok(Name { parts: vec![self.parser.parse_identifier()?.value], position: place })
    }

    /// `(a, b, ...)`
    fn identifiers(&mut self) -> Parsed<Vec<Name>> {
        self.list(|parser| {
            let place = position(parser.peek_token_ref());
            Ok(Name { parts: vec![parser.parse_identifier()?.value], position: place })
        })
    }

    /// `(item, ...)`
    fn list<T>(&mut self, item: impl FnMut(&mut Parser<'_>) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.parser.expect_token(&Token::LParen)?;
        let items = self.parser.parse_comma_separated(item)?;
        self.parser.expect_token(&Token::RParen)?;
        Ok(items)
    }

    /// `('key' = 'value', ...)`
    fn options(&mut self) -> Parsed<BTreeMap<String, String>> {
        self.parser.expect_token(&Token::LParen)?;
        let mut options = BTreeMap::new();
        while !self.parser.consume_token(&Token::RParen) {
            let token = self.parser.peek_token();
            let key = self.parser.parse_literal_string()?;
            self.parser.expect_token(&Token::Eq)?;
            let value = self.parser.parse_literal_string()?;
            if options.insert(key.clone(), value).is_some() {
                let message = format!("option `{key}` is given twice{}", token.span.start);
                return Err(ParserError::ParserError(message));
            }
            if !self.parser.consume_token(&Token::Comma) {
                self.parser.expect_token(&Token::RParen)?;
                break;
            }
        }
        Ok(options)
    }

    /// `WITH (...)` where it is there.
    fn with_options(&mut self) -> Parsed<BTreeMap<String, String>> {
        if self.take(&["WITH"]) { self.options() } else { Ok(BTreeMap::new()) }
    }

    /// `COMMENT 'text'` where it is there.
    fn comment(&mut self) -> Parsed<Option<String>> {
        if take_word(&mut self.parser, "COMMENT") {
            self.parser.parse_literal_string().map(Some)
        } else {
            Ok(None)
        }
    }

    fn if_not_exists(&mut self) -> bool {
        self.take(&["IF", "NOT", "EXISTS"])
    }

    fn if_exists(&mut self) -> bool {
        self.take(&["IF", "EXISTS"])
    }

    /// Where the next token starts.
    fn here(&self) -> Location {
        self.parser.peek_token_ref().span.start
    }

    /// The text from a place to the end of the last token that was taken.
    fn text_since(&self, start: Location) -> String {
        self.source.between(start, self.parser.get_current_token().span.end).to_owned()
    }

    /// An expression and its text.
    fn expression_text(&mut self) -> Parsed<String> {
        let start = self.here();
        self.parser.parse_expr()?;
        Ok(self.text_since(start))
    }

    fn execute(&mut self) -> Parsed<Command> {
        if self.peek(&["EXECUTE", "INSERT"]) {
            self.expect(&["EXECUTE"])?;
            return Ok(Command::Insert(self.insert()?));
        }
        if self.peek(&["EXECUTE", "STATEMENT", "SET"]) {
            self.expect(&["EXECUTE", "STATEMENT", "SET", "BEGIN"])?;
            return self.statement_set();
        }
        self.expect(&["EXECUTE"])?;
        if peek_word(&self.parser, "SELECT")
            || peek_word(&self.parser, "WITH")
            || peek_word(&self.parser, "VALUES")
        {
            return self.query_command();
        }
        self.expected("`INSERT`, `SELECT`, `STATEMENT SET` or `PLAN` after `EXECUTE`")
    }

    fn old_statement_set(&mut self) -> Parsed<Command> {
        self.expect(&["BEGIN", "STATEMENT", "SET"])?;
        self.parser.expect_token(&Token::SemiColon)?;
        self.statement_set()
    }

    /// `INSERT ...; INSERT ...; END`
    fn statement_set(&mut self) -> Parsed<Command> {
        let mut inserts = Vec::new();
        while !self.take(&["END"]) {
            if !self.peek(&["INSERT"]) {
                return self.expected("`INSERT` or `END` in a statement set");
            }
            inserts.push(self.insert()?);
            self.parser.expect_token(&Token::SemiColon)?;
        }
        if inserts.is_empty() {
            let at = position_of(self.parser.get_current_token().span.start);
            let message =
                format!("a statement set needs an `INSERT` at Line: {}, Column: {}", at.line, at.column);
            return Err(ParserError::ParserError(message));
        }
        Ok(Command::StatementSet(inserts))
    }
}

#[cfg(test)]
mod tests;
