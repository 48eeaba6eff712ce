//! How deep the expressions of a statement may nest. Every pass over a plan asks an expression for its type at each of its
//! levels, which asks all levels below: the time grows with the square of the depth and more.

use std::ops::ControlFlow;

use sqlparser::ast::{self, Visit, Visitor};
use thalweg_graph::{SqlError, sql_error::SqlErrorCode};

/// Levels that take some seconds to plan. A chain such as `a + b + c` has one for each operator.
pub const EXPRESSION_DEPTH_MAX: usize = 1000;

/// Refuses a query with an expression that is too deep.
pub fn check(query: &ast::Query) -> Result<(), SqlError> {
    let mut depth = Depth(0);
    match query.visit(&mut depth) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => {
            let message = format!(
                "an expression nests more than {EXPRESSION_DEPTH_MAX} levels deep (each operator of a chain is one): use IN instead \
                 of a chain of OR, join a table of the values, or compute it in steps that are written to tables"
            );
            Err(SqlError::new(SqlErrorCode::Unsupported, message))
        }
    }
}

/// Expressions around the one that is visited.
struct Depth(usize);

impl Visitor for Depth {
    type Break = ();

    fn pre_visit_expr(&mut self, _: &ast::Expr) -> ControlFlow<()> {
        self.0 += 1;
        if self.0 > EXPRESSION_DEPTH_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn post_visit_expr(&mut self, _: &ast::Expr) -> ControlFlow<()> {
        self.0 -= 1;
        ControlFlow::Continue(())
    }
}
