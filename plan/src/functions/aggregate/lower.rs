//! The analyzer rule that writes aggregate functions out in those that run.

use std::sync::Arc;

use datafusion::{
    common::{
        Column, Result,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    logical_expr::{Aggregate, Expr, LogicalPlan, Projection, Window, expr::Alias},
    optimizer::AnalyzerRule,
};

use super::forms::{self, Call};

/// Writes out aggregate functions. Comes after the coercion of types: what it makes has the types that it needs.
#[derive(Debug)]
pub struct LowerAggregates;

impl AnalyzerRule for LowerAggregates {
    fn name(&self) -> &str {
        "lower_aggregates"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let mut changed = false;
        let lowered = plan.transform_up_with_subqueries(|plan| {
            // What is above a lowered operator may see that a column can be NULL.
            let plan = if changed { plan.recompute_schema()? } else { plan };
            let lowered = match plan {
                LogicalPlan::Aggregate(aggregate) => lower_aggregate(aggregate)?,
                LogicalPlan::Window(window) => lower_window(window)?,
                other => Transformed::no(other),
            };
            changed |= lowered.transformed;
            Ok(lowered)
        })?;
        Ok(lowered.data)
    }
}

fn lower_aggregate(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let Some(lowered) = Lowered::of(&aggregate.aggr_expr, &aggregate.input)? else {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    };
    let Aggregate { input, group_expr, schema, .. } = aggregate;
    let operator = LogicalPlan::Aggregate(Aggregate::try_new(input, group_expr, lowered.parts)?);
    project(operator, &schema, lowered.results)
}

fn lower_window(window: Window) -> Result<Transformed<LogicalPlan>> {
    let Some(lowered) = Lowered::of(&window.window_expr, &window.input)? else {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    };
    let Window { input, schema, .. } = window;
    let operator = LogicalPlan::Window(Window::try_new(lowered.parts, input)?);
    project(operator, &schema, lowered.results)
}

/// The columns that the operator had before: those of its input or keys as they are, then the results.
fn project(
    operator: LogicalPlan,
    before: &datafusion::common::DFSchema,
    results: Vec<Expr>,
) -> Result<Transformed<LogicalPlan>> {
    let passed = before.fields().len() - results.len();
    let columns = before.iter().take(passed).map(|field| Expr::Column(Column::from(field)));
    let results = before.iter().skip(passed).zip(results).map(|((qualifier, field), result)| match result {
        Expr::Column(column) if column.relation.as_ref() == qualifier && column.name == *field.name() => {
            Expr::Column(column)
        }
        result => result.alias_qualified(qualifier.cloned(), field.name()),
    });
    let columns = columns.chain(results).collect();
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(operator))?)))
}

/// The calls that an operator makes, and its results over their columns.
struct Lowered {
    parts: Vec<Expr>,
    results: Vec<Expr>,
}

impl Lowered {
    /// Nothing if all calls run as they are. A name that a call was given moves above the operator: rules of DataFusion's know
    /// calls without one only.
    fn of(calls: &[Expr], input: &LogicalPlan) -> Result<Option<Self>> {
        let forms = calls.iter().map(|call| form(call, input)).collect::<Result<Vec<_>>>()?;
        let is_named = |call: &Expr| matches!(call, Expr::Alias(_));
        if forms.iter().all(Option::is_none) && !calls.iter().any(is_named) {
            return Ok(None);
        }
        let mut lowered = Lowered { parts: vec![], results: vec![] };
        for (call, form) in calls.iter().zip(forms) {
            let result = match form {
                Some(form) => lowered.over_columns(form)?,
                None => lowered.column(call_of(call).clone()),
            };
            lowered.results.push(result);
        }
        Ok(Some(lowered))
    }

    fn over_columns(&mut self, form: Expr) -> Result<Expr> {
        let over_columns = form.transform_down(|expr| match expr {
            call @ (Expr::AggregateFunction(_) | Expr::WindowFunction(_)) => {
                Ok(Transformed::new(self.column(call), true, TreeNodeRecursion::Jump))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(over_columns.data)
    }

    /// The column of a call, which is made once however often it is needed. A name does not tell all of a call: a cast in it
    /// is not seen.
    fn column(&mut self, call: Expr) -> Expr {
        if let Some(known) = self.parts.iter().find(|part| call_of(part) == call_of(&call)) {
            return Expr::Column(Column::new_unqualified(known.schema_name().to_string()));
        }
        let name = call.schema_name().to_string();
        let taken = |name: &str| self.parts.iter().any(|part| part.schema_name().to_string() == name);
        let mut free = name.clone();
        for number in 1.. {
            if !taken(&free) {
                break;
            }
            free = format!("{name}#{number}");
        }
        let call = if free == name { call } else { call.alias(&free) };
        self.parts.push(call);
        Expr::Column(Column::new_unqualified(free))
    }
}

fn call_of(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(Alias { expr, .. }) => call_of(expr),
        other => other,
    }
}

fn form(call: &Expr, input: &LogicalPlan) -> Result<Option<Expr>> {
    match call_of(call) {
        Expr::AggregateFunction(call) => forms::lowered(&Call::Group(call), input.schema()),
        Expr::WindowFunction(call) => forms::lowered(&Call::Window(call), input.schema()),
        _ => Ok(None),
    }
}
