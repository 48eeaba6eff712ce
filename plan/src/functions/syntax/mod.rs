//! Flink's SQL forms that DataFusion's planner does not know, turned into forms that it does.
//!
//! Two places: while parsing, for what `sqlparser` cannot read ([`parse_prefix`], [`parse_infix`], called by the dialect), and on
//! the parsed tree before planning ([`rewrite()`]), for what it reads and DataFusion would refuse or take differently.

mod interval;
mod json;
mod literal;
mod parse;
mod rewrite;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    Value,
};

pub use parse::{parse_infix, parse_prefix};
pub use rewrite::{rewrite, rewrite_expr};

/// A call of a function.
fn call(name: &str, arguments: impl IntoIterator<Item = Expr>) -> Expr {
    let args = arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)));
    let list = FunctionArgumentList { duplicate_treatment: None, args: args.collect(), clauses: vec![] };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// A string literal.
fn text(value: impl Into<String>) -> Expr {
    Expr::value(Value::SingleQuotedString(value.into()))
}

/// The value of a string literal.
fn as_text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}
