//! Columns that a filter fixes to one value, replaced by that value where they are computed with.
//!
//! Of `CASE WHEN kind = 0 THEN a WHEN kind = 1 THEN b ELSE c END` above `kind = 2` only `c` is left, and neither `a` nor `b` is read.

use std::collections::HashMap;

use datafusion::{
    arrow::datatypes::DataType,
    common::{
        Column, Result, ScalarValue,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::{
        BinaryExpr, Case, Expr, LogicalPlan, Operator, TableProviderFilterPushDown, utils::split_conjunction,
    },
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};

use crate::bare_expr::unaliased;

/// The rule. It comes before expressions are simplified and columns that nobody reads are left out.
#[derive(Debug)]
pub struct FilterConstants;

impl OptimizerRule for FilterConstants {
    fn name(&self) -> &str {
        "filter_constants"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Projection(projection) = &plan else { return Ok(Transformed::no(plan)) };
        let constants = constants(&projection.input)?;
        if constants.is_empty() {
            return Ok(Transformed::no(plan));
        }
        let mut changed = false;
        let mut exprs = Vec::with_capacity(projection.expr.len());
        for expr in &projection.expr {
            // A column that is only passed on stays what it is, so that its name and its nullability do.
            let computes = !matches!(unaliased(expr), Expr::Column(_));
            let replaced = match computes {
                true => replaced(expr.clone(), &constants)?,
                false => Transformed::no(expr.clone()),
            };
            changed |= replaced.transformed;
            exprs.push(replaced.data);
        }
        if !changed {
            return Ok(Transformed::no(plan));
        }
        Ok(Transformed::yes(plan.with_new_exprs(exprs, vec![projection.input.as_ref().clone()])?))
    }
}

/// The columns that a filter directly below fixes.
fn constants(input: &LogicalPlan) -> Result<HashMap<Column, ScalarValue>> {
    let mut constants = HashMap::new();
    match input {
        LogicalPlan::Filter(filter) => collect(&filter.predicate, &mut constants),
        LogicalPlan::TableScan(scan) => {
            let filters: Vec<&Expr> = scan.filters.iter().collect();
            let supported = scan.source.supports_filters_pushdown(&filters)?;
            for (filter, supported) in filters.into_iter().zip(supported) {
                if supported == TableProviderFilterPushDown::Exact {
                    collect(filter, &mut constants);
                }
            }
        }
        _ => {}
    }
    constants.retain(|column, _| input.schema().maybe_index_of_column(column).is_some());
    Ok(constants)
}

fn collect(predicate: &Expr, constants: &mut HashMap<Column, ScalarValue>) {
    for conjunct in split_conjunction(predicate) {
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = conjunct else { continue };
        let fixed = match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(value, _))
            | (Expr::Literal(value, _), Expr::Column(column)) => (column, value),
            _ => continue,
        };
        // Of other types values can be equal and not the same: 0.0 and -0.0.
        if fixed.1.data_type().is_integer() || fixed.1.data_type() == DataType::Boolean {
            constants.insert(fixed.0.clone(), fixed.1.clone());
        }
    }
}

/// The expression with its columns replaced, under the name that it had.
fn replaced(expr: Expr, constants: &HashMap<Column, ScalarValue>) -> Result<Transformed<Expr>> {
    let name = expr.qualified_name();
    let replaced = expr.transform(|node| match &node {
        Expr::Column(column) => match constants.get(column) {
            Some(value) => Ok(Transformed::yes(Expr::Literal(value.clone(), None))),
            None => Ok(Transformed::no(node)),
        },
        Expr::Case(case) => {
            Ok(searched(case).map_or_else(|| Transformed::no(node.clone()), Transformed::yes))
        }
        _ => Ok(Transformed::no(node)),
    })?;
    if replaced.transformed && replaced.data.qualified_name() != name {
        let (relation, name) = name;
        return Ok(Transformed::yes(replaced.data.alias_qualified(relation, name)));
    }
    Ok(replaced)
}

/// `CASE 2 WHEN v THEN ...` as `CASE WHEN 2 = v THEN ...`, which the simplifier knows how to decide.
fn searched(case: &Case) -> Option<Expr> {
    let base = case.expr.as_ref().filter(|base| matches!(base.as_ref(), Expr::Literal(..)))?;
    let when = case
        .when_then_expr
        .iter()
        .map(|(when, then)| (Box::new(base.as_ref().clone().eq(when.as_ref().clone())), then.clone()));
    Some(Expr::Case(Case::new(None, when.collect(), case.else_expr.clone())))
}

#[cfg(test)]
mod tests {
    use datafusion::{
        common::DFSchema,
        logical_expr::{EmptyRelation, LogicalPlanBuilder, case, col, lit, when},
        optimizer::{Optimizer, OptimizerContext},
    };
    use std::sync::Arc;

    use datafusion::arrow::datatypes::{Field, Schema};

    use super::*;

    fn optimized(predicate: Expr) -> String {
        let searched = when(col("kind").eq(lit(0)), col("a")).otherwise(col("b")).unwrap();
        let simple = case(col("kind")).when(lit(0), col("a")).otherwise(col("b")).unwrap();
        let [searched, simple] = [searched, simple].map(|case| optimized_case(predicate.clone(), case));
        assert_eq!(searched.contains("CASE"), simple.contains("CASE"));
        searched
    }

    fn optimized_case(predicate: Expr, case: Expr) -> String {
        let fields = ["kind", "a", "b"].map(|name| Field::new(name, DataType::Int32, true));
        let schema = DFSchema::try_from(Schema::new(fields.to_vec())).unwrap();
        let rows =
            LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, schema: Arc::new(schema) });
        let plan = LogicalPlanBuilder::from(rows)
            .filter(predicate)
            .unwrap()
            .project([col("kind"), case.alias("x")])
            .unwrap()
            .build()
            .unwrap();
        let mut rules = Optimizer::new().rules;
        rules.retain(|rule| rule.name() == "simplify_expressions");
        rules.insert(0, Arc::new(FilterConstants));
        let plan = Optimizer::with_rules(rules).optimize(plan, &OptimizerContext::new(), |_, _| {}).unwrap();
        plan.display_indent().to_string().lines().next().unwrap().to_owned()
    }

    #[test]
    fn a_fixed_column_decides_a_case() {
        assert_eq!(optimized(col("kind").eq(lit(2))), "Projection: kind, b AS x");
        assert_eq!(optimized(lit(0).eq(col("kind")).and(col("a").gt(lit(1)))), "Projection: kind, a AS x");
    }

    #[test]
    fn a_column_with_several_values_stays() {
        assert!(optimized(col("kind").gt(lit(0))).contains("CASE"));
        assert!(optimized(col("kind").eq(lit(2)).or(col("a").eq(lit(1)))).contains("CASE"));
    }
}
