//! The logical node above a table that declares `WATERMARK FOR column AS expression`.

use std::{cmp::Ordering, collections::HashSet, fmt};

use datafusion::{
    common::{Column, DFSchema, DFSchemaRef, Result, internal_err},
    logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore},
};

/// Rows pass unchanged; behind them goes how far event time has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WatermarkNode {
    /// The table, computed columns included.
    pub input: LogicalPlan,
    /// The event time column.
    pub time: Column,
    /// No row that follows will have a time at or before this.
    pub expression: Expr,
    /// Columns by which rows may be left out below: every value of them keeps coming, so that time keeps rising.
    pub steady: Vec<String>,
}

impl PartialOrd for WatermarkNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.input, &self.expression).partial_cmp(&(&other.input, &other.expression))
    }
}

impl UserDefinedLogicalNodeCore for WatermarkNode {
    fn name(&self) -> &str {
        "Watermark"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![Expr::Column(self.time.clone()), self.expression.clone()]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watermark: {} AS {}", self.time, self.expression)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (<[Expr; 2]>::try_from(exprs), <[LogicalPlan; 1]>::try_from(inputs)) {
            (Ok([Expr::Column(time), expression]), Ok([input])) => {
                Ok(Self { input, time, expression, steady: self.steady.clone() })
            }
            _ => internal_err!("a watermark has a column, an expression and an input"),
        }
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let names = self.input.schema().fields().iter().map(|field| field.name().clone());
        names.filter(|name| !self.steady.contains(name)).collect()
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let schema = self.input.schema();
        let mut needed = output_columns.to_vec();
        needed.extend(positions(schema, self.expressions().iter().flat_map(Expr::column_refs))?);
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

fn positions<'a>(schema: &DFSchema, columns: impl Iterator<Item = &'a Column>) -> Option<Vec<usize>> {
    columns.map(|column| schema.maybe_index_of_column(column)).collect()
}
