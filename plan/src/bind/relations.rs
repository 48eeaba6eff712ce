//! The tables that a query names, and those that it names with options of their own.

use std::{collections::BTreeMap, ops::ControlFlow};

use sqlparser::ast::{
    Expr, Ident, ObjectName, Query, Spanned, TableAlias, TableFactor, TableVersion, Visit, VisitMut, Visitor,
    VisitorMut,
};
use thalweg_graph::sql_error::Position;

use super::window_functions::table_argument;
use crate::{
    catalog::Name,
    sql::{
        hint::{Hints, TableHint},
        refuse::last_location,
    },
};

/// A mention of a table that is read in a way of its own: the name that stands for it in the query, and what it means.
pub struct Hinted {
    /// The name that stands for it.
    pub stand_in: String,
    /// The table.
    pub name: Name,
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// The time that it is read as of.
    pub as_of: Option<Expr>,
}

/// Gives each mention of a table with a hint or a time a name of its own, so that other mentions are read without.
pub fn separate_hinted(query: &mut Query, hints: &Hints) -> Vec<Hinted> {
    let mut separator = Separator { hints, found: Vec::new() };
    let _: ControlFlow<()> = query.visit(&mut separator);
    separator.found
}

struct Separator<'a> {
    hints: &'a Hints,
    found: Vec<Hinted>,
}

impl VisitorMut for Separator<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, args: None, version, .. } = factor {
            let hint = last_location(name).and_then(|place| self.hints.options.get(&place));
            let as_of = match version.take() {
                Some(TableVersion::ForSystemTimeAsOf(time)) => Some(time),
                other => {
                    *version = other;
                    None
                }
            };
            if hint.is_some() || as_of.is_some() {
                self.separate(name, alias, hint, as_of);
            }
        }
        ControlFlow::Continue(())
    }
}

impl Separator<'_> {
    fn separate(
        &mut self,
        name: &mut ObjectName,
        alias: &mut Option<TableAlias>,
        hint: Option<&TableHint>,
        as_of: Option<Expr>,
    ) {
        let meant = to_name(name);
        let span = name.span();
        if alias.is_none() {
            let own = Ident::with_quote_and_span('`', span, meant.last());
            *alias = Some(TableAlias { explicit: true, name: own, columns: Vec::new(), at: None });
        }
        let stand_in = format!("__hinted_{}", self.found.len());
        *name = ObjectName::from(vec![Ident::with_quote_and_span('`', span, stand_in.clone())]);
        let options = hint.map(|hint| hint.options.clone()).unwrap_or_default();
        self.found.push(Hinted { stand_in, name: meant, options, as_of });
    }
}

/// Every name that stands where a table can, once.
pub fn references(query: &Query) -> Vec<Name> {
    let mut collector = Collector { found: Vec::new() };
    let _: ControlFlow<()> = query.visit(&mut collector);
    collector.found
}

struct Collector {
    found: Vec<Name>,
}

impl Visitor for Collector {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.add(relation);
        ControlFlow::Continue(())
    }

    /// `TABLE t` as the argument of a table function.
    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Some(table) = table_argument(expr) {
            self.add(&table);
        }
        ControlFlow::Continue(())
    }
}

impl Collector {
    fn add(&mut self, relation: &ObjectName) {
        let name = to_name(relation);
        if !self.found.iter().any(|known| known.parts == name.parts) {
            self.found.push(name);
        }
    }
}

/// The names that `WITH` clauses give, wherever they stand.
pub fn with_names(query: &Query) -> Vec<String> {
    let mut collector = WithNames { found: Vec::new() };
    let _: ControlFlow<()> = query.visit(&mut collector);
    collector.found
}

struct WithNames {
    found: Vec<String>,
}

impl Visitor for WithNames {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.found.extend(tables.map(|table| table.alias.name.value.clone()));
        ControlFlow::Continue(())
    }
}

fn to_name(name: &ObjectName) -> Name {
    let start = name.span().start;
    Name {
        parts: name.0.iter().filter_map(|part| part.as_ident()).map(|ident| ident.value.clone()).collect(),
        position: Position { line: start.line, column: start.column },
    }
}
