//! `CREATE` and `DROP` of everything but tables.

use super::{Parsed, StatementParser};
use crate::sql::command::{Command, CreateCatalog, CreateDatabase, CreateView, Drop, DropKind};

impl StatementParser<'_> {
    pub(super) fn create(&mut self) -> Parsed<Command> {
        self.expect(&["CREATE"])?;
        let replace = self.take(&["OR", "REPLACE"]);
        let temporary = self.take(&["TEMPORARY"]);
        if self.take(&["TABLE"]) {
            return self.create_table(temporary, replace);
        }
        if replace {
            return self.expected("`TABLE` after `CREATE OR REPLACE`");
        }
        if self.take(&["VIEW"]) {
            return self.create_view(temporary);
        }
        if temporary {
            return self.expected("`TABLE` or `VIEW` after `TEMPORARY`");
        }
        if self.take(&["DATABASE"]) {
            let (if_not_exists, name) = (self.if_not_exists(), self.name()?);
            let (comment, options) = (self.comment()?, self.with_options()?);
            return Ok(Command::CreateDatabase(CreateDatabase { name, if_not_exists, comment, options }));
        }
        if self.take(&["CATALOG"]) {
            let (if_not_exists, name) = (self.if_not_exists(), self.identifier()?);
            let (comment, options) = (self.comment()?, self.with_options()?);
            return Ok(Command::CreateCatalog(CreateCatalog { name, if_not_exists, comment, options }));
        }
        self.expected("`TABLE`, `VIEW`, `DATABASE` or `CATALOG` after `CREATE`")
    }

    /// `REPLACE TABLE ... AS`, the older form.
    pub(super) fn replace_table(&mut self) -> Parsed<Command> {
        self.expect(&["REPLACE", "TABLE"])?;
        self.create_table(false, true)
    }

    fn create_view(&mut self, temporary: bool) -> Parsed<Command> {
        let if_not_exists = self.if_not_exists();
        let name = self.name()?;
        let has_columns = self.parser.peek_token_ref().token == sqlparser::tokenizer::Token::LParen;
        let columns = if has_columns { self.identifiers()? } else { Vec::new() };
        let comment = self.comment()?;
        self.expect(&["AS"])?;
        let start = self.here();
        let query = self.query()?;
        let text = self.text_since(start);
        let view = CreateView { name, columns, temporary, if_not_exists, comment, text, query };
        Ok(Command::CreateView(Box::new(view)))
    }

    pub(super) fn drop_command(&mut self) -> Parsed<Command> {
        self.expect(&["DROP"])?;
        let temporary = self.take(&["TEMPORARY"]);
        let kind = if self.take(&["TABLE"]) {
            DropKind::Table
        } else if self.take(&["VIEW"]) {
            DropKind::View
        } else if !temporary && self.take(&["DATABASE"]) {
            DropKind::Database
        } else if !temporary && self.take(&["CATALOG"]) {
            DropKind::Catalog
        } else {
            return self.expected("`TABLE`, `VIEW`, `DATABASE` or `CATALOG` after `DROP`");
        };
        let if_exists = self.if_exists();
        let name = self.name()?;
        let cascade = kind == DropKind::Database && self.take(&["CASCADE"]);
        if kind == DropKind::Database && !cascade {
            self.take(&["RESTRICT"]);
        }
        Ok(Command::Drop(Drop { kind, name, temporary, if_exists, cascade }))
    }
}
