//! `INSERT INTO | OVERWRITE t [/*+ OPTIONS(..) */] [PARTITION (k = v, ..)] [(columns)] query`.

use sqlparser::tokenizer::Token;

use super::{Parsed, StatementParser};
use crate::{
    catalog::Name,
    sql::{
        command::{Insert, PartitionValue},
        source::position,
    },
};

impl StatementParser<'_> {
    pub(super) fn insert(&mut self) -> Parsed<Insert> {
        self.expect(&["INSERT"])?;
        let overwrite = self.take(&["OVERWRITE"]);
        if !overwrite && !self.take(&["INTO"]) {
            return self.expected("`INTO` or `OVERWRITE`");
        }
        self.take(&["TABLE"]);
        let target = self.name()?;
        let last_word = self.parser.get_current_token().span.start;
        let hint = self.hints.options.remove(&last_word).map(|hint| hint.options).unwrap_or_default();
        let partition = if self.take(&["PARTITION"]) { self.partition()? } else { Vec::new() };
        let columns = if self.at_column_list() { Some(self.identifiers()?) } else { None };
        let query = self.query()?;
        Ok(Insert { target, overwrite, hint, partition, columns, query })
    }

    /// `(a, b)` rather than a query in brackets.
    fn at_column_list(&self) -> bool {
        let [bracket, word, after] =
            [0, 1, 2].map(|position| &self.parser.peek_nth_token_ref(position).token);
        *bracket == Token::LParen
            && matches!(word, Token::Word(_))
            && matches!(after, Token::Comma | Token::RParen)
    }

    /// `(k = v, ...)`
    fn partition(&mut self) -> Parsed<Vec<PartitionValue>> {
        self.list(|parser| {
            let place = position(parser.peek_token_ref());
            let column = Name { parts: vec![parser.parse_identifier()?.value], position: place };
            let value = if parser.consume_token(&Token::Eq) { Some(parser.parse_expr()?) } else { None };
            Ok(PartitionValue { column, value })
        })
    }
}
