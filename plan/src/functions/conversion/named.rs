//! Casts in the calls of aggregate and window functions, under names that tell them.
//!
//! DataFusion names the column of a call after the call and leaves casts out of the name, so that `MIN(x)` and
//! `MIN(CAST(x AS INT))` would be one column. Until the analyzer has the names, such a cast is a call of `cast_to`;
//! `CastRewrite` makes a cast of it again where DataFusion's means the same.

use datafusion::{
    common::{
        Result,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::{
        Expr, SortExpr,
        expr::{Cast, TryCast},
        planner::{ExprPlanner, PlannerResult, RawAggregateExpr, RawWindowExpr},
    },
};

use super::rewrite::cast_call;

/// Names casts while calls are planned; leaves the planning to others.
#[derive(Debug)]
pub struct NamedCasts;

impl ExprPlanner for NamedCasts {
    fn plan_aggregate(&self, mut call: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        call.args = all_named(call.args)?;
        call.filter = filter_named(call.filter)?;
        call.order_by = order_named(call.order_by)?;
        Ok(PlannerResult::Original(call))
    }

    fn plan_window(&self, mut call: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        call.args = all_named(call.args)?;
        call.filter = filter_named(call.filter)?;
        call.partition_by = all_named(call.partition_by)?;
        call.order_by = order_named(call.order_by)?;
        Ok(PlannerResult::Original(call))
    }
}

fn all_named(exprs: Vec<Expr>) -> Result<Vec<Expr>> {
    exprs.into_iter().map(named).collect()
}

fn filter_named(filter: Option<Box<Expr>>) -> Result<Option<Box<Expr>>> {
    filter.map(|filter| named(*filter).map(Box::new)).transpose()
}

fn order_named(order: Vec<SortExpr>) -> Result<Vec<SortExpr>> {
    order.into_iter().map(|sort| Ok(SortExpr { expr: named(sort.expr)?, ..sort })).collect()
}

fn named(expr: Expr) -> Result<Expr> {
    let named = expr.transform_up(|expr| {
        Ok(match &expr {
            Expr::Cast(Cast { expr: inner, field }) => {
                Transformed::yes(cast_call(inner, field.data_type(), false)?.unwrap_or(expr))
            }
            Expr::TryCast(TryCast { expr: inner, field }) => {
                Transformed::yes(cast_call(inner, field.data_type(), true)?.unwrap_or(expr))
            }
            _ => Transformed::no(expr),
        })
    })?;
    Ok(named.data)
}
