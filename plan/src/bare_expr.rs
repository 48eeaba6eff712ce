//! What an expression is beneath its names and casts.

use datafusion::logical_expr::Expr;

/// The expression without the names that it is given.
pub fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        expr => expr,
    }
}

/// The expression without names and casts around it.
pub fn uncast(expr: &Expr) -> &Expr {
    match unaliased(expr) {
        Expr::Cast(cast) => uncast(&cast.expr),
        expr => expr,
    }
}
