//! How far apart the times of two rows may be that a join's condition lets meet.

use datafusion::{
    common::{Column, ScalarValue},
    logical_expr::{BinaryExpr, Expr, Join, Operator, utils::split_conjunction},
};

use super::stream::Stream;
use crate::{bare_expr::unaliased, panes::WindowBound};

/// The times of both sides, and by how much that of the left side may be after that of the right side.
pub(super) struct Interval {
    /// The left side's time.
    pub left: Column,
    /// The right side's time.
    pub right: Column,
    /// At least so many milliseconds.
    pub lower_ms: i64,
    /// At most so many.
    pub upper_ms: i64,
}

/// A time of one side, moved.
struct Moved<'e> {
    column: &'e Column,
    by_ms: i64,
}

impl Interval {
    /// The interval that the condition of a join sets on both ends.
    pub fn of(join: &Join, left: &Stream, right: &Stream) -> Option<Self> {
        if left.updating || right.updating {
            return None;
        }
        let equal = join.on.iter().map(|(a, b)| (a, Operator::Eq, b));
        let filters = join.filter.iter().flat_map(split_conjunction).filter_map(|expr| match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => Some((&**left, *op, &**right)),
            _ => None,
        });
        let mut found: Option<Interval> = None;
        for (a, op, b) in equal.chain(filters) {
            // `left + x op right + y` says `left - right op y - x`.
            let (from_left, from_right, op) =
                match (moved(a, left), moved(b, right), moved(b, left), moved(a, right)) {
                    (Some(a), Some(b), ..) => (a, b, op),
                    (.., Some(b), Some(a)) => match op.swap() {
                        Some(op) => (b, a, op),
                        None => continue,
                    },
                    _ => continue,
                };
            let bound = from_right.by_ms - from_left.by_ms;
            let (lower_ms, upper_ms) = match op {
                Operator::Eq => (bound, bound),
                Operator::GtEq => (bound, i64::MAX),
                Operator::Gt => (bound + 1, i64::MAX),
                Operator::LtEq => (i64::MIN, bound),
                Operator::Lt => (i64::MIN, bound - 1),
                _ => continue,
            };
            let (left, right) = (from_left.column.clone(), from_right.column.clone());
            let interval = found.get_or_insert(Interval { left, right, lower_ms, upper_ms });
            if &interval.left == from_left.column && &interval.right == from_right.column {
                interval.lower_ms = interval.lower_ms.max(lower_ms);
                interval.upper_ms = interval.upper_ms.min(upper_ms);
            }
        }
        found.filter(|interval| interval.lower_ms > i64::MIN && interval.upper_ms < i64::MAX)
    }
}

/// An event time of a stream, or the end of a window, which event time passes as late, with an interval added or taken away.
fn moved<'e>(expr: &'e Expr, stream: &Stream) -> Option<Moved<'e>> {
    match unaliased(expr) {
        Expr::Column(column) => {
            let is_time =
                stream.is_time(column) || stream.border(expr).is_some_and(|bound| bound == WindowBound::End);
            is_time.then_some(Moved { column, by_ms: 0 })
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let Moved { column, by_ms } = moved(left, stream)?;
            let Expr::Literal(interval, _) = unaliased(right) else { return None };
            let interval_ms = milliseconds(interval)?;
            match op {
                Operator::Plus => Some(Moved { column, by_ms: by_ms + interval_ms }),
                Operator::Minus => Some(Moved { column, by_ms: by_ms - interval_ms }),
                _ => None,
            }
        }
        _ => None,
    }
}

/// An interval of days or less in milliseconds.
fn milliseconds(interval: &ScalarValue) -> Option<i64> {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    match interval {
        ScalarValue::IntervalDayTime(Some(interval)) => {
            Some(i64::from(interval.days) * DAY_MS + i64::from(interval.milliseconds))
        }
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            Some(i64::from(interval.days) * DAY_MS + interval.nanoseconds.div_euclid(1_000_000))
        }
        ScalarValue::DurationMillisecond(Some(ms)) => Some(*ms),
        _ => None,
    }
}
