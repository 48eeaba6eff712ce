//! Window table functions over tables that end, as projections: the borders are functions of the row's time.

use datafusion::{
    common::{Column, Result, exec_datafusion_err, tree_node::Transformed},
    execution::FunctionRegistry,
    logical_expr::{Expr, ExprFunctionExt as _, LogicalPlan, LogicalPlanBuilder, lit},
};

use super::{WindowKind, WindowTableFunction};
use crate::{
    functions::window::{SESSION_END, SESSION_START},
    panes::{Panes, WindowShape},
};

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
    match &function.kind {
        WindowKind::Fixed(panes) => fixed(function, panes, functions),
        WindowKind::Session { gap_ms, partition_by } => session(function, *gap_ms, partition_by, functions),
    }
}

fn fixed(
    function: &WindowTableFunction,
    panes: &Panes,
    functions: &dyn FunctionRegistry,
) -> Result<LogicalPlan> {
    let call = |name: &str, value: Expr| -> Result<Expr> {
        let function =
            functions.udf(name).map_err(|_| exec_datafusion_err!("there is no function {name}"))?;
        Ok(function.call(std::iter::once(value).chain(description(panes)).collect()))
    };
    let [start_name, end_name, time_name] = function.border_names();
    let time = Expr::Column(function.time.clone());
    let own = own_columns(function);
    let input = timed(function)?;
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

/// Sessions by window functions, which see the rows of a key in the order of their times.
fn session(
    function: &WindowTableFunction,
    gap_ms: i64,
    partition_by: &[Column],
    functions: &dyn FunctionRegistry,
) -> Result<LogicalPlan> {
    let [start_name, end_name, time_name] = function.border_names();
    let time = Expr::Column(function.time.clone());
    let border = |name: &str, alias: &str| -> Result<Expr> {
        let of = functions.udwf(name).map_err(|_| exec_datafusion_err!("there is no function {name}"))?;
        let keys = partition_by.iter().cloned().map(Expr::Column).collect();
        let call = of.call(vec![time.clone(), lit(gap_ms)]).partition_by(keys);
        Ok(call.order_by(vec![time.clone().sort(true, false)]).build()?.alias(alias))
    };
    let last = functions.udf("window_time_of_end");
    let last = last.map_err(|_| exec_datafusion_err!("there is no function window_time_of_end"))?;
    let ends = Expr::Column(Column::new_unqualified(&end_name));
    let windowed =
        timed(function)?.window([border(SESSION_START, &start_name)?, border(SESSION_END, &end_name)?])?;
    let own = own_columns(function).into_iter();
    let columns = own.map(|(column, name)| Expr::Column(column).alias(name));
    let borders = [
        Expr::Column(Column::new_unqualified(&start_name)),
        ends.clone(),
        last.call(std::iter::once(ends).chain(description(&EACH_MS)).collect()).alias(&time_name),
    ];
    windowed.project(columns.chain(borders))?.build()
}

/// The input without rows that have no time: those are in no window.
fn timed(function: &WindowTableFunction) -> Result<LogicalPlanBuilder> {
    let time = Expr::Column(function.time.clone());
    LogicalPlanBuilder::from(function.input.clone()).filter(time.is_not_null())
}

/// The input's columns, and what they are called behind the function.
fn own_columns(function: &WindowTableFunction) -> Vec<(Column, String)> {
    let columns = function.input.schema().iter();
    columns.map(|(qualifier, field)| (Column::from((qualifier, field)), field.name().clone())).collect()
}

/// The last millisecond of a window is the same for all shapes.
const EACH_MS: Panes = Panes { shape: WindowShape::Tumble { size_ms: 1 }, offset_ms: 0 };

/// The windows as the functions take them.
fn description(panes: &Panes) -> [Expr; 4] {
    let (name, first_ms, second_ms) = match panes.shape {
        WindowShape::Tumble { size_ms } => ("tumble", size_ms, size_ms),
        WindowShape::Hop { slide_ms, size_ms } => ("hop", slide_ms, size_ms),
        WindowShape::Cumulate { step_ms, max_size_ms } => ("cumulate", step_ms, max_size_ms),
    };
    [lit(name), lit(first_ms), lit(second_ms), lit(panes.offset_ms)]
}
