//! Joins as of a time over tables that end. As of processing time they are joins with what is there; as of event time with the
//! versions, each from its own time to that of the next one with its key.

use datafusion::{
    common::{Column, Result, exec_datafusion_err, internal_err, tree_node::Transformed},
    execution::FunctionRegistry,
    logical_expr::{
        Expr, ExprFunctionExt as _, Extension, Join, LogicalPlan, LogicalPlanBuilder,
        WindowFunctionDefinition,
        expr::WindowFunction,
        utils::{conjunction, split_conjunction},
    },
};

use super::{AsOf, AsOfTime, times_of};

/// The column with the time at which a version ends.
const END: &str = "__version_end";

/// The plan with its joins as of a time written out.
pub fn lower(plan: LogicalPlan, functions: &dyn FunctionRegistry) -> Result<LogicalPlan> {
    let joined = plan.transform_up_with_subqueries(|node| match &node {
        LogicalPlan::Join(join) => match written_out(join, functions)? {
            Some(plan) => Ok(Transformed::yes(plan)),
            None => Ok(Transformed::no(node)),
        },
        _ => Ok(Transformed::no(node)),
    });
    let plain = joined?.data.transform_up_with_subqueries(|node| match as_of(&node) {
        Some(as_of) => Ok(Transformed::yes(as_of.input.clone())),
        None => Ok(Transformed::no(node)),
    });
    Ok(plain?.data)
}

fn as_of(plan: &LogicalPlan) -> Option<&AsOf> {
    match plan {
        LogicalPlan::Extension(Extension { node }) => node.as_any().downcast_ref(),
        _ => None,
    }
}

/// The join, if it is one as of event time.
fn written_out(join: &Join, functions: &dyn FunctionRegistry) -> Result<Option<LogicalPlan>> {
    let conditions: Vec<&Expr> = join.filter.iter().flat_map(split_conjunction).collect();
    let Some((time, begin)) = conditions.iter().find_map(|condition| times_of(condition)) else {
        return Ok(None);
    };
    let columns: Vec<Expr> = join.schema.iter().map(|column| Expr::Column(column.into())).collect();
    let right = with_ends(&join.right, functions)?;
    let Some((qualifier, end)) = right.schema().iter().last() else {
        return internal_err!("a versioned table has no columns");
    };
    let (time, begin, end) = (
        Expr::Column(time.clone()),
        Expr::Column(begin.clone()),
        Expr::Column(Column::from((qualifier, end))),
    );
    let valid = [time.clone().gt_eq(begin), end.clone().is_null().or(time.lt(end))];
    let rest = conditions.into_iter().filter(|condition| times_of(condition).is_none()).cloned();
    let filter = conjunction(rest.chain(valid));
    let left = join.left.as_ref().clone();
    let (left_keys, right_keys): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
    let builder = LogicalPlanBuilder::from(left);
    let joined = match join.on.is_empty() {
        true => builder.join_on(right, join.join_type, filter)?,
        false => builder.join_with_expr_keys(right, join.join_type, (left_keys, right_keys), filter)?,
    };
    Ok(Some(joined.project(columns)?.build()?))
}

/// The right side with the end of each version as its last column.
fn with_ends(plan: &LogicalPlan, functions: &dyn FunctionRegistry) -> Result<LogicalPlan> {
    if let LogicalPlan::SubqueryAlias(alias) = plan {
        let input = with_ends(&alias.input, functions)?;
        return LogicalPlanBuilder::from(input).alias(alias.alias.clone())?.build();
    }
    let Some(AsOf { input, time: AsOfTime::Event { begin, keys }, .. }) = as_of(plan) else {
        return internal_err!("a temporal join lost its versioned table");
    };
    let begin = Expr::Column(begin.clone());
    let lead = functions.udwf("lead").map_err(|_| exec_datafusion_err!("there is no function lead"))?;
    let lead = WindowFunction::new(WindowFunctionDefinition::WindowUDF(lead), vec![begin.clone()]);
    let keys: Vec<Expr> = keys.iter().cloned().map(Expr::Column).collect();
    let next = Expr::from(lead).partition_by(keys).order_by(vec![begin.clone().sort(true, false)]).build()?;
    let timed = LogicalPlanBuilder::from(input.clone()).filter(begin.is_not_null())?;
    let own = input.schema().iter().map(|column| Expr::Column(column.into())).collect::<Vec<_>>();
    let windowed = timed.window([next.alias(END)])?;
    let end = Expr::Column(Column::new_unqualified(END));
    windowed.project(own.into_iter().chain([end]))?.build()
}
