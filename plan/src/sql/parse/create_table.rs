//! `CREATE TABLE`: columns, distribution, partitioning, options, `LIKE`, `AS`.

use sqlparser::{parser::ParserError, tokenizer::Token};

use super::{Parsed, StatementParser};
use crate::{
    catalog::{Distribution, LikeFeature, LikeOption, LikeStrategy, Name, PrimaryKey, Table},
    sql::command::{Command, CreateTable, TablePart},
    words::take_one_of,
};

impl StatementParser<'_> {
    /// After `CREATE [OR REPLACE] [TEMPORARY] TABLE`.
    pub(super) fn create_table(&mut self, temporary: bool, replace: bool) -> Parsed<Command> {
        let if_not_exists = self.if_not_exists();
        let name = self.name()?;
        let mut create = CreateTable {
            name,
            table: Table::default(),
            places: Vec::new(),
            temporary,
            if_not_exists,
            replace,
            like: None,
            column_names: Vec::new(),
            query: None,
        };
        if self.at_bare_names() {
            create.column_names = self.identifiers()?;
        } else if self.parser.peek_token_ref().token == Token::LParen {
            for part in self.table_parts()? {
                add_part(&mut create, part)?;
            }
        }
        create.table.comment = self.comment()?;
        create.table.distribution = self.distribution()?;
        if self.take(&["PARTITIONED", "BY"]) {
            create.table.partition_keys = last_parts(self.identifiers()?);
        }
        create.table.options = self.with_options()?;
        self.like_or_as(&mut create)?;
        if replace && create.query.is_none() {
            return self.expected("`AS` and a query: a table is replaced with its content");
        }
        Ok(Command::CreateTable(Box::new(create)))
    }

    /// `(a, b)`: the columns of CTAS by name only.
    fn at_bare_names(&self) -> bool {
        let [bracket, word, after] =
            [0, 1, 2].map(|position| &self.parser.peek_nth_token_ref(position).token);
        *bracket == Token::LParen
            && matches!(word, Token::Word(_))
            && matches!(after, Token::Comma | Token::RParen)
    }

    fn distribution(&mut self) -> Parsed<Option<Distribution>> {
        if !self.take(&["DISTRIBUTED"]) {
            return Ok(None);
        }
        let mut distribution = Distribution::default();
        if self.take(&["BY"]) {
            distribution.algorithm = take_one_of(&mut self.parser, &["HASH", "RANGE"]).map(str::to_owned);
            distribution.columns = last_parts(self.identifiers()?);
        }
        if self.take(&["INTO"]) {
            distribution.buckets = Some(self.parser.parse_literal_uint()?);
            self.expect(&["BUCKETS"])?;
        }
        if distribution == Distribution::default() {
            return self.expected("`BY` or `INTO` after `DISTRIBUTED`");
        }
        Ok(Some(distribution))
    }

    fn like_or_as(&mut self, create: &mut CreateTable) -> Parsed<()> {
        if self.take(&["LIKE"]) {
            let source = self.name()?;
            let options = if self.parser.peek_token_ref().token == Token::LParen {
                self.like_options()?
            } else {
                Vec::new()
            };
            create.like = Some((source, options));
        } else if self.take(&["AS"]) {
            create.query = Some(self.query()?);
        }
        Ok(())
    }

    fn like_options(&mut self) -> Parsed<Vec<LikeOption>> {
        self.parser.expect_token(&Token::LParen)?;
        let mut options = Vec::new();
        while !self.parser.consume_token(&Token::RParen) {
            options.push(self.like_option()?);
            let _ = self.parser.consume_token(&Token::Comma);
        }
        Ok(options)
    }

    fn like_option(&mut self) -> Parsed<LikeOption> {
        let strategy = match take_one_of(&mut self.parser, &["INCLUDING", "EXCLUDING", "OVERWRITING"]) {
            Some("INCLUDING") => LikeStrategy::Including,
            Some("EXCLUDING") => LikeStrategy::Excluding,
            Some(_) => LikeStrategy::Overwriting,
            None => return self.expected("`INCLUDING`, `EXCLUDING` or `OVERWRITING`"),
        };
        let token = self.parser.peek_token();
        let features = [
            ("ALL", LikeFeature::All),
            ("CONSTRAINTS", LikeFeature::Constraints),
            ("DISTRIBUTION", LikeFeature::Distribution),
            ("GENERATED", LikeFeature::Generated),
            ("METADATA", LikeFeature::Metadata),
            ("OPTIONS", LikeFeature::Options),
            ("PARTITIONS", LikeFeature::Partitions),
            ("WATERMARKS", LikeFeature::Watermarks),
        ];
        let Some((_, feature)) = features.into_iter().find(|(word, _)| self.take(&[word])) else {
            return self.expected("`ALL`, `CONSTRAINTS`, `DISTRIBUTION`, `GENERATED`, `METADATA`, `OPTIONS`, `PARTITIONS` or `WATERMARKS`");
        };
        let once =
            [LikeFeature::All, LikeFeature::Constraints, LikeFeature::Distribution, LikeFeature::Partitions];
        if strategy == LikeStrategy::Overwriting && once.contains(&feature) {
            return self.parser.expected("`INCLUDING` or `EXCLUDING`: this cannot be overwritten", token);
        }
        Ok(LikeOption { strategy, feature })
    }
}

fn last_parts(names: Vec<Name>) -> Vec<String> {
    names.into_iter().map(|name| name.last().to_owned()).collect()
}

fn add_part(create: &mut CreateTable, part: TablePart) -> Parsed<()> {
    let table = &mut create.table;
    match part {
        TablePart::Column { column, position, primary_key, .. } => {
            if table.column(&column.name).is_some() {
                return Err(twice(&format!("column `{}`", column.name), position));
            }
            if primary_key {
                let key = PrimaryKey { name: None, columns: vec![column.name.clone()] };
                set_once(&mut table.primary_key, key, "a primary key", position)?;
            }
            table.columns.push(column);
            create.places.push(position);
            Ok(())
        }
        TablePart::PrimaryKey(key, position) => {
            set_once(&mut table.primary_key, key, "a primary key", position)
        }
        TablePart::Watermark(watermark, position) => {
            set_once(&mut table.watermark, watermark, "a watermark", position)
        }
    }
}

fn set_once<T>(
    slot: &mut Option<T>,
    value: T,
    what: &str,
    position: thalweg_graph::sql_error::Position,
) -> Parsed<()> {
    if slot.replace(value).is_some() {
        return Err(twice(what, position));
    }
    Ok(())
}

fn twice(what: &str, at: thalweg_graph::sql_error::Position) -> ParserError {
    ParserError::ParserError(format!("{what} is declared twice at Line: {}, Column: {}", at.line, at.column))
}
