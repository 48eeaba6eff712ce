//! `FROM t CROSS JOIN UNNEST(t.items) AS u (item)`: DataFusion plans it as a subquery that looks out at `t` for each row, which
//! it then cannot run. Here it becomes what it means: the rows of `t`, each repeated for every item.

use std::sync::Arc;

use datafusion::{
    common::{
        Column, JoinType, Result, ScalarValue, UnnestOptions,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    logical_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, Subquery, SubqueryAlias},
};
use thalweg_graph::SqlError;

use crate::error;

/// Replaces every join with an `UNNEST` of the other side's column.
pub fn flatten(plan: LogicalPlan) -> std::result::Result<LogicalPlan, SqlError> {
    let flat = plan.transform_up_with_subqueries(|node| match &node {
        LogicalPlan::Join(join) => match arrays_of(join)? {
            Some((alias, arrays)) => Ok(Transformed::yes(unnested(join, alias, arrays)?)),
            None => Ok(Transformed::no(node)),
        },
        _ => Ok(Transformed::no(node)),
    });
    flat.map(|flat| flat.data).map_err(error::from_datafusion)
}

/// If the join's right side is an `UNNEST`: its alias, and the arrays as expressions over the left side.
fn arrays_of(join: &Join) -> Result<Option<(&SubqueryAlias, Vec<Expr>)>> {
    let always = match &join.filter {
        None => true,
        Some(filter) => matches!(filter, Expr::Literal(ScalarValue::Boolean(Some(true)), _)),
    };
    let kind = matches!(join.join_type, JoinType::Inner | JoinType::Left);
    let LogicalPlan::SubqueryAlias(alias) = &*join.right else { return Ok(None) };
    let LogicalPlan::Subquery(Subquery { subquery, .. }) = &*alias.input else { return Ok(None) };
    if !always || !kind || !join.on.is_empty() {
        return Ok(None);
    }
    let mut arrays = None;
    subquery.apply(|node| {
        if let LogicalPlan::Unnest(unnest) = node
            && let LogicalPlan::Projection(projection) = &*unnest.input
            && matches!(&*projection.input, LogicalPlan::EmptyRelation(_))
        {
            arrays = Some(projection.expr.clone());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let Some(arrays) = arrays.filter(|arrays| arrays.len() == alias.schema.fields().len()) else {
        return Ok(None);
    };
    let inner = arrays.into_iter().map(from_inside).collect::<Result<_>>()?;
    Ok(Some((alias, inner)))
}

/// An expression of the subquery as one of the other side of the join.
fn from_inside(expr: Expr) -> Result<Expr> {
    let inside = expr.unalias().transform(|expr| match expr {
        Expr::OuterReferenceColumn(_, column) => Ok(Transformed::yes(Expr::Column(column))),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(inside.data)
}

fn unnested(join: &Join, alias: &SubqueryAlias, arrays: Vec<Expr>) -> Result<LogicalPlan> {
    let own = || join.left.schema().columns().into_iter().map(Expr::Column);
    let names: Vec<String> = (0..arrays.len()).map(|number| format!("__unnest_{number}")).collect();
    let carried = arrays.into_iter().zip(&names).map(|(array, name)| array.alias(name));
    let items = names.iter().zip(alias.schema.iter()).map(|(name, (qualifier, field))| {
        Expr::Column(Column::new_unqualified(name)).alias_qualified(qualifier.cloned(), field.name())
    });
    // A left join keeps the rows that have no items.
    let options = UnnestOptions::new().with_preserve_nulls(join.join_type == JoinType::Left);
    LogicalPlanBuilder::new_from_arc(Arc::clone(&join.left))
        .project(own().chain(carried))?
        .unnest_columns_with_options(names.iter().map(Column::new_unqualified).collect(), options)?
        .project(own().chain(items))?
        .build()
}
