//! Queries: sqlparser's own grammar, with Flink's hints, and without what other dialects add to it.

use std::collections::BTreeSet;

use sqlparser::{
    ast::{self, LimitClause},
    parser::ParserError,
};

use super::{Parsed, StatementParser};
use crate::sql::{
    command::{Command, Query},
    hint::{self, Hints},
    refuse,
};

impl StatementParser<'_> {
    pub(super) fn query_command(&mut self) -> Parsed<Command> {
        Ok(Command::Query(self.query()?))
    }

    /// A query, and the hints that stand in it.
    pub(super) fn query(&mut self) -> Parsed<Query> {
        let start = self.here();
        let mut ast = self.parser.parse_query()?;
        let end = self.parser.get_current_token().span.end;
        fetch_as_limit(&mut ast);
        let places = refuse::unsupported_parts(&ast)?;
        let mut hints = Hints::default();
        self.hints.options.retain(|place, hint| {
            let inside = (start..end).contains(place);
            if inside {
                hints.options.insert(*place, hint.clone());
            }
            !inside
        });
        hints.joins = std::mem::take(&mut self.hints.joins);
        check_places(&hints, &places)?;
        Ok(Query { ast, hints })
    }
}

fn check_places(hints: &Hints, places: &BTreeSet<sqlparser::tokenizer::Location>) -> Parsed<()> {
    match hints.options.iter().find(|(place, _)| !places.contains(place)) {
        None => Ok(()),
        Some((_, hint)) => {
            let error = hint::misplaced(hint.position);
            let at = format!(" at Line: {}, Column: {}", hint.position.line, hint.position.column);
            Err(ParserError::ParserError(error.message + &at))
        }
    }
}

/// `FETCH FIRST n ROWS ONLY` is `LIMIT n`, which DataFusion knows.
fn fetch_as_limit(query: &mut ast::Query) {
    let plain = |fetch: &mut ast::Fetch| !fetch.with_ties && !fetch.percent;
    let Some(fetch) = query.fetch.take_if(plain) else { return };
    let limit = fetch.quantity.or_else(|| Some(ast::Expr::value(ast::Value::Number("1".to_owned(), false))));
    query.limit_clause = Some(match query.limit_clause.take() {
        Some(LimitClause::LimitOffset { offset, limit_by, .. }) => {
            LimitClause::LimitOffset { limit, offset, limit_by }
        }
        _ => LimitClause::LimitOffset { limit, offset: None, limit_by: Vec::new() },
    });
}
