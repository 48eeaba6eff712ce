//! What is computed of all rows of a window at once, when it is complete: window functions whose partitions are within windows
//! (Top-N and deduplication among them).
//!
//! Such a part of the plan stays a plan: a worker runs it over the rows of the windows that event time has passed.

use std::sync::Arc;

use datafusion::{
    common::{Column, DFSchemaRef},
    execution::{SessionState, SessionStateBuilder},
    logical_expr::{EmptyRelation, Expr, LogicalPlan, Window},
    physical_optimizer::optimizer::PhysicalOptimizer,
    physical_plan::{ExecutionPlan, PhysicalExpr},
    physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner as _},
};
use thalweg_graph::SqlError;

use super::{
    stream::Stream,
    translate::{Translation, internal},
    vertex::encode_columns,
};
use crate::{
    bare_expr::unaliased,
    error,
    exec::codec,
    panes::WindowBound,
    stream::{OperatorKind, TimedRows, WithinWindowsSpec},
};

/// The only physical rule: it puts sorts where operators need an order.
const SORTING_RULE: &str = "EnsureRequirements";

impl Translation<'_> {
    /// Window functions whose partitions are each in one window.
    pub(super) async fn within_windows(
        &mut self,
        window: &Window,
        input: Stream,
    ) -> Result<Stream, SqlError> {
        let partitions: Vec<&[Expr]> = window.window_expr.iter().filter_map(partition_by).collect();
        let all_known = partitions.len() == window.window_expr.len();
        if !all_known || !partitions.iter().all(|keys| input.are_of_one_window(*keys)) {
            return self.over(window, input).await;
        }
        let all = LogicalPlan::Window(Window {
            input: stand_in(window.input.schema()),
            window_expr: window.window_expr.clone(),
            schema: Arc::clone(&window.schema),
        });
        let plan = self.plan_of(&all).await?;
        let keys = self.physical_all(&shared(&partitions), &input)?;
        let spec = WithinWindowsSpec {
            plan: codec::encode(&plan).map_err(error::from_datafusion)?,
            rows: self.windowed_rows(&input, &keys)?,
            columns: encode_columns(window.schema.inner()).map_err(error::from_datafusion)?,
        };
        let vertex = self.keyed(&input, &keys)?;
        let exprs: Vec<String> = window.window_expr.iter().map(ToString::to_string).collect();
        let display = format!("WithinWindows: [{}]", exprs.join(", "));
        let kind = OperatorKind::WithinWindows(Box::new(spec));
        self.draft.vertices[vertex].push("WithinWindows", display, kind);
        let borders = input.borders;
        Ok(Stream { borders, ..Stream::of(vertex, Arc::clone(&window.schema)) }.timed_by_windows())
    }

    /// How rows of one window each are kept until it is complete.
    pub(super) fn windowed_rows(
        &self,
        input: &Stream,
        keys: &[Arc<dyn PhysicalExpr>],
    ) -> Result<TimedRows, SqlError> {
        let end = input.borders.iter().find(|(_, bound)| *bound == WindowBound::End);
        let (end, _) = end.ok_or_else(|| internal("a window has no end"))?;
        self.timed_rows(input, end, keys)
    }

    /// How rows are kept by a time of theirs.
    pub(super) fn timed_rows(
        &self,
        input: &Stream,
        time: &Column,
        keys: &[Arc<dyn PhysicalExpr>],
    ) -> Result<TimedRows, SqlError> {
        let keys = keys.iter().map(codec::encode_expr).collect::<datafusion::error::Result<_>>();
        Ok(TimedRows { time: self.position(input, time)?, keys: keys.map_err(error::from_datafusion)? })
    }

    /// Expressions over the columns of a stream.
    pub(super) fn physical_all(
        &self,
        exprs: &[Expr],
        input: &Stream,
    ) -> Result<Vec<Arc<dyn PhysicalExpr>>, SqlError> {
        exprs.iter().map(|expr| self.physical(expr, &input.schema)).collect()
    }

    /// A part of the plan over stand-ins, as one thread runs it.
    pub(super) async fn plan_of(&self, part: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, SqlError> {
        let state = single_threaded(self.state);
        let plan = DefaultPhysicalPlanner::default().create_physical_plan(part, &state).await;
        plan.map_err(error::from_datafusion)
    }
}

/// Stands for rows that are there only when the part of the plan is run.
pub(super) fn stand_in(schema: &DFSchemaRef) -> Arc<LogicalPlan> {
    Arc::new(LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: Arc::clone(schema) }))
}

/// What all of some window functions are partitioned by: it divides the rows.
pub(super) fn shared(partitions: &[&[Expr]]) -> Vec<Expr> {
    let Some((first, others)) = partitions.split_first() else { return Vec::new() };
    first.iter().filter(|key| others.iter().all(|keys| keys.contains(key))).cloned().collect()
}

/// What a window function is partitioned by.
pub(super) fn partition_by(expr: &Expr) -> Option<&[Expr]> {
    match unaliased(expr) {
        Expr::WindowFunction(function) => Some(&function.params.partition_by),
        _ => None,
    }
}

fn single_threaded(state: &SessionState) -> SessionState {
    let rules = PhysicalOptimizer::new().rules.into_iter().filter(|rule| rule.name() == SORTING_RULE);
    SessionStateBuilder::new_from_existing(state.clone())
        .with_config(state.config().clone().with_target_partitions(1))
        .with_physical_optimizer_rules(rules.collect())
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_that_sorts_exists() {
        assert!(PhysicalOptimizer::new().rules.iter().any(|rule| rule.name() == SORTING_RULE));
    }
}
