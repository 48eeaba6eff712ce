//! The older group windows: `GROUP BY TUMBLE(ts, INTERVAL '1' HOUR), k` with `TUMBLE_START(ts, INTERVAL '1' HOUR)` and its like.
//!
//! They are written out as window table functions, on the parsed tree: what stands in `FROM` and `WHERE` becomes the function's table,
//! and the columns with the windows' borders take the place of the calls.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, OrderBy, Query,
    Select, SelectItem, SetExpr, Spanned as _, TableAlias, TableFactor, VisitMut, VisitorMut,
    WildcardAdditionalOptions, visit_expressions, visit_expressions_mut,
};
use thalweg_graph::{
    SqlError,
    sql_error::{Position, SqlErrorCode},
};

use crate::{
    sql::dialect::{self, TABLE_ARGUMENT},
    window::BORDER_NAMES,
};

/// The functions that group by windows, and how many lengths each takes.
const FUNCTIONS: &[(&str, usize)] = &[("TUMBLE", 1), ("HOP", 2), ("SESSION", 1)];

/// What of a window a function of it gives, by the end of its name.
const PARTS: &[(&str, Part)] = &[
    ("_START", Part::Border(0)),
    ("_END", Part::Border(1)),
    ("_ROWTIME", Part::Border(2)),
    ("_PROCTIME", Part::Clock),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A column with a border, by its place among [`BORDER_NAMES`].
    Border(usize),
    /// The time at which the result is worked on.
    Clock,
}

/// Writes out the group windows of a query and of all queries in it.
pub fn write_out(query: &mut Query) -> Result<(), SqlError> {
    match query.visit(&mut Writer) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refused) => Err(refused),
    }
}

struct Writer;

impl VisitorMut for Writer {
    type Break = SqlError;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
        match body(&mut query.body, query.order_by.as_mut()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(refused) => ControlFlow::Break(refused),
        }
    }
}

fn body(tree: &mut SetExpr, order_by: Option<&mut OrderBy>) -> Result<(), SqlError> {
    match tree {
        SetExpr::Select(tree) => select(tree, order_by),
        SetExpr::SetOperation { left, right, .. } => {
            body(left, None)?;
            body(right, None)
        }
        _ => Ok(()),
    }
}

fn select(select: &mut Select, order_by: Option<&mut OrderBy>) -> Result<(), SqlError> {
    let GroupByExpr::Expressions(group_by, _) = &mut select.group_by else { return Ok(()) };
    let is_window = |expr: &Expr| GroupWindow::of(expr).is_some();
    let Some(at) = group_by.iter().position(is_window) else { return no_window_left(select) };
    let call = group_by.remove(at);
    if let Some(second) = group_by.iter().find(|expr| is_window(expr)) {
        return Err(wrong("a query groups by one window".to_owned(), second));
    }
    let Some(window) = GroupWindow::of(&call) else { return Ok(()) };
    window.check(&call)?;
    let keys = group_by.clone();
    // Results are told apart by the first two; the third one only where it is asked for.
    let mut borders = vec![0, 1];
    window.replace(&mut select.projection, &mut borders);
    window.replace(&mut select.having, &mut borders);
    window.replace(&mut select.qualify, &mut borders);
    if let Some(order_by) = order_by {
        window.replace(order_by, &mut borders);
    }
    if let GroupByExpr::Expressions(group_by, _) = &mut select.group_by {
        group_by.extend(borders.iter().map(|border| Expr::Identifier(quoted(BORDER_NAMES[*border]))));
    }
    put_into(select, &window, &keys, &call)?;
    no_window_left(select)
}

/// Puts what the query reads into the window function.
fn put_into(
    select: &mut Select,
    window: &GroupWindow<'_>,
    keys: &[Expr],
    call: &Expr,
) -> Result<(), SqlError> {
    let inner = select.clone();
    let [from] = &mut select.from[..] else { return Err(joined(call)) };
    if !from.joins.is_empty() {
        return Err(joined(call));
    }
    let name = match &from.relation {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::TableFunction { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. } => alias.name.clone(),
        TableFactor::Table { name, .. } => match name.0.last().and_then(|part| part.as_ident()) {
            Some(ident) => ident.clone(),
            None => return Err(joined(call)),
        },
        _ => quoted("__grouped"),
    };
    let mut items = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
    let mut table = Vec::new();
    if window.name == "SESSION" {
        // A session is of rows with the same keys.
        for (at, key) in keys.iter().enumerate() {
            let ident = match last_name(key) {
                Some(ident) => ident.clone(),
                None => {
                    let alias = quoted(&format!("__session_key_{at}"));
                    items.push(SelectItem::ExprWithAlias { expr: key.clone(), alias: alias.clone() });
                    alias
                }
            };
            table.push(Expr::Identifier(ident));
        }
    }
    let inner = Select {
        distinct: None,
        projection: items,
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        ..inner
    };
    select.selection = None;
    table.insert(0, Expr::Subquery(Box::new(query_of(inner))));
    let descriptor = dialect::call("DESCRIPTOR", vec![Expr::Identifier(window.time.clone())]);
    let mut arguments = vec![dialect::call(TABLE_ARGUMENT, table), descriptor];
    arguments.extend(window.lengths.iter().map(|length| (*length).clone()));
    let alias = TableAlias { explicit: true, name, columns: Vec::new(), at: None };
    from.relation =
        TableFactor::TableFunction { expr: dialect::call(window.name, arguments), alias: Some(alias) };
    Ok(())
}

fn query_of(select: Select) -> Query {
    Query {
        with: None,
        body: Box::new(SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

/// A call by which rows are grouped.
struct GroupWindow<'e> {
    name: &'static str,
    lengths_wanted: usize,
    time: Ident,
    lengths: Vec<&'e Expr>,
}

impl<'e> GroupWindow<'e> {
    fn of(expr: &'e Expr) -> Option<Self> {
        let Expr::Function(call) = expr else { return None };
        let name = simple_name(call)?;
        let (name, lengths_wanted) =
            FUNCTIONS.iter().copied().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        let mut arguments = arguments_of(call);
        if arguments.is_empty() {
            return None;
        }
        let time = last_name(arguments.remove(0)).cloned().unwrap_or_else(|| Ident::new(""));
        Some(Self { name, lengths_wanted, time, lengths: arguments })
    }

    fn check(&self, call: &Expr) -> Result<(), SqlError> {
        if self.time.value.is_empty() {
            let message = format!("`{}` groups by the windows of a column, not of an expression", self.name);
            return Err(wrong(message, call));
        }
        if self.lengths.len() != self.lengths_wanted {
            let message = format!(
                "`{}` takes a time column and {} interval{}, and was given {}",
                self.name,
                self.lengths_wanted,
                if self.lengths_wanted == 1 { "" } else { "s" },
                self.lengths.len()
            );
            return Err(wrong(message, call));
        }
        Ok(())
    }

    /// What a call gives of this window, if it is of it.
    fn part(&self, call: &Function) -> Option<Part> {
        let name = simple_name(call)?.to_ascii_uppercase();
        let (_, part) = PARTS.iter().find(|(end, _)| name.strip_suffix(end) == Some(self.name))?;
        let mut arguments = arguments_of(call).into_iter();
        let time = arguments.next().and_then(last_name)?;
        (time.value == self.time.value && arguments.eq(self.lengths.iter().copied())).then_some(*part)
    }

    /// Replaces the calls that give something of this window, and adds the borders that they ask for.
    fn replace<T: VisitMut>(&self, tree: &mut T, borders: &mut Vec<usize>) {
        let _: ControlFlow<()> = visit_expressions_mut(tree, |expr| {
            let part = match expr {
                Expr::Function(call) => self.part(call),
                _ => None,
            };
            match part {
                Some(Part::Border(border)) => {
                    if !borders.contains(&border) {
                        borders.push(border);
                    }
                    *expr = Expr::Identifier(quoted(BORDER_NAMES[border]));
                }
                Some(Part::Clock) => *expr = dialect::call("PROCTIME", Vec::new()),
                None => {}
            }
            ControlFlow::Continue(())
        });
    }
}

/// Refuses calls that belong to no window of the query's own.
fn no_window_left(select: &Select) -> Result<(), SqlError> {
    let is_part = |name: &str| {
        let name = name.to_ascii_uppercase();
        FUNCTIONS.iter().any(|(function, _)| {
            name.strip_prefix(function)
                .is_some_and(|end| end.is_empty() || PARTS.iter().any(|(known, _)| *known == end))
        })
    };
    let found = visit_expressions(&select.projection, |expr| match expr {
        Expr::Function(call) if simple_name(call).is_some_and(is_part) => ControlFlow::Break(call.clone()),
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(call) => {
            let function = call.name.to_string();
            let group = function.split('_').next().unwrap_or_default().to_ascii_uppercase();
            let message = format!(
                "`{function}` tells of a window that the query groups by: write `GROUP BY {group}(...)` with the same arguments, or use \
                 the table function `{group}` and its columns `window_start`, `window_end`, `window_time`"
            );
            Err(wrong(message, &Expr::Function(call)))
        }
    }
}

fn joined(call: &Expr) -> SqlError {
    let message = "a query that groups by a window reads one table: write the join as a subquery, `FROM (SELECT ...) AS t`";
    wrong(message.to_owned(), call)
}

fn wrong(message: String, place: &Expr) -> SqlError {
    let start = place.span().start;
    let error = SqlError::new(SqlErrorCode::Invalid, message);
    match start.line {
        0 => error,
        line => error.at(Position { line, column: start.column }),
    }
}

fn simple_name(call: &Function) -> Option<&str> {
    let [part] = &call.name.0[..] else { return None };
    part.as_ident().filter(|ident| ident.quote_style.is_none()).map(|ident| ident.value.as_str())
}

fn arguments_of(call: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &call.args else { return Vec::new() };
    let plain = list.args.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    plain.collect()
}

/// The name of a column that is only mentioned.
fn last_name(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(ident) => Some(ident),
        Expr::CompoundIdentifier(idents) => idents.last(),
        _ => None,
    }
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('`', name)
}
