//! Operators whose Flink meaning differs from DataFusion's.
//!
//! Whole and floating numbers need nothing: both engines wrap around, and both refuse to divide a whole number by zero.

mod decimal;
mod interval;

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::{
    common::{DFSchema, Result},
    logical_expr::{
        Expr, ExprSchemable,
        expr::ScalarFunction,
        planner::{ExprPlanner, PlannerResult, RawBinaryExpr},
    },
};
use sqlparser::ast::BinaryOperator;

use super::{argument::Kind, builtin::Builtin, temporal};

/// The functions that operators become.
pub fn functions() -> Vec<Builtin> {
    let two = [Kind::Number, Kind::Number];
    vec![
        Builtin::internal("decimal_divide", decimal::divide).takes(&two).returns_by(decimal::quotient_type),
        Builtin::internal("decimal_multiply", decimal::multiply)
            .takes(&two)
            .returns_by(decimal::product_type),
        Builtin::internal("interval_times", interval::times)
            .takes(&[Kind::Any, Kind::Integer])
            .returns(interval::INTERVAL),
        Builtin::internal("decimal_plus", decimal::plus).takes(&two).returns_by(decimal::sum_type),
        Builtin::internal("decimal_minus", decimal::minus).takes(&two).returns_by(decimal::sum_type),
    ]
}

/// Plans operators.
#[derive(Debug)]
pub struct FlinkOperators;

impl ExprPlanner for FlinkOperators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator::{Divide, Minus, Multiply, Plus};
        if !matches!(expr.op, Divide | Multiply | Plus | Minus) {
            return Ok(PlannerResult::Original(expr));
        }
        let types = [expr.left.get_type(schema)?, expr.right.get_type(schema)?];
        let function = match (&expr.op, &types) {
            (Divide, types) if decimal::is_decimal_arithmetic(types) => "decimal_divide",
            (Multiply, types) if interval::is_multiple(types) => "interval_times",
            (Multiply, [left, right]) if interval::is_multiple(&[right.clone(), left.clone()]) => {
                return self.plan_binary_op(
                    RawBinaryExpr { left: expr.right, right: expr.left, op: expr.op },
                    schema,
                );
            }
            (Multiply, types) if decimal::needs_rescaled_product(types) => "decimal_multiply",
            (Plus, types) if decimal::may_overflow_sum(types) => "decimal_plus",
            (Minus, types) if decimal::may_overflow_sum(types) => "decimal_minus",
            (Plus, [left, right]) if is_time(left) && is_interval(right) => "time_plus",
            (Minus, [left, right]) if is_time(left) && is_interval(right) => "time_minus",
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let known = functions().into_iter().chain(temporal::functions()).find(|known| known.name == function);
        Ok(match known {
            Some(known) => {
                let call = ScalarFunction::new_udf(known.into_udf(), vec![expr.left, expr.right]);
                PlannerResult::Planned(Expr::ScalarFunction(call))
            }
            None => PlannerResult::Original(expr),
        })
    }
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Time32(_) | DataType::Time64(_))
}

fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(IntervalUnit::MonthDayNano | IntervalUnit::DayTime))
}
