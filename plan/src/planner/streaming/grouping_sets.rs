//! `GROUPING SETS`, `CUBE` and `ROLLUP`: each row once for each set, with NULL for the keys that are not in it and the set's number as
//! a key of its own; then an aggregation like others.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::{DataType, Field},
    common::{Column, ScalarValue},
    logical_expr::{Aggregate, Expr, ExprSchemable as _, GroupingSet},
    physical_plan::projection::{ProjectionExec, ProjectionExpr},
};
use thalweg_graph::SqlError;

use super::{
    stream::{QualifiedField, Stream, column_of, fields_of, schema_of},
    translate::{Translation, unsupported},
    vertex::columns_plan,
};
use crate::{error, exec::codec, stream::OperatorKind};

/// Begins the names of keys that some sets have.
const KEY: &str = "__key";

impl Translation<'_> {
    /// The rows of an aggregation by sets of keys, and the aggregation of these by plain keys.
    pub(super) fn expanded(
        &mut self,
        input: Stream,
        aggregate: &Aggregate,
        set: &GroupingSet,
    ) -> Result<(Stream, Aggregate), SqlError> {
        let sets = written_out(set);
        let mut fields = fields_of(&input.schema);
        let mut groups = Vec::new();
        // The expressions that some sets have and some have not.
        let mut partial: Vec<&Expr> = Vec::new();
        let all = set.distinct_expr();
        for (at, expr) in all.iter().copied().enumerate() {
            if sets.iter().all(|set| set.contains(expr)) {
                groups.push(expr.clone());
                continue;
            }
            if input.pending.as_ref().is_some_and(|pending| pending.is_used_by(expr)) {
                return Err(unsupported(
                    "`GROUPING SETS` of which some lack `window_start` or `window_end` in streaming mode",
                ));
            }
            let data_type = expr.get_type(input.schema.as_ref()).map_err(error::from_datafusion)?;
            let field = added(format!("{KEY}{at}"), data_type);
            groups.push(Expr::Column(column_of(&field)));
            fields.push(field);
            partial.push(expr);
        }
        let number = aggregate.schema.field(all.len());
        let number = added(number.name().clone(), number.data_type().clone());
        groups.push(Expr::Column(column_of(&number)));
        let number_type = number.1.data_type().clone();
        fields.push(number);
        let schema = schema_of(fields).map_err(error::from_datafusion)?;
        let own: Vec<Expr> = input.schema.iter().map(|column| Expr::Column(Column::from(column))).collect();
        let mut plans = Vec::with_capacity(sets.len());
        for (set_at, set) in sets.iter().enumerate() {
            let mut exprs = own.clone();
            for expr in &partial {
                let data_type = schema.field(exprs.len()).data_type();
                let null = || ScalarValue::try_from(data_type).map(|null| Expr::Literal(null, None));
                exprs.push(match set.contains(expr) {
                    true => Expr::clone(expr),
                    false => null().map_err(error::from_datafusion)?,
                });
            }
            // A set that stands there twice counts twice.
            let ordinal = sets[..set_at].iter().filter(|other| same(other, set)).count() as u64;
            let number = all.iter().fold(0, |bits: u64, expr| bits << 1 | u64::from(!set.contains(expr)));
            let number = ScalarValue::UInt64(Some(number | ordinal << all.len())).cast_to(&number_type);
            exprs.push(Expr::Literal(number.map_err(error::from_datafusion)?, None));
            let mut physical = Vec::with_capacity(exprs.len());
            for (expr, field) in exprs.iter().zip(schema.fields()) {
                let expr = self.physical(expr, &input.schema)?;
                physical.push(ProjectionExpr { expr, alias: field.name().clone() });
            }
            let plan = ProjectionExec::try_new(physical, columns_plan(input.schema.inner()));
            let plan = plan.and_then(|plan| codec::encode(&(Arc::new(plan) as _)));
            plans.push(plan.map_err(error::from_datafusion)?);
        }
        let display = format!("Expand: {} sets", sets.len());
        self.draft.vertices[input.vertex].push("Expand", display, OperatorKind::Expand { plans });
        let plain = Aggregate::try_new_with_schema(
            Arc::clone(&aggregate.input),
            groups,
            aggregate.aggr_expr.clone(),
            Arc::clone(&aggregate.schema),
        );
        Ok((Stream { schema, ..input }, plain.map_err(error::from_datafusion)?))
    }
}

/// The sets that `CUBE` and `ROLLUP` stand for.
fn written_out(set: &GroupingSet) -> Vec<Vec<Expr>> {
    match set {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Rollup(exprs) => (0..=exprs.len()).map(|upto| exprs[..upto].to_vec()).collect(),
        GroupingSet::Cube(exprs) => exprs.iter().fold(vec![Vec::new()], |sets, expr| {
            let with =
                sets.iter().map(|set: &Vec<Expr>| [set.as_slice(), std::slice::from_ref(expr)].concat());
            let with: Vec<Vec<Expr>> = with.collect();
            [sets, with].concat()
        }),
    }
}

fn same(one: &[Expr], other: &[Expr]) -> bool {
    one.iter().all(|expr| other.contains(expr)) && other.iter().all(|expr| one.contains(expr))
}

fn added(name: String, data_type: DataType) -> QualifiedField {
    (None, Arc::new(Field::new(name, data_type, true)))
}
