//! Window table functions over tables that end, as projections: the borders are functions of the row's time.

use datafusion::{
    common::{Column, Result, exec_datafusion_err, not_impl_err, tree_node::Transformed},
    execution::FunctionRegistry,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit},
};

use super::{WindowKind, WindowTableFunction};
use crate::panes::{Panes, WindowShape};

/// The plan with its window functions written out.
pub fn lower(plan: LogicalPlan, functions: &dyn FunctionRegistry) -> Result<LogicalPlan> {
    let lowered = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        match extension.node.as_any().downcast_ref::<WindowTableFunction>() {
            Some(function) => Ok(Transformed::yes(written_out(function, functions)?)),
            None => Ok(Transformed::no(node)),
        }
    });
    Ok(lowered?.data)
}

fn written_out(function: &WindowTableFunction, functions: &dyn FunctionRegistry) -> Result<LogicalPlan> {
    let WindowKind::Fixed(panes) = &function.kind else {
        return not_impl_err!("`SESSION` in batch mode");
    };
    let call = |name: &str, value: Expr| -> Result<Expr> {
        let function =
            functions.udf(name).map_err(|_| exec_datafusion_err!("there is no function {name}"))?;
        Ok(function.call(std::iter::once(value).chain(description(panes)).collect()))
    };
    let [start_name, end_name, time_name] = function.border_names();
    let time = Expr::Column(function.time.clone());
    let own: Vec<(Column, String)> = function
        .input
        .schema()
        .iter()
        .map(|(qualifier, field)| (Column::from((qualifier, field)), field.name().clone()))
        .collect();
    // A row without a time is in no window.
    let input = LogicalPlanBuilder::from(function.input.clone()).filter(time.clone().is_not_null())?;
    let columns = own.iter().map(|(column, name)| Expr::Column(column.clone()).alias(name));
    let with_ends = match panes.shape {
        WindowShape::Tumble { .. } => {
            let end = call("window_last_end", time)?.alias(&end_name);
            input.project(columns.chain([end]))?
        }
        WindowShape::Hop { .. } | WindowShape::Cumulate { .. } => {
            let ends = call("window_ends", time)?.alias(&end_name);
            let end = Column::new_unqualified(&end_name);
            input.project(columns.chain([ends]))?.unnest_column(end)?
        }
    };
    let end = Expr::Column(Column::new_unqualified(&end_name));
    let borders = [
        call("window_start_of_end", end.clone())?.alias(&start_name),
        end.clone(),
        call("window_time_of_end", end)?.alias(&time_name),
    ];
    let columns = own.iter().map(|(_, name)| Expr::Column(Column::new_unqualified(name)));
    with_ends.project(columns.chain(borders))?.build()
}

/// The windows as the functions take them.
fn description(panes: &Panes) -> [Expr; 4] {
    let (name, first_ms, second_ms) = match panes.shape {
        WindowShape::Tumble { size_ms } => ("tumble", size_ms, size_ms),
        WindowShape::Hop { slide_ms, size_ms } => ("hop", slide_ms, size_ms),
        WindowShape::Cumulate { step_ms, max_size_ms } => ("cumulate", step_ms, max_size_ms),
    };
    [lit(name), lit(first_ms), lit(second_ms), lit(panes.offset_ms)]
}
