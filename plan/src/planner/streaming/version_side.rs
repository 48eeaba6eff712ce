//! The right side of a join as of a time: a table, and what filters and projections make of the row that is found in it.

use std::sync::Arc;

use datafusion::{
    common::{
        Column, Result,
        tree_node::{Transformed, TreeNode as _},
    },
    logical_expr::{Expr, Extension, LogicalPlan, TableScan, utils::conjunction},
};
use thalweg_graph::SqlError;

use super::{translate::internal, within::stand_in};
use crate::{bare_expr::unaliased, error, stream::WatermarkNode, versions::AsOf};

/// The right side of such a join.
pub(super) struct VersionSide<'a> {
    /// The table.
    pub as_of: &'a AsOf,
    /// What must hold for the row that is found, over the table's columns.
    pub predicates: Vec<Expr>,
    /// The table's columns that the join sees, by their places.
    pub picks: Vec<usize>,
}

impl<'a> VersionSide<'a> {
    /// The right side, if it is one.
    pub fn of(plan: &'a LogicalPlan) -> Result<Option<Self>, SqlError> {
        let side = match plan {
            LogicalPlan::Extension(Extension { node }) => {
                let Some(as_of) = node.as_any().downcast_ref::<AsOf>() else { return Ok(None) };
                let picks = (0..as_of.input.schema().fields().len()).collect();
                Self { as_of, predicates: Vec::new(), picks }
            }
            LogicalPlan::SubqueryAlias(alias) => return Self::of(&alias.input),
            LogicalPlan::Filter(filter) => {
                let Some(mut side) = Self::of(&filter.input)? else { return Ok(None) };
                side.predicates.push(side.of_table(&filter.predicate, &filter.input)?);
                side
            }
            LogicalPlan::Projection(projection) => {
                let Some(mut side) = Self::of(&projection.input)? else { return Ok(None) };
                let schema = projection.input.schema();
                let pick = |expr: &Expr| match unaliased(expr) {
                    Expr::Column(column) => schema.maybe_index_of_column(column).map(|at| side.picks[at]),
                    _ => None,
                };
                let picks: Option<Vec<usize>> = projection.expr.iter().map(pick).collect();
                side.picks = picks.ok_or_else(|| internal("a versioned table is computed with"))?;
                side
            }
            _ => return Ok(None),
        };
        Ok(Some(side))
    }

    /// An expression over what is seen so far as one over the table's columns.
    pub fn of_table(&self, expr: &Expr, seen: &LogicalPlan) -> Result<Expr, SqlError> {
        let table = self.as_of.input.schema();
        let moved = |expr: Expr| -> Result<Transformed<Expr>> {
            let Expr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
            let at = self.picks[seen.schema().index_of_column(column)?];
            Ok(Transformed::yes(Expr::Column(Column::from(table.qualified_field(at)))))
        };
        expr.clone().transform_up(moved).map(|moved| moved.data).map_err(error::from_datafusion)
    }

    /// What the filters ask, as one condition.
    pub fn predicate(&self) -> Option<Expr> {
        conjunction(self.predicates.iter().cloned())
    }

    /// The scan at the bottom, if what is above it are projections and filters alone, and these without it.
    pub fn scan(plan: &LogicalPlan) -> Option<(&TableScan, Arc<LogicalPlan>)> {
        let with = |plan: &LogicalPlan, input: Arc<LogicalPlan>| {
            plan.with_new_exprs(plan.expressions(), vec![input.as_ref().clone()]).ok().map(Arc::new)
        };
        match plan {
            LogicalPlan::TableScan(scan) => Some((scan, stand_in(&scan.projected_schema))),
            LogicalPlan::Extension(Extension { node }) => {
                let below = match node.as_any().downcast_ref::<WatermarkNode>() {
                    Some(watermark) => &watermark.input,
                    None => &node.as_any().downcast_ref::<AsOf>()?.input,
                };
                Self::scan(below)
            }
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
                let (scan, below) = Self::scan(plan.inputs().first()?)?;
                Some((scan, with(plan, below)?))
            }
            _ => None,
        }
    }
}
