//! The logical node above a table that declares `WATERMARK FOR column AS expression`.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashSet},
    fmt,
    time::Duration,
};

use datafusion::{
    common::{Column, DFSchema, DFSchemaRef, Result, internal_err},
    logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore},
};
use serde::{Deserialize, Serialize};
use thalweg_graph::options::Value as _;

/// The table options about event time, which the tables of all connectors have.
pub const MAX_AHEAD: &str = "scan.watermark.max-ahead";
/// Sources of the same group do not run away from each other.
pub const ALIGNMENT_GROUP: &str = "scan.watermark.alignment.group";
/// How far one may be ahead of the slowest of its group.
pub const ALIGNMENT_MAX_DRIFT: &str = "scan.watermark.alignment.max-drift";
/// How often they compare.
pub const ALIGNMENT_UPDATE_INTERVAL: &str = "scan.watermark.alignment.update-interval";

/// What a table says about its event time besides the expression.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct WatermarkOptions {
    /// Rows further ahead of the clock than this do not move event time.
    pub max_ahead_ms: Option<i64>,
    /// With which other sources it keeps pace.
    pub alignment: Option<WatermarkAlignment>,
}

/// How sources keep pace with each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WatermarkAlignment {
    /// The group's name, within a job.
    pub group: String,
    /// How far a source may be ahead of the slowest of the group.
    pub max_drift_ms: i64,
    /// How often they compare.
    pub update_interval_ms: u64,
}

impl WatermarkOptions {
    /// Those of a table with these options; else what is wrong with them.
    pub fn of(options: &BTreeMap<String, String>) -> Result<Self, String> {
        let duration = |name: &str| match options.get(name) {
            None => Ok(None),
            Some(text) => Duration::parse(text).map(|time| Some(time.as_millis() as i64)).ok_or_else(|| {
                format!("option `{name}` cannot be `{text}`: expected {}", Duration::EXPECTED)
            }),
        };
        let group = options.get(ALIGNMENT_GROUP);
        let alignment = match (group, duration(ALIGNMENT_MAX_DRIFT)?) {
            (Some(group), Some(max_drift_ms)) => {
                let interval_ms = duration(ALIGNMENT_UPDATE_INTERVAL)?.unwrap_or(1_000);
                let update_interval_ms = u64::try_from(interval_ms).unwrap_or_default().max(1);
                Some(WatermarkAlignment { group: group.clone(), max_drift_ms, update_interval_ms })
            }
            (None, None) => None,
            _ => {
                return Err(format!(
                    "options `{ALIGNMENT_GROUP}` and `{ALIGNMENT_MAX_DRIFT}` belong together: give both or none"
                ));
            }
        };
        Ok(Self { max_ahead_ms: duration(MAX_AHEAD)?, alignment })
    }
}

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
    /// What else the table says.
    pub options: WatermarkOptions,
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
                let (steady, options) = (self.steady.clone(), self.options.clone());
                Ok(Self { input, time, expression, steady, options })
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
