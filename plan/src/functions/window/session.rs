//! The sessions of rows as window functions, for `SESSION` over tables that end.
//!
//! `session_start(time, gap_ms) OVER (PARTITION BY keys ORDER BY time)` and `session_end` of the same: rows whose times are not
//! further apart than the gap are in one session, which ends a gap after its last row.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray as _, TimestampMillisecondArray},
    datatypes::{DataType, Field, FieldRef, TimeUnit, TimestampMillisecondType},
};
use datafusion::{
    common::{Result, ScalarValue, exec_datafusion_err},
    logical_expr::{
        LimitEffect, PartitionEvaluator, Signature, TypeSignature, Volatility, WindowUDF, WindowUDFImpl,
        function::{PartitionEvaluatorArgs, WindowUDFFieldArgs},
    },
    physical_expr::expressions::Literal,
    physical_plan::PhysicalExpr,
};

/// The name of the function that gives the start of a row's session.
pub const SESSION_START: &str = "session_start_of";
/// The name of the function that gives its end.
pub const SESSION_END: &str = "session_end_of";

const TIME: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

/// Both functions; queries do not call them by these names.
pub fn functions() -> [Arc<WindowUDF>; 2] {
    [(SESSION_START, Border::Start), (SESSION_END, Border::End)].map(|(name, border)| {
        let signature =
            Signature::new(TypeSignature::Exact(vec![TIME, DataType::Int64]), Volatility::Immutable);
        Arc::new(WindowUDF::new_from_impl(SessionBorder { name, border, signature }))
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Border {
    Start,
    End,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SessionBorder {
    name: &'static str,
    border: Border,
    signature: Signature,
}

impl WindowUDFImpl for SessionBorder {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        let gap = args.input_exprs().get(1).and_then(|gap| gap.downcast_ref::<Literal>());
        match gap.map(Literal::value) {
            Some(ScalarValue::Int64(Some(gap_ms))) => {
                Ok(Box::new(SessionEvaluator { border: self.border, gap_ms: *gap_ms }))
            }
            _ => Err(exec_datafusion_err!("the gap of sessions is a constant")),
        }
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), TIME, false)))
    }

    fn limit_effect(&self, _args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

#[derive(Debug)]
struct SessionEvaluator {
    border: Border,
    gap_ms: i64,
}

impl PartitionEvaluator for SessionEvaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let times = values.first().and_then(|times| times.as_primitive_opt::<TimestampMillisecondType>());
        let times = times.ok_or_else(|| exec_datafusion_err!("sessions need times of type TIMESTAMP(3)"))?;
        let times = times.values();
        let mut borders = Vec::with_capacity(rows);
        let mut first = 0;
        while let Some(start) = times.get(first) {
            let pause = times[first..].windows(2).position(|pair| pair[1] - pair[0] > self.gap_ms);
            let next = pause.map_or(times.len(), |last| first + last + 1);
            let border = match self.border {
                Border::Start => *start,
                Border::End => times[next - 1] + self.gap_ms,
            };
            borders.resize(next, border);
            first = next;
        }
        Ok(Arc::new(TimestampMillisecondArray::from(borders)))
    }
}
