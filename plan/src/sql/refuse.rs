//! What a query says and nothing here runs yet. DataFusion ignores some of it silently, so it must be refused by name.

use std::{collections::BTreeSet, ops::ControlFlow};

use sqlparser::{
    ast::{Expr, Function, ObjectName, Query, Select, Spanned, TableFactor, TableVersion, Visit, Visitor},
    parser::ParserError,
    tokenizer::{Location, Span},
};

use crate::words::NOT_YET;

/// Functions of Flink that stand in `FROM` and are not run yet.
const TABLE_FUNCTIONS: &[&str] =
    &["ML_PREDICT", "ML_EVALUATE", "VECTOR_SEARCH", "FROM_CHANGELOG", "TO_CHANGELOG"];

/// Window functions over tables.
const WINDOW_FUNCTIONS: &[&str] = &["TUMBLE", "HOP", "CUMULATE", "SESSION"];

/// Refuses what is not run yet; returns the places of the names of all tables, for hints.
pub fn unsupported_parts(query: &Query) -> Result<BTreeSet<Location>, ParserError> {
    let mut finder = Finder { names: BTreeSet::new() };
    match query.visit(&mut finder) {
        ControlFlow::Continue(()) => Ok(finder.names),
        ControlFlow::Break(refused) => Err(refused),
    }
}

struct Finder {
    names: BTreeSet<Location>,
}

impl Visitor for Finder {
    type Break = ParserError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<ParserError> {
        let refused = [
            (query.fetch.is_some(), "`FETCH` with `TIES` or `PERCENT`"),
            (!query.locks.is_empty(), "`FOR UPDATE`"),
            (query.for_clause.is_some(), "`FOR XML | JSON`"),
            (query.settings.is_some(), "`SETTINGS`"),
            (query.format_clause.is_some(), "`FORMAT`"),
            (!query.pipe_operators.is_empty(), "the pipe operator"),
        ];
        refuse_first(&refused, query.span())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<ParserError> {
        let refused = [
            (select.top.is_some(), "`TOP`"),
            (select.into.is_some(), "`SELECT INTO`"),
            (!select.lateral_views.is_empty(), "`LATERAL VIEW`"),
            (select.prewhere.is_some(), "`PREWHERE`"),
            (!select.connect_by.is_empty(), "`CONNECT BY`"),
            (!select.cluster_by.is_empty(), "`CLUSTER BY`"),
            (!select.distribute_by.is_empty(), "`DISTRIBUTE BY`"),
            (!select.sort_by.is_empty(), "`SORT BY`"),
            (select.value_table_mode.is_some(), "`SELECT AS STRUCT | VALUE`"),
        ];
        refuse_first(&refused, select.select_token.0.span)
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<ParserError> {
        self.names.extend(last_location(name));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<ParserError> {
        match table_factor_refusal(factor) {
            Some(what) => refuse(&what, factor.span()),
            None => ControlFlow::Continue(()),
        }
    }
}

/// The place of a name's last part, after which hints stand.
pub fn last_location(name: &ObjectName) -> Option<Location> {
    name.0.last().map(|part| part.span().start)
}

fn table_factor_refusal(factor: &TableFactor) -> Option<String> {
    match factor {
        TableFactor::Table { version: Some(TableVersion::ForSystemTimeAsOf(_)), args: Some(_), .. } => {
            Some("`FOR SYSTEM_TIME AS OF` after a function".to_owned())
        }
        TableFactor::Table { version: Some(version), .. }
            if !matches!(version, TableVersion::ForSystemTimeAsOf(_)) =>
        {
            Some(format!("`{version}`"))
        }
        TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
            Some("`TABLESAMPLE`".to_owned())
        }
        TableFactor::Table { with_hints, index_hints, .. }
            if !with_hints.is_empty() || !index_hints.is_empty() =>
        {
            Some("a hint by `WITH`".to_owned())
        }
        TableFactor::Table { partitions, .. } if !partitions.is_empty() => {
            Some("`PARTITION` after a table".to_owned())
        }
        TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
            table_function(name)
        }
        TableFactor::TableFunction { expr: Expr::Function(Function { name, .. }), .. } => {
            known_name(name, WINDOW_FUNCTIONS)
                .is_none()
                .then(|| table_function(name).unwrap_or_else(|| "`TABLE(...)`".to_owned()))
        }
        TableFactor::TableFunction { .. } => Some("`TABLE(...)`".to_owned()),
        TableFactor::Pivot { .. } => Some("`PIVOT`".to_owned()),
        TableFactor::Unpivot { .. } => Some("`UNPIVOT`".to_owned()),
        TableFactor::MatchRecognize { .. } => Some("`MATCH_RECOGNIZE`".to_owned()),
        TableFactor::JsonTable { .. } | TableFactor::OpenJsonTable { .. } => Some("`JSON_TABLE`".to_owned()),
        TableFactor::XmlTable { .. } => Some("`XMLTABLE`".to_owned()),
        TableFactor::SemanticView { .. } => Some("`SEMANTIC_VIEW`".to_owned()),
        _ => None,
    }
}

fn table_function(name: &ObjectName) -> Option<String> {
    if known_name(name, &["TABLE"]).is_some() {
        return Some("`LATERAL TABLE(...)`".to_owned());
    }
    known_name(name, TABLE_FUNCTIONS).map(|name| format!("the table function `{name}`"))
}

fn known_name(name: &ObjectName, known: &[&'static str]) -> Option<&'static str> {
    let [part] = &name.0[..] else { return None };
    let ident = part.as_ident().filter(|ident| ident.quote_style.is_none())?;
    known.iter().copied().find(|known| known.eq_ignore_ascii_case(&ident.value))
}

fn refuse_first(refused: &[(bool, &str)], span: Span) -> ControlFlow<ParserError> {
    match refused.iter().find(|(said, _)| *said) {
        Some((_, what)) => refuse(what, span),
        None => ControlFlow::Continue(()),
    }
}

fn refuse(what: &str, span: Span) -> ControlFlow<ParserError> {
    ControlFlow::Break(ParserError::ParserError(format!("{what} {NOT_YET}{}", span.start)))
}
