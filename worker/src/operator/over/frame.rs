//! Which rows before a row are aggregated with it, and by what.

use std::sync::Arc;

use datafusion::{
    common::ScalarValue,
    error::{DataFusionError, Result},
    logical_expr::{Accumulator, WindowFrame, WindowFrameBound, WindowFrameUnits},
    physical_expr::{
        PhysicalExpr,
        aggregate::AggregateFunctionExpr,
        window::{PlainAggregateWindowExpr, SlidingAggregateWindowExpr, WindowExpr},
    },
    physical_plan::{
        ExecutionPlan,
        windows::{BoundedWindowAggExec, WindowAggExec},
    },
};

/// How far back rows are aggregated; up to the row itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// So many rows before it; all of them.
    Rows(Option<usize>),
    /// Those whose time is so many milliseconds before its own or less, and those of the same time behind it; all before it.
    Range(Option<i64>),
}

/// An aggregate function and the frame that it is over.
#[derive(Debug, Clone)]
pub struct Function {
    /// The function.
    pub aggregate: Arc<AggregateFunctionExpr>,
    /// Its frame.
    pub frame: Frame,
}

/// The functions of a plan that ends in a window operator.
pub fn functions_of(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<Function>> {
    let exprs = match (plan.downcast_ref::<BoundedWindowAggExec>(), plan.downcast_ref::<WindowAggExec>()) {
        (Some(bounded), _) => bounded.window_expr(),
        (_, Some(plain)) => plain.window_expr(),
        _ => return Err(DataFusionError::Plan(format!("operator {} is no window operator", plan.name()))),
    };
    exprs.iter().map(Function::of).collect()
}

impl Frame {
    fn of(frame: &WindowFrame) -> Result<Self> {
        let unsupported = || DataFusionError::Plan(format!("`OVER` a frame of {frame} in a stream"));
        if !matches!(frame.end_bound, WindowFrameBound::CurrentRow) {
            return Err(unsupported());
        }
        let start = match &frame.start_bound {
            WindowFrameBound::Preceding(start) if start.is_null() => None,
            WindowFrameBound::Preceding(start) => Some(start.clone()),
            WindowFrameBound::CurrentRow if frame.units == WindowFrameUnits::Rows => {
                Some(ScalarValue::UInt64(Some(0)))
            }
            WindowFrameBound::CurrentRow => Some(ScalarValue::new_interval_dt(0, 0)),
            WindowFrameBound::Following(_) => return Err(unsupported()),
        };
        Ok(match (frame.units, start) {
            (WindowFrameUnits::Rows, None) => Frame::Rows(None),
            (WindowFrameUnits::Rows, Some(ScalarValue::UInt64(Some(rows)))) => {
                Frame::Rows(Some(rows as usize))
            }
            (WindowFrameUnits::Range, None) => Frame::Range(None),
            (WindowFrameUnits::Range, Some(start)) => {
                Frame::Range(Some(milliseconds(&start).ok_or_else(unsupported)?))
            }
            _ => return Err(unsupported()),
        })
    }

    /// The first row in the frame of the row at `row`, among rows of these times.
    pub fn first(self, times: &[i64], row: usize) -> usize {
        match self {
            Frame::Rows(None) | Frame::Range(None) => 0,
            Frame::Rows(Some(before)) => row.saturating_sub(before),
            Frame::Range(Some(before)) => {
                let from = times[row].saturating_sub(before);
                times[..row].partition_point(|time| *time < from)
            }
        }
    }

    /// Behind the last row in the frame of the row at `row`.
    pub fn end(self, times: &[i64], row: usize) -> usize {
        match self {
            Frame::Rows(_) => row + 1,
            Frame::Range(_) => row + times[row..].partition_point(|time| *time == times[row]),
        }
    }

    /// Whether rows leave it.
    pub fn is_bounded(self) -> bool {
        !matches!(self, Frame::Rows(None) | Frame::Range(None))
    }
}

fn milliseconds(interval: &ScalarValue) -> Option<i64> {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    match interval {
        ScalarValue::IntervalDayTime(Some(interval)) => {
            Some(i64::from(interval.days) * DAY_MS + i64::from(interval.milliseconds))
        }
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            Some(i64::from(interval.days) * DAY_MS + interval.nanoseconds / 1_000_000)
        }
        ScalarValue::DurationMillisecond(Some(ms)) => Some(*ms),
        _ => None,
    }
}

impl Function {
    /// The aggregate function of a window expression.
    pub fn of(expr: &Arc<dyn WindowExpr>) -> Result<Self> {
        let any = expr.as_any();
        let plain = any.downcast_ref::<PlainAggregateWindowExpr>().map(|expr| expr.get_aggregate_expr());
        let sliding = any.downcast_ref::<SlidingAggregateWindowExpr>().map(|expr| expr.get_aggregate_expr());
        let aggregate = plain.or(sliding).ok_or_else(|| {
            DataFusionError::Plan(format!(
                "`{}` is no aggregate function, as `OVER` in a stream needs",
                expr.name()
            ))
        })?;
        Ok(Self { aggregate: Arc::new(aggregate.clone()), frame: Frame::of(expr.get_window_frame())? })
    }

    /// What it is computed of.
    pub fn arguments(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        self.aggregate.expressions()
    }

    /// An accumulator for it.
    pub fn accumulator(&self) -> Result<Box<dyn Accumulator>> {
        match self.frame.is_bounded() {
            true => self.aggregate.create_sliding_accumulator(),
            false => self.aggregate.create_accumulator(),
        }
    }
}
