//! Finds the casts, and negations, that DataFusion would do otherwise than Flink and makes them calls of ours.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::{
    common::{DFSchema, Result, ScalarValue, config::ConfigOptions, tree_node::Transformed},
    logical_expr::{
        self, Expr, ExprSchemable, ScalarUDF,
        expr::{Cast, ScalarFunction, TryCast},
        expr_rewriter::FunctionRewrite,
    },
};

use super::{check_allowed, functions};

/// The rewrite, for DataFusion's analyzer.
#[derive(Debug)]
pub struct CastRewrite;

static FUNCTIONS: LazyLock<[Option<Arc<ScalarUDF>>; 2]> = LazyLock::new(|| {
    ["cast_to", "try_cast_to"].map(|name| {
        functions().into_iter().find(|function| function.name == name).map(|function| function.into_udf())
    })
});

impl FunctionRewrite for CastRewrite {
    fn name(&self) -> &str {
        "flink_casts"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _config: &ConfigOptions) -> Result<Transformed<Expr>> {
        if let Expr::Negative(inner) = &expr
            && let number = inner.get_type(schema)?
            && number.is_signed_integer()
        {
            // A negation fails for the smallest number, a difference wraps around.
            let zero = Expr::Literal(ScalarValue::new_zero(&number)?, None);
            return Ok(Transformed::yes(zero - (**inner).clone()));
        }
        let Some((inner, target, try_cast)) = parts(&expr) else { return Ok(Transformed::no(expr)) };
        let source = inner.get_type(schema)?;
        check_allowed(&source, &target)?;
        if let (Expr::Literal(ScalarValue::Int64(Some(value)), metadata), DataType::Int32) = (inner, &target)
            && let Ok(value) = i32::try_from(*value)
        {
            return Ok(Transformed::yes(Expr::Literal(ScalarValue::Int32(Some(value)), metadata.clone())));
        }
        Ok(match (&expr, needs_own(&source, &target)) {
            (Expr::ScalarFunction(_), true) | (Expr::Cast(_) | Expr::TryCast(_), false) => {
                Transformed::no(expr)
            }
            (_, true) => match cast_call(inner, &target, try_cast)? {
                Some(call) => Transformed::yes(call),
                None => Transformed::no(expr),
            },
            (_, false) if try_cast => Transformed::yes(logical_expr::try_cast(inner.clone(), target)),
            (_, false) => Transformed::yes(logical_expr::cast(inner.clone(), target)),
        })
    }
}

/// Of a cast, or of a call that stands for one: what is cast, to what, and whether it may fail.
fn parts(expr: &Expr) -> Option<(&Expr, DataType, bool)> {
    match expr {
        Expr::Cast(Cast { expr, field }) => Some((expr, field.data_type().clone(), false)),
        Expr::TryCast(TryCast { expr, field }) => Some((expr, field.data_type().clone(), true)),
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            let [inner, Expr::Literal(target, _)] = args.as_slice() else { return None };
            let place = FUNCTIONS.iter().position(|known| known.as_ref() == Some(func))?;
            Some((inner, target.data_type(), place == 1))
        }
        _ => None,
    }
}

/// The call that stands for a cast.
pub fn cast_call(inner: &Expr, target: &DataType, try_cast: bool) -> Result<Option<Expr>> {
    let Some(function) = &FUNCTIONS[usize::from(try_cast)] else { return Ok(None) };
    let target = Expr::Literal(ScalarValue::try_from(target)?, None);
    Ok(Some(function.call(vec![inner.clone(), target])))
}

/// A cast that is made after the analyzer has rewritten those of the query.
pub fn cast_expr(expr: Expr, source: &DataType, target: &DataType) -> Result<Expr> {
    match needs_own(source, target).then(|| cast_call(&expr, target, false)).transpose()?.flatten() {
        Some(call) => Ok(call),
        None => Ok(logical_expr::cast(expr, target.clone())),
    }
}

/// Whether a cast between these types is ours to do.
pub fn needs_own(source: &DataType, target: &DataType) -> bool {
    use DataType::*;
    if source == target || source.is_null() {
        return false;
    }
    match (source, target) {
        (Dictionary(..), _) | (_, Dictionary(..)) => false,
        _ if source.is_string() => !(target.is_string() || is_binary(target)),
        _ if target.is_string() => true,
        (List(source), List(target)) => needs_own(source.data_type(), target.data_type()),
        // Arrow goes by the names of fields, SQL by their places.
        (Struct(source), Struct(target)) => {
            source.len() == target.len()
                && source.iter().zip(target).any(|(source, target)| {
                    source.name() != target.name() || needs_own(source.data_type(), target.data_type())
                })
        }
        (Boolean, _) => target.is_decimal(),
        (_, Boolean) => source.is_decimal(),
        _ if source.is_integer() && target.is_integer() => digits(source) > digits(target),
        _ if source.is_numeric() && target.is_integer() => true,
        _ if source.is_floating() && target.is_decimal() => true,
        _ if source.is_numeric() && target.is_decimal() => !widens(source, target),
        (Timestamp(_, from), Timestamp(_, to)) => from.is_some() != to.is_some(),
        (Timestamp(_, Some(_)), _)
        | (Time32(_) | Time64(_), Timestamp(..))
        | (Date32, Timestamp(_, Some(_))) => true,
        _ => false,
    }
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)
    )
}

fn widens(source: &DataType, target: &DataType) -> bool {
    let scale = |data_type: &DataType| match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    };
    let whole_digits = |data_type: &DataType| i32::from(digits(data_type)) - i32::from(scale(data_type));
    scale(target) >= scale(source) && whole_digits(target) >= whole_digits(source)
}

/// Digits that the largest value may have.
fn digits(data_type: &DataType) -> u8 {
    match data_type {
        DataType::Int8 | DataType::UInt8 => 3,
        DataType::Int16 | DataType::UInt16 => 5,
        DataType::Int32 | DataType::UInt32 => 10,
        DataType::Int64 => 19,
        DataType::UInt64 => 20,
        DataType::Decimal32(precision, _)
        | DataType::Decimal64(precision, _)
        | DataType::Decimal128(precision, _)
        | DataType::Decimal256(precision, _) => *precision,
        _ => u8::MAX,
    }
}
