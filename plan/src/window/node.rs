//! The logical node of a window table function: each row once for each window that it is in, with the window's borders.

use std::{cmp::Ordering, collections::HashSet, fmt, sync::Arc};

use datafusion::{
    arrow::datatypes::{DataType, Field, TimeUnit},
    common::{Column, DFSchema, DFSchemaRef, ExprSchema as _, Result, internal_err, plan_err},
    logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore},
};

use crate::panes::Panes;

/// Which windows there are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub enum WindowKind {
    /// Of a fixed shape.
    Fixed(Panes),
    /// Rows of the same keys without a pause of `gap_ms`.
    Session {
        /// The pause that ends a session.
        gap_ms: i64,
        /// The keys.
        partition_by: Vec<Column>,
    },
}

/// The names of the columns that are added.
const START: &str = "window_start";
const END: &str = "window_end";
const TIME: &str = "window_time";

/// The names of the columns that are added: start, end and time.
pub const BORDER_NAMES: [&str; 3] = [START, END, TIME];

/// The name of a column that shows a TIMESTAMP_LTZ as the clocks of the session's zone do.
pub const LOCAL_TIME: &str = "__local_time";

/// A window table function over a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WindowTableFunction {
    /// The table.
    pub input: LogicalPlan,
    /// The column with a row's time.
    pub time: Column,
    /// The windows.
    pub kind: WindowKind,
    /// The table's columns without its name, then `window_start`, `window_end` and `window_time`.
    pub schema: DFSchemaRef,
}

impl WindowTableFunction {
    /// The function over `input`, whose column `time` is a TIMESTAMP(3).
    pub fn try_new(input: LogicalPlan, time: Column, kind: WindowKind) -> Result<Self> {
        let border = DataType::Timestamp(TimeUnit::Millisecond, None);
        if input.schema().field_from_column(&time)?.data_type() != &border {
            return plan_err!(
                "a window function needs a time column of type TIMESTAMP(3) or TIMESTAMP_LTZ(3), and `{}` is none",
                time.name
            );
        }
        let mut names = input.schema().fields().iter().map(|field| field.name().as_str());
        if let Some(taken) = names.find(|name| [START, END, TIME].contains(name)) {
            return plan_err!(
                "a window function adds a column `{taken}`, and its table has one: rename that"
            );
        }
        let mut fields: Vec<_> =
            input.schema().fields().iter().map(|field| (None, Arc::clone(field))).collect();
        fields
            .extend([START, END, TIME].map(|name| (None, Arc::new(Field::new(name, border.clone(), false)))));
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        Ok(Self { input, time, kind, schema })
    }

    /// The names of the columns that are added: start, end and time.
    pub fn border_names(&self) -> [String; 3] {
        [START, END, TIME].map(str::to_owned)
    }

    /// The number of columns that the input has.
    fn width(&self) -> usize {
        self.input.schema().fields().len()
    }
}

impl PartialOrd for WindowTableFunction {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let key = |node: &Self| (node.kind.clone(), node.time.clone());
        (&self.input, key(self)).partial_cmp(&(&other.input, key(other)))
    }
}

impl UserDefinedLogicalNodeCore for WindowTableFunction {
    fn name(&self) -> &str {
        "WindowTableFunction"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let keys = match &self.kind {
            WindowKind::Session { partition_by, .. } => partition_by.as_slice(),
            _ => &[],
        };
        std::iter::once(&self.time).chain(keys).cloned().map(Expr::Column).collect()
    }

    /// The borders are made here. Less rows would make other sessions.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let free = |name: &str| match &self.kind {
            WindowKind::Session { partition_by, .. } => partition_by.iter().any(|key| key.name == name),
            _ => true,
        };
        let fields = self.schema.fields().iter().enumerate();
        fields
            .filter(|(at, field)| *at >= self.width() || !free(field.name()))
            .map(|(_, field)| field.name().clone())
            .collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            WindowKind::Fixed(panes) => write!(f, "WindowTableFunction: {panes}, time={}", self.time),
            WindowKind::Session { gap_ms, partition_by } => {
                let keys: Vec<String> = partition_by.iter().map(ToString::to_string).collect();
                let keys = keys.join(", ");
                write!(f, "WindowTableFunction: SESSION(gap={gap_ms} ms, keys=[{keys}]), time={}", self.time)
            }
        }
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let columns = exprs.into_iter().map(|expr| match expr {
            Expr::Column(column) => Ok(column),
            other => internal_err!("a window function's `{other}` is no column"),
        });
        let mut columns = columns.collect::<Result<Vec<_>>>()?.into_iter();
        let (Some(time), Ok([input])) = (columns.next(), <[LogicalPlan; 1]>::try_from(inputs)) else {
            return internal_err!("a window function has a time column and an input");
        };
        let kind = match &self.kind {
            WindowKind::Session { gap_ms, .. } => {
                WindowKind::Session { gap_ms: *gap_ms, partition_by: columns.collect() }
            }
            kind => kind.clone(),
        };
        Self::try_new(input, time, kind)
    }

    /// The input's columns that are wanted, and those with time and keys. The others are dropped below, hence from what is put out.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.width();
        let mut needed: Vec<usize> = output_columns.iter().copied().filter(|at| *at < width).collect();
        for expr in self.expressions() {
            let Expr::Column(column) = expr else { return None };
            needed.push(self.input.schema().maybe_index_of_column(&column)?);
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}
