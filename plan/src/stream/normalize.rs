//! The logical node above a table whose rows replace those with the same key.

use std::{collections::HashSet, fmt};

use datafusion::{
    common::{Column, DFSchemaRef, Result, internal_err},
    logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore},
};

/// New rows of keys, and keys that have ended, become whole rows that are added and taken back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct ChangelogNormalizeNode {
    /// The table, computed columns included. Of a key that has ended a row has nothing but the key.
    pub input: LogicalPlan,
    /// The columns of the key.
    pub keys: Vec<Column>,
    /// Whether each row comes out, also one that is replaced soon: it is a version.
    pub each: bool,
}

impl UserDefinedLogicalNodeCore for ChangelogNormalizeNode {
    fn name(&self) -> &str {
        "ChangelogNormalize"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.keys.iter().cloned().map(Expr::Column).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        write!(f, "ChangelogNormalize: keys=[{}]", keys.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([input]) = <[LogicalPlan; 1]>::try_from(inputs) else {
            return internal_err!("a table of upserts is one input");
        };
        let keys = exprs.into_iter().map(|expr| match expr {
            Expr::Column(column) => Ok(column),
            other => internal_err!("`{other}` of a table's key is no column"),
        });
        Ok(Self { input, keys: keys.collect::<Result<_>>()?, each: self.each })
    }

    /// A row that a filter leaves out replaces the one before it nevertheless.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let is_key = |name: &str| self.keys.iter().any(|key| key.name == name);
        let names = self.input.schema().fields().iter().map(|field| field.name().clone());
        names.filter(|name| !is_key(name)).collect()
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut needed = output_columns.to_vec();
        for key in &self.keys {
            needed.push(self.input.schema().maybe_index_of_column(key)?);
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}
