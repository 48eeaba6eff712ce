//! `DESCRIBE` and `EXPLAIN`.

use sqlparser::tokenizer::Token;

use super::{Parsed, StatementParser};
use crate::{
    sql::command::{Command, ContainerKind, Explain},
    words::take_one_of,
};

/// What `EXPLAIN` can add.
const DETAILS: &[&str] = &["ESTIMATED_COST", "CHANGELOG_MODE", "JSON_EXECUTION_PLAN", "PLAN_ADVICE"];

impl StatementParser<'_> {
    pub(super) fn describe(&mut self) -> Parsed<Command> {
        if !self.take(&["DESC"]) {
            self.expect(&["DESCRIBE"])?;
        }
        for (word, kind) in [("CATALOG", ContainerKind::Catalog), ("DATABASE", ContainerKind::Database)] {
            let names_follow = matches!(self.parser.peek_nth_token_ref(1).token, Token::Word(_));
            if self.peek(&[word]) && names_follow {
                self.parser.next_token();
                let extended = self.take(&["EXTENDED"]);
                return Ok(Command::DescribeContainer { kind, extended, name: self.name()? });
            }
        }
        if self.peek(&["FUNCTION"]) && matches!(self.parser.peek_nth_token_ref(1).token, Token::Word(_)) {
            self.parser.next_token();
            let extended = self.take(&["EXTENDED"]);
            return Ok(Command::DescribeFunction { extended, name: self.name()? });
        }
        if matches!(self.parser.peek_nth_token_ref(1).token, Token::Word(_)) {
            self.take(&["EXTENDED"]);
        }
        Ok(Command::Describe(self.name()?))
    }

    pub(super) fn explain(&mut self) -> Parsed<Command> {
        self.expect(&["EXPLAIN"])?;
        if self.take(&["WATERMARK"]) {
            return Ok(Command::ExplainWatermark(self.job_id()?));
        }
        let mut details = Vec::new();
        let mut upgrade = None;
        if self.take(&["UPGRADE"]) {
            upgrade = Some(self.parser.parse_literal_string()?);
            self.expect(&["FOR"])?;
        } else if !self.take(&["PLAN", "FOR"]) {
            while let Some(detail) = take_one_of(&mut self.parser, DETAILS) {
                details.push(detail);
                if !self.parser.consume_token(&Token::Comma) {
                    break;
                }
            }
        }
        let token = self.parser.peek_token();
        let command = if self.peek(&["STATEMENT", "SET"]) {
            self.expect(&["STATEMENT", "SET", "BEGIN"])?;
            self.statement_set()?
        } else {
            self.command()?
        };
        let is_planned = match &command {
            Command::Query(_) | Command::Insert(_) | Command::StatementSet(_) => true,
            Command::CreateTable(create) => create.query.is_some(),
            _ => false,
        };
        if !is_planned {
            return self.parser.expected("a query, `INSERT` or a statement set after `EXPLAIN`", token);
        }
        Ok(Command::Explain(Explain { details, upgrade, command: Box::new(command) }))
    }
}
