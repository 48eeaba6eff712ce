//! The logical node above a table that a join looks up as of a time.

use std::{
    cmp::Ordering,
    collections::HashSet,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use datafusion::{
    common::{Column, DFSchemaRef, Result, internal_err},
    logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore},
};
use thalweg_graph::{sql_error::Position, table::TableDescriptor};

/// What is looked up, as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dimension {
    /// Its name, for people.
    pub name: String,
    /// Where it stands in the statement.
    pub position: Position,
    /// The table; none where it is a view.
    pub table: Option<TableDescriptor>,
    /// The columns of which each value has one version at a time; empty where nothing says so.
    pub keys: Vec<String>,
    /// The column with the time at which a version begins.
    pub time: Option<String>,
    /// All versions, where the table is a view that keeps the newest ones.
    pub versions: Option<LogicalPlan>,
}

/// As of which time a table is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub enum AsOfTime {
    /// What the query names: not yet found among the columns of the join's left side.
    Named(Vec<String>),
    /// When the row of the left side comes.
    Processing,
    /// The event time of the row of the left side.
    Event {
        /// The column with the time at which a version begins.
        begin: Column,
        /// The columns of the key.
        keys: Vec<Column>,
    },
}

/// A table as of a time. Rows pass unchanged; a filter above must not hide a version from the choice of the one that is valid.
#[derive(Debug, Clone)]
pub struct AsOf {
    /// The table, computed columns included.
    pub input: LogicalPlan,
    /// What it is.
    pub dimension: Arc<Dimension>,
    /// As of when.
    pub time: AsOfTime,
}

impl PartialEq for AsOf {
    fn eq(&self, other: &Self) -> bool {
        (&self.input, &self.dimension, &self.time) == (&other.input, &other.dimension, &other.time)
    }
}

impl Eq for AsOf {}

impl Hash for AsOf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.input, &self.dimension.name, &self.time).hash(state);
    }
}

impl PartialOrd for AsOf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.input, &self.time).partial_cmp(&(&other.input, &other.time))
    }
}

impl UserDefinedLogicalNodeCore for AsOf {
    fn name(&self) -> &str {
        "AsOf"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        match &self.time {
            AsOfTime::Event { begin, keys } => {
                std::iter::once(begin).chain(keys).cloned().map(Expr::Column).collect()
            }
            AsOfTime::Named(_) | AsOfTime::Processing => Vec::new(),
        }
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.time {
            AsOfTime::Named(time) => write!(f, "AsOf: {}", time.join(".")),
            AsOfTime::Processing => write!(f, "AsOf: processing time"),
            AsOfTime::Event { begin, keys } => {
                let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
                write!(f, "AsOf: event time {begin}, keys=[{}]", keys.join(", "))
            }
        }
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([input]) = <[LogicalPlan; 1]>::try_from(inputs) else {
            return internal_err!("a table as of a time has one input");
        };
        let columns = exprs.into_iter().map(|expr| match expr {
            Expr::Column(column) => Ok(column),
            other => internal_err!("`{other}` of a versioned table is no column"),
        });
        let mut columns = columns.collect::<Result<Vec<_>>>()?.into_iter();
        let time = match (&self.time, columns.next()) {
            (AsOfTime::Event { .. }, Some(begin)) => AsOfTime::Event { begin, keys: columns.collect() },
            (time, _) => time.clone(),
        };
        Ok(Self { input, dimension: Arc::clone(&self.dimension), time })
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.input.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut needed = output_columns.to_vec();
        for expr in self.expressions() {
            let Expr::Column(column) = expr else { return None };
            needed.push(self.input.schema().maybe_index_of_column(&column)?);
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}
