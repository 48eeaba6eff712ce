//! Names of a query's columns where the query gives none, or one twice: as Flink has them.

use std::{collections::HashSet, ops::ControlFlow};

use datafusion::logical_expr::{Expr as LogicalExpr, LogicalPlan, LogicalPlanBuilder};
use sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, SetExpr, VisitMut, VisitorMut, visit_expressions,
};
use thalweg_graph::SqlError;

use crate::error;

/// Gives the second and later columns of the same name in a `SELECT` names of their own: `SELECT a, a` has `a` and `a0`.
pub fn separate_duplicates(query: &mut Query) {
    let _: ControlFlow<()> = query.visit(&mut Separator);
}

struct Separator;

impl VisitorMut for Separator {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let mut taken: HashSet<String> = select.projection.iter().filter_map(said_name).collect();
        let mut seen = HashSet::new();
        for (position, item) in select.projection.iter_mut().enumerate() {
            let SelectItem::UnnamedExpr(expr) = item else { continue };
            let is_first = seen.insert(expr.to_string())
                && !matches!(&*expr, Expr::Identifier(name) if taken.contains(&name.value));
            // DataFusion's name does not tell casts and places in arrays, and so may be that of another column.
            if is_first && !hides_parts(expr) {
                continue;
            }
            let base = match simple_name(expr) {
                Some(name) => name.to_owned(),
                None => format!("EXPR${position}"),
            };
            let alias = if is_first && !taken.contains(&base) { base } else { unique(&base, &taken) };
            taken.insert(alias.clone());
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('`', alias) };
        }
        ControlFlow::Continue(())
    }
}

fn hides_parts(expr: &Expr) -> bool {
    let hiding = |part: &Expr| match part {
        Expr::Cast { .. } | Expr::CompoundFieldAccess { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    visit_expressions(expr, hiding).is_break()
}

fn said_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        _ => None,
    }
}

fn unique(base: &str, taken: &HashSet<String>) -> String {
    let numbered = (0..).map(|number| format!("{base}{number}"));
    numbered.into_iter().find(|name| !taken.contains(name)).unwrap_or_default()
}

/// The name of a column that is only mentioned.
fn simple_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(name) => Some(&name.value),
        Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.as_str()),
        _ => None,
    }
}

/// The names of the query's columns, where the text decides them; empty where it does not, as after `*`.
pub fn output_names(query: &Query) -> Vec<String> {
    let mut body = &*query.body;
    let select = loop {
        match body {
            SetExpr::Select(select) => break select,
            SetExpr::Query(query) => body = &query.body,
            SetExpr::SetOperation { left, .. } => body = left,
            _ => return Vec::new(),
        }
    };
    let name = |(position, item): (usize, &SelectItem)| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        SelectItem::UnnamedExpr(expr) => {
            Some(simple_name(expr).map_or_else(|| format!("EXPR${position}"), str::to_owned))
        }
        _ => None,
    };
    select.projection.iter().enumerate().map(name).collect::<Option<_>>().unwrap_or_default()
}

/// The plan with its columns under these names, if there is one for each.
pub fn named(plan: LogicalPlan, names: &[String]) -> Result<LogicalPlan, SqlError> {
    let fields = plan.schema().fields();
    let fits = names.len() == fields.len() && names.iter().collect::<HashSet<_>>().len() == names.len();
    if !fits || fields.iter().zip(names).all(|(field, name)| field.name() == name) {
        return Ok(plan);
    }
    let exprs: Vec<LogicalExpr> = plan
        .schema()
        .iter()
        .zip(names)
        .map(|((qualifier, field), name)| {
            let column = LogicalExpr::Column((qualifier, field).into());
            if field.name() == name { column } else { column.alias(name) }
        })
        .collect();
    let projected = LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build);
    projected.map_err(error::from_datafusion)
}
