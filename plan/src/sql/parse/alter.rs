//! `ALTER TABLE | VIEW | DATABASE | CATALOG`.

use sqlparser::tokenizer::Token;

use super::{Parsed, StatementParser};
use crate::{
    sql::command::{
        AlterCatalogAction, AlterTable, AlterTableAction, AlterView, AlterViewAction, Command, TablePart,
    },
    words::not_yet,
};

impl StatementParser<'_> {
    pub(super) fn alter(&mut self) -> Parsed<Command> {
        self.expect(&["ALTER"])?;
        if self.take(&["TABLE"]) {
            let if_exists = self.if_exists();
            let name = self.name()?;
            return Ok(Command::AlterTable(AlterTable {
                name,
                if_exists,
                action: self.alter_table_action()?,
            }));
        }
        if self.take(&["VIEW"]) {
            let name = self.name()?;
            return Ok(Command::AlterView(AlterView { name, action: self.alter_view_action()? }));
        }
        if self.take(&["DATABASE"]) {
            let name = self.name()?;
            self.expect(&["SET"])?;
            return Ok(Command::AlterDatabase(name, self.options()?));
        }
        if self.take(&["CATALOG"]) {
            let name = self.identifier()?;
            return Ok(Command::AlterCatalog(name, self.alter_catalog_action()?));
        }
        self.expected("`TABLE`, `VIEW`, `DATABASE` or `CATALOG` after `ALTER`")
    }

    fn alter_table_action(&mut self) -> Parsed<AlterTableAction> {
        if self.take(&["RENAME", "TO"]) {
            return Ok(AlterTableAction::Rename(self.name()?));
        }
        if self.take(&["RENAME"]) {
            let from = self.name()?;
            self.expect(&["TO"])?;
            return Ok(AlterTableAction::RenameColumn(from, self.identifier()?.parts.remove(0)));
        }
        if self.take(&["SET"]) {
            return Ok(AlterTableAction::Set(self.options()?));
        }
        if self.take(&["RESET"]) {
            return Ok(AlterTableAction::Reset(self.keys()?));
        }
        for word in ["PARTITION", "DISTRIBUTION"] {
            if self.peek(&["ADD", word]) || self.peek(&["DROP", word]) || self.peek(&["MODIFY", word]) {
                let what = format!("`ALTER TABLE ... {word}`");
                return Err(not_yet(&what, self.parser.peek_token_ref()));
            }
        }
        if self.take(&["ADD"]) {
            return Ok(AlterTableAction::Add(self.one_or_more_parts()?));
        }
        if self.take(&["MODIFY"]) {
            return Ok(AlterTableAction::Modify(self.one_or_more_parts()?));
        }
        if self.take(&["DROP"]) {
            return self.alter_table_drop();
        }
        self.expected("`RENAME`, `SET`, `RESET`, `ADD`, `MODIFY` or `DROP`")
    }

    fn one_or_more_parts(&mut self) -> Parsed<Vec<TablePart>> {
        if self.parser.peek_token_ref().token == Token::LParen {
            return self.table_parts();
        }
        Ok(vec![self.table_part()?])
    }

    fn alter_table_drop(&mut self) -> Parsed<AlterTableAction> {
        if self.take(&["PRIMARY", "KEY"]) {
            return Ok(AlterTableAction::DropPrimaryKey);
        }
        if self.take(&["CONSTRAINT"]) {
            self.identifier()?;
            return Ok(AlterTableAction::DropPrimaryKey);
        }
        if self.take(&["WATERMARK"]) {
            return Ok(AlterTableAction::DropWatermark);
        }
        if self.parser.peek_token_ref().token == Token::LParen {
            return Ok(AlterTableAction::DropColumns(self.identifiers()?));
        }
        Ok(AlterTableAction::DropColumns(vec![self.identifier()?]))
    }

    fn alter_view_action(&mut self) -> Parsed<AlterViewAction> {
        if self.take(&["RENAME", "TO"]) {
            return Ok(AlterViewAction::Rename(self.name()?));
        }
        if !self.take(&["AS"]) {
            return self.expected("`RENAME TO` or `AS`");
        }
        let start = self.here();
        let query = self.query()?;
        Ok(AlterViewAction::Query { text: self.text_since(start), query })
    }

    fn alter_catalog_action(&mut self) -> Parsed<AlterCatalogAction> {
        if self.take(&["SET"]) {
            return Ok(AlterCatalogAction::Set(self.options()?));
        }
        if self.take(&["RESET"]) {
            return Ok(AlterCatalogAction::Reset(self.keys()?));
        }
        match self.comment()? {
            Some(comment) => Ok(AlterCatalogAction::Comment(comment)),
            None => self.expected("`SET`, `RESET` or `COMMENT`"),
        }
    }

    /// `('key', ...)`
    fn keys(&mut self) -> Parsed<Vec<String>> {
        self.list(|parser| parser.parse_literal_string())
    }
}
