//! Numbers and timestamps written in SQL have the types that Flink gives them: `1` is an INT, `1e3` a DOUBLE, and
//! `TIMESTAMP '...'` has as many fractional digits as are written.

use sqlparser::ast::{
    CastKind, DataType, ExactNumberInfo, Expr, TypedString, Value, ValueWithSpan, WindowFrame,
    WindowFrameBound,
};

use super::text;

/// Gives a number its type by a cast, which the planner folds away.
pub fn type_number(expr: &mut Expr) {
    let Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) = &*expr else { return };
    if number.parse::<i32>().is_ok() {
        *expr = cast(expr.clone(), DataType::Int(None));
    } else if number.contains(['e', 'E']) {
        // The planner would read the number as a decimal, which has too few digits for `1e308`.
        *expr = cast(text(number.clone()), DataType::Double(ExactNumberInfo::None));
    }
}

/// The smallest INT and BIGINT: without its sign the number would be too large.
pub fn type_smallest(expr: &mut Expr) {
    let Expr::UnaryOp { expr: number, .. } = &*expr else { return };
    let Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) = &**number else { return };
    let data_type = match number.as_str() {
        "2147483648" => DataType::Int(None),
        "9223372036854775808" => DataType::BigInt(None),
        _ => return,
    };
    *expr = cast(text(format!("-{number}")), data_type);
}

/// Undoes [`type_number`] where SQL wants a bare number: `LIMIT 5`, `ORDER BY 1`.
pub fn untype_number(expr: &mut Expr) {
    let Expr::Cast { expr: inner, data_type: DataType::Int(None), .. } = expr else { return };
    if matches!(&**inner, Expr::Value(ValueWithSpan { value: Value::Number(..), .. })) {
        *expr = (**inner).clone();
    }
}

/// Undoes [`type_number`] in `ROWS BETWEEN 2 PRECEDING AND ...`.
pub fn untype_frame(frame: &mut WindowFrame) {
    for bound in [Some(&mut frame.start_bound), frame.end_bound.as_mut()].into_iter().flatten() {
        if let WindowFrameBound::Preceding(Some(rows)) | WindowFrameBound::Following(Some(rows)) = bound {
            untype_number(rows);
        }
    }
}

/// `TIMESTAMP '2020-01-05 10:11:12.5'` as a cast to a timestamp of the right precision.
pub fn timestamp(literal: &TypedString) -> Option<Expr> {
    let DataType::Timestamp(None, zone) = &literal.data_type else { return None };
    let Value::SingleQuotedString(text) = &literal.value.value else { return None };
    let digits = text.trim().rsplit_once('.').map_or(0, |(_, fraction)| fraction.len() as u64);
    let precision = if digits <= 3 { 3 } else { digits.min(9) };
    Some(cast(Expr::Value(literal.value.clone()), DataType::Timestamp(Some(precision), *zone)))
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}
