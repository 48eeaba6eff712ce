//! A view that keeps the newest row of each key as the versions that it chooses from:
//!
//! `SELECT .. FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS place FROM t) WHERE place = 1`

use std::sync::Arc;

use datafusion::{
    common::{DFSchema, ScalarValue},
    logical_expr::{
        BinaryExpr, Cast, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection, SubqueryAlias,
        Window, WindowFunctionDefinition, lit,
    },
};

use crate::bare_expr::{unaliased, uncast};

/// The rows that such a view chooses from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// The view's plan without the choice.
    pub plan: LogicalPlan,
    /// The names of the columns of the key.
    pub keys: Vec<String>,
    /// That of the column with the time.
    pub time: String,
}

impl Versions {
    /// What the plan of a view chooses from, if that is all that it does.
    pub fn of(plan: &LogicalPlan) -> Option<Self> {
        let found = Found::in_plan(plan)?;
        let schema = found.plan.schema();
        let name = |position: &usize| schema.field(*position).name().clone();
        let (keys, time) = (found.keys.iter().map(name).collect(), name(&found.time));
        (found.place.is_none() && !found.keys.is_empty()).then_some(Self { keys, time, plan: found.plan })
    }
}

/// A part of the plan that has the number of each row's place, or has chosen by it.
struct Found {
    plan: LogicalPlan,
    /// Places of columns.
    keys: Vec<usize>,
    time: usize,
    /// The column with the number, as long as nothing has chosen by it.
    place: Option<usize>,
}

impl Found {
    fn in_plan(plan: &LogicalPlan) -> Option<Self> {
        match plan {
            LogicalPlan::Window(window) => Self::numbered(window),
            LogicalPlan::Filter(filter) => Self::in_plan(&filter.input)?.chosen(filter),
            LogicalPlan::Projection(projection) => Self::in_plan(&projection.input)?.projected(projection),
            LogicalPlan::SubqueryAlias(alias) => {
                let found = Self::in_plan(&alias.input)?;
                let plan = SubqueryAlias::try_new(Arc::new(found.plan), alias.alias.clone()).ok()?;
                Some(Self { plan: LogicalPlan::SubqueryAlias(plan), ..found })
            }
            _ => None,
        }
    }

    /// Every row is a version, so each has the place of the one that is chosen.
    fn numbered(window: &Window) -> Option<Self> {
        let [expr] = window.window_expr.as_slice() else { return None };
        let Expr::WindowFunction(function) = unaliased(expr) else { return None };
        let WindowFunctionDefinition::WindowUDF(udf) = &function.fun else { return None };
        let [order] = function.params.order_by.as_slice() else { return None };
        if udf.name() != "row_number" || order.asc {
            return None;
        }
        let schema = window.input.schema();
        let keys: Option<Vec<usize>> =
            function.params.partition_by.iter().map(|key| position(key, schema)).collect();
        let (keys, time) = (keys?, position(&order.expr, schema)?);
        let place = window.schema.field(schema.fields().len());
        let first = Expr::Cast(Cast::new(Box::new(lit(1_i64)), place.data_type().clone()));
        let own = schema.iter().map(|column| Expr::Column(column.into()));
        let plan = LogicalPlanBuilder::new_from_arc(Arc::clone(&window.input))
            .project(own.chain([first.alias(place.name())]))
            .and_then(LogicalPlanBuilder::build);
        Some(Self { plan: plan.ok()?, keys, time, place: Some(schema.fields().len()) })
    }

    fn chosen(self, filter: &Filter) -> Option<Self> {
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq | Operator::LtEq, right }) =
            &filter.predicate
        else {
            return None;
        };
        let place = position(uncast(left), filter.input.schema());
        let Expr::Literal(number, _) = uncast(right) else { return None };
        let is_first =
            number.cast_to(&arrow::datatypes::DataType::Int64).ok()? == ScalarValue::Int64(Some(1));
        (place.is_some() && place == self.place && is_first).then_some(Self { place: None, ..self })
    }

    fn projected(self, projection: &Projection) -> Option<Self> {
        let schema = projection.input.schema();
        let moved =
            |from: usize| projection.expr.iter().position(|expr| position(expr, schema) == Some(from));
        let keys: Option<Vec<usize>> = self.keys.iter().copied().map(moved).collect();
        let (keys, time) = (keys?, moved(self.time)?);
        let place = match self.place {
            Some(place) => {
                let is_it = |expr: &Expr| position(uncast(expr), schema) == Some(place);
                Some(projection.expr.iter().position(is_it)?)
            }
            None => None,
        };
        let plan = Projection::try_new(projection.expr.clone(), Arc::new(self.plan)).ok()?;
        Some(Self { plan: LogicalPlan::Projection(plan), keys, time, place })
    }
}

/// The place of the column that an expression is.
fn position(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match unaliased(expr) {
        Expr::Column(column) => schema.maybe_index_of_column(column),
        _ => None,
    }
}
