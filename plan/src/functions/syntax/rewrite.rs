//! The pass over the parsed tree.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, CastKind, CeilFloorKind, DataType, DateTimeField, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, LimitClause, ObjectName, OrderByKind, Query,
    Select, TrimWhereField, UnaryOperator, Value, ValueWithSpan, VisitMut, VisitorMut, WindowType,
};

use super::{as_text, call, interval, literal, text};
use crate::sql_type::SqlType;

/// Rewrites every expression in a statement or query.
pub fn rewrite<T: VisitMut>(tree: &mut T) {
    let _: ControlFlow<()> = tree.visit(&mut Rewriter);
}

/// Rewrites one expression that stands alone, such as that of a computed column.
pub fn rewrite_expr(expr: &mut Expr) {
    rewrite(expr);
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Value(_) => literal::type_number(expr),
            Expr::UnaryOp { op: UnaryOperator::Minus, .. } => literal::type_smallest(expr),
            Expr::TypedString(typed) => {
                if let Some(timestamp) = literal::timestamp(typed) {
                    *expr = timestamp;
                }
            }
            Expr::Interval(written) => {
                literal::untype_number(&mut written.value);
                interval::rewrite(written);
            }
            Expr::Function(function) => {
                rewrite_function(function);
                if let Some(grouping) = as_grouping(function) {
                    *expr = grouping;
                }
            }
            Expr::Cast { .. } => rewrite_cast(expr),
            Expr::Like { pattern, escape_char, .. } => rewrite_like(pattern, escape_char),
            _ => {
                if let Some(replacement) = as_function(expr) {
                    *expr = replacement;
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        match &mut query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                limit.iter_mut().for_each(literal::untype_number);
                offset.iter_mut().for_each(|offset| literal::untype_number(&mut offset.value));
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                literal::untype_number(offset);
                literal::untype_number(limit);
            }
            None => {}
        }
        let fetched = query.fetch.iter_mut().filter_map(|fetch| fetch.quantity.as_mut());
        fetched.for_each(literal::untype_number);
        if let Some(OrderByKind::Expressions(keys)) =
            query.order_by.as_mut().map(|order_by| &mut order_by.kind)
        {
            keys.iter_mut().for_each(|key| literal::untype_number(&mut key.expr));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
            keys.iter_mut().for_each(literal::untype_number);
            // `GROUP BY ()`: one group of all rows.
            for key in keys.iter_mut().filter(|key| matches!(key, Expr::Tuple(list) if list.is_empty())) {
                *key = Expr::GroupingSets(vec![vec![]]);
            }
        }
        ControlFlow::Continue(())
    }
}

fn rewrite_function(function: &mut Function) {
    if let Some(WindowType::WindowSpec(window)) = &mut function.over
        && let Some(frame) = &mut window.window_frame
    {
        literal::untype_frame(frame);
    }
    let name = function.name.to_string().to_ascii_uppercase();
    match name.as_str() {
        "TIMESTAMPADD" | "TIMESTAMPDIFF" => name_the_unit(function),
        "ROUND" | "TRUNCATE" => bare_digits(function),
        "UNIX_TIMESTAMP" if has_no_arguments(function) => rename(function, "current_unix_timestamp"),
        _ => {}
    }
}

/// Which grouping set a row is of, as BIGINT.
fn as_grouping(function: &Function) -> Option<Expr> {
    let name = function.name.to_string().to_ascii_uppercase();
    let bits = match name.as_str() {
        "GROUPING" | "GROUPING_ID" => {
            let mut function = function.clone();
            rename(&mut function, "grouping");
            Expr::Function(function)
        }
        "GROUP_ID" if has_no_arguments(function) => Expr::value(Value::Number("0".to_owned(), false)),
        _ => return None,
    };
    Some(Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(bits),
        data_type: DataType::BigInt(None),
        array: false,
        format: None,
    })
}

/// The unit of `TIMESTAMPADD(DAY, ...)` looks like a column. Adding hours makes a timestamp of a date, adding days does not.
fn name_the_unit(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(unit))) = list.args.first_mut() else { return };
    let Expr::Identifier(name) = unit else { return };
    let name = name.value.to_ascii_uppercase();
    let of_day = ["HOUR", "MINUTE", "SECOND"].iter().any(|unit| name.trim_end_matches('S').ends_with(unit));
    *unit = text(name);
    if of_day && function.name.to_string().eq_ignore_ascii_case("TIMESTAMPADD") {
        rename(function, "timestampadd_time");
    }
}

/// The type of a rounded decimal depends on the number of digits: it must be seen to be a constant.
fn bare_digits(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    match list.args.get_mut(1) {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::UnaryOp { expr, .. }))) => {
            literal::untype_number(expr)
        }
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(digits))) => literal::untype_number(digits),
        _ => {}
    }
}

fn has_no_arguments(function: &Function) -> bool {
    matches!(&function.args, FunctionArguments::List(list) if list.args.is_empty())
}

fn rename(function: &mut Function, name: &str) {
    function.name = ObjectName::from(vec![Ident::new(name)]);
}

/// A cast to `CHAR(n)` or `VARCHAR(n)` cuts, and `CHAR(n)` fills with spaces; DataFusion's text has no length.
fn rewrite_cast(cast: &mut Expr) {
    let Expr::Cast { data_type, kind, .. } = cast else { return };
    if *kind == CastKind::DoubleColon {
        return;
    }
    let text_type = match &*data_type {
        // The dialect carries a type as its text.
        DataType::Custom(name, modifiers) if modifiers.is_empty() => match &name.0[..] {
            [part] => part.as_ident().and_then(|ident| ident.value.parse().ok()),
            _ => None,
        },
        other => other.to_string().parse().ok(),
    };
    let (function, length) = match text_type {
        Some(SqlType::Char(length)) => ("cast_char", length),
        Some(SqlType::Varchar(length)) => ("cast_varchar", length),
        _ => return,
    };
    *data_type = DataType::String(None);
    *cast = call(function, [cast.clone(), Expr::value(Value::Number(length.to_string(), false))]);
}

/// In Flink a backslash in a pattern is a character like any other unless it is named as the escape; in DataFusion it escapes.
fn rewrite_like(pattern: &mut Expr, escape: &mut Option<ValueWithSpan>) {
    let Some(written) = as_text(pattern) else { return };
    let escape_character = match escape.take().map(|escape| escape.value) {
        Some(Value::SingleQuotedString(escape)) => escape.chars().next(),
        _ => None,
    };
    let mut rewritten = String::with_capacity(written.len());
    let mut rest = written.chars();
    while let Some(character) = rest.next() {
        if Some(character) == escape_character {
            rewritten.push('\\');
            rewritten.extend(rest.next());
        } else if character == '\\' {
            rewritten.push_str("\\\\");
        } else {
            rewritten.push(character);
        }
    }
    *pattern = text(rewritten);
}

/// SQL forms with words between their arguments, as plain calls.
fn as_function(expr: &Expr) -> Option<Expr> {
    let call = match expr {
        Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(unit) }
            if *unit != DateTimeField::NoDateTime =>
        {
            call("ceil_time", [(**expr).clone(), text(unit.to_string())])
        }
        Expr::Floor { expr, field: CeilFloorKind::DateTimeField(unit) }
            if *unit != DateTimeField::NoDateTime =>
        {
            call("floor_time", [(**expr).clone(), text(unit.to_string())])
        }
        Expr::Extract { field, expr, .. } => call("extract", [text(field.to_string()), (**expr).clone()]),
        Expr::Substring { expr, substring_from: Some(from), substring_for, .. } => {
            let arguments = [Some(expr), Some(from), substring_for.as_ref()];
            call("substring", arguments.into_iter().flatten().map(|argument| (**argument).clone()))
        }
        Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let arguments = [Some(expr), Some(overlay_what), Some(overlay_from), overlay_for.as_ref()];
            call("overlay", arguments.into_iter().flatten().map(|argument| (**argument).clone()))
        }
        Expr::Position { expr, r#in } => call("position", [(**expr).clone(), (**r#in).clone()]),
        Expr::Trim { expr, trim_where, trim_what, trim_characters: None } => {
            let function = match trim_where {
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
                Some(TrimWhereField::Both) | None => "btrim",
            };
            call(
                function,
                [Some(expr), trim_what.as_ref()].into_iter().flatten().map(|argument| (**argument).clone()),
            )
        }
        Expr::SimilarTo { negated, expr, pattern, escape_char: None } => {
            let test = call("similar_to", [(**expr).clone(), (**pattern).clone()]);
            match negated {
                true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(test) },
                false => test,
            }
        }
        Expr::BinaryOp { left, op: BinaryOperator::Overlaps, right } => match (&**left, &**right) {
            (Expr::Tuple(first), Expr::Tuple(second)) if first.len() == 2 && second.len() == 2 => call(
                "overlaps",
                [first, second].into_iter().flat_map(|period| [period[0].clone(), end_of(period)]),
            ),
            _ => return None,
        },
        _ => return None,
    };
    Some(call)
}

/// A period is written with its end or with its length.
fn end_of(period: &[Expr]) -> Expr {
    let [start, end] = period else { return Expr::value(Value::Null) };
    match end {
        Expr::Interval(_) => Expr::BinaryOp {
            left: Box::new(start.clone()),
            op: BinaryOperator::Plus,
            right: Box::new(end.clone()),
        },
        _ => end.clone(),
    }
}
