//! What stands between the brackets of `CREATE TABLE` and `ALTER TABLE ADD | MODIFY`: columns, keys, watermarks.

use sqlparser::tokenizer::Token;

use super::{Parsed, StatementParser};
use crate::{
    catalog::{ColumnKind, ColumnPlace, PrimaryKey, TableColumn, Watermark},
    sql::{command::TablePart, source::position},
    sql_type::{self, SqlType},
    words::peek_words,
};

/// What is said after a column's type.
struct Attributes {
    nullable: bool,
    primary_key: bool,
    comment: Option<String>,
}

impl StatementParser<'_> {
    /// `(part, ...)`
    pub(super) fn table_parts(&mut self) -> Parsed<Vec<TablePart>> {
        self.parser.expect_token(&Token::LParen)?;
        let mut parts = vec![self.table_part()?];
        while self.parser.consume_token(&Token::Comma) {
            parts.push(self.table_part()?);
        }
        self.parser.expect_token(&Token::RParen)?;
        Ok(parts)
    }

    /// A column, a primary key or a watermark.
    pub(super) fn table_part(&mut self) -> Parsed<TablePart> {
        let place = position(self.parser.peek_token_ref());
        if self.peek(&["WATERMARK", "FOR"]) {
            return Ok(TablePart::Watermark(self.watermark()?, place));
        }
        let named =
            self.peek(&["CONSTRAINT"]) && matches!(self.parser.peek_nth_token_ref(1).token, Token::Word(_));
        if self.peek(&["PRIMARY", "KEY"]) || named && self.constraint_follows() {
            return Ok(TablePart::PrimaryKey(self.primary_key()?, place));
        }
        self.column()
    }

    fn constraint_follows(&self) -> bool {
        let words = ["PRIMARY", "UNIQUE"];
        words.iter().any(|word| crate::words::is_word(self.parser.peek_nth_token_ref(2), word))
    }

    fn watermark(&mut self) -> Parsed<Watermark> {
        self.expect(&["WATERMARK", "FOR"])?;
        let column = self.name()?.to_string();
        self.expect(&["AS"])?;
        Ok(Watermark { column, expression: self.expression_text()? })
    }

    fn primary_key(&mut self) -> Parsed<PrimaryKey> {
        let name = if self.take(&["CONSTRAINT"]) { Some(self.identifier()?.parts.remove(0)) } else { None };
        self.expect(&["PRIMARY", "KEY"])?;
        let columns = self.identifiers()?.into_iter().map(|column| column.last().to_owned()).collect();
        self.not_enforced()?;
        Ok(PrimaryKey { name, columns })
    }

    fn not_enforced(&mut self) -> Parsed<()> {
        if self.take(&["NOT", "ENFORCED"]) {
            return Ok(());
        }
        self.expected("`NOT ENFORCED`: a primary key is a promise about the data, nothing checks it")
    }

    fn column(&mut self) -> Parsed<TablePart> {
        let place = position(self.parser.peek_token_ref());
        let name = self.identifier()?.parts.remove(0);
        if self.take(&["AS"]) {
            let kind = ColumnKind::Computed { expression: self.expression_text()? };
            let comment = self.comment()?;
            return self.placed(TableColumn { name, kind, comment }, place, false);
        }
        let sql_type = sql_type::next_type(&mut self.parser)?;
        let mut nullable = !self.take(&["NOT", "NULL"]);
        if self.take(&["METADATA"]) {
            let kind = self.metadata(sql_type, nullable)?;
            let comment = self.comment()?;
            return self.placed(TableColumn { name, kind, comment }, place, false);
        }
        let attributes = self.attributes()?;
        nullable &= attributes.nullable && !attributes.primary_key;
        let kind = ColumnKind::Physical { sql_type, nullable };
        self.placed(TableColumn { name, kind, comment: attributes.comment }, place, attributes.primary_key)
    }

    fn metadata(&mut self, sql_type: SqlType, nullable: bool) -> Parsed<ColumnKind> {
        let key = if self.take(&["FROM"]) { Some(self.parser.parse_literal_string()?) } else { None };
        Ok(ColumnKind::Metadata { sql_type, nullable, key, is_virtual: self.take(&["VIRTUAL"]) })
    }

    fn attributes(&mut self) -> Parsed<Attributes> {
        let mut attributes = Attributes { nullable: true, primary_key: false, comment: None };
        loop {
            if self.take(&["NOT", "NULL"]) {
                attributes.nullable = false;
            } else if self.peek(&["COMMENT"]) {
                attributes.comment = self.comment()?;
            } else if self.peek(&["PRIMARY", "KEY"]) || self.peek(&["CONSTRAINT"]) {
                if self.take(&["CONSTRAINT"]) {
                    self.identifier()?;
                }
                self.expect(&["PRIMARY", "KEY"])?;
                self.not_enforced()?;
                attributes.primary_key = true;
            } else if !self.take(&["NULL"]) {
                return Ok(attributes);
            }
        }
    }

    fn placed(
        &mut self,
        column: TableColumn,
        position: thalweg_graph::sql_error::Position,
        primary_key: bool,
    ) -> Parsed<TablePart> {
        let place = if self.take(&["FIRST"]) {
            ColumnPlace::First
        } else if peek_words(&self.parser, &["AFTER"]) {
            self.expect(&["AFTER"])?;
            ColumnPlace::After(self.identifier()?.parts.remove(0))
        } else {
            ColumnPlace::Unsaid
        };
        Ok(TablePart::Column { column, position, place, primary_key })
    }
}
