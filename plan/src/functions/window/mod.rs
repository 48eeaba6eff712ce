//! Window functions: DataFusion's, with whole numbers as BIGINT.
//!
//! Whether a function skips NULLs is not sent to workers, so those that do have names of their own, which only the lowering of
//! calls uses ([`skipping_nulls`]).

mod session;

use std::{ops::Range, sync::Arc};

use arrow::{
    array::ArrayRef,
    compute::{SortOptions, cast},
    datatypes::{DataType, FieldRef},
};
use datafusion::{
    common::{Result, ScalarValue},
    functions_window as df,
    logical_expr::{
        LimitEffect, PartitionEvaluator, ReversedUDWF, Signature, WindowUDF, WindowUDFImpl,
        function::{ExpressionArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs},
        window_state::WindowAggState,
    },
    physical_plan::PhysicalExpr,
};

pub use session::{SESSION_END, SESSION_START};

/// A window function.
#[derive(Debug, Clone)]
pub struct Ranking {
    /// Lower-case name.
    pub name: &'static str,
    /// How it is called.
    pub usage: &'static str,
    /// What it does.
    pub doc: &'static str,
    function: Arc<WindowUDF>,
}

/// The window functions; aggregate functions can stand over a window, too.
pub fn functions() -> Vec<Ranking> {
    let ranking = |name, usage, doc, function| Ranking { name, usage, doc, function };
    vec![
        ranking(
            "row_number",
            "ROW_NUMBER() OVER (...)",
            "The row's number in its partition, from 1.",
            df::row_number::row_number_udwf(),
        ),
        ranking(
            "rank",
            "RANK() OVER (...)",
            "One more than there are rows before those equal to this one.",
            df::rank::rank_udwf(),
        ),
        ranking(
            "dense_rank",
            "DENSE_RANK() OVER (...)",
            "One more than there are different rows before.",
            df::rank::dense_rank_udwf(),
        ),
        ranking(
            "percent_rank",
            "PERCENT_RANK() OVER (...)",
            "The rank as a fraction from 0 to 1.",
            df::rank::percent_rank_udwf(),
        ),
        ranking(
            "cume_dist",
            "CUME_DIST() OVER (...)",
            "The fraction of rows up to this one and those equal to it.",
            df::cume_dist::cume_dist_udwf(),
        ),
        ranking(
            "ntile",
            "NTILE(n) OVER (...)",
            "The number of the row's part when the partition is cut into `n` parts.",
            df::ntile::ntile_udwf(),
        ),
        ranking(
            "lag",
            "LAG(value [, offset [, default]]) OVER (...)",
            "The value `offset` (1) rows before.",
            df::lead_lag::lag_udwf(),
        ),
        ranking(
            "lead",
            "LEAD(value [, offset [, default]]) OVER (...)",
            "The value `offset` (1) rows after.",
            df::lead_lag::lead_udwf(),
        ),
    ]
}

impl Ranking {
    /// Makes the DataFusion function.
    pub fn into_udwf(self) -> Arc<WindowUDF> {
        Signed { name: self.name, skips_nulls: false, function: self.function }.into_udwf()
    }
}

/// The functions that skip NULLs and those of sessions; queries do not call them by these names.
pub fn internal_functions() -> Vec<Arc<WindowUDF>> {
    let skipping = ["first_value", "last_value", "lag", "lead"].into_iter().filter_map(skipping_nulls);
    skipping.chain(session::functions()).collect()
}

/// The function of this name that skips NULLs, if there is one.
pub fn skipping_nulls(name: &str) -> Option<Arc<WindowUDF>> {
    let (name, function) = match name {
        "first_value" => ("first_value_skipping_nulls", df::nth_value::first_value_udwf()),
        "last_value" => ("last_value_skipping_nulls", df::nth_value::last_value_udwf()),
        "lag" => ("lag_skipping_nulls", df::lead_lag::lag_udwf()),
        "lead" => ("lead_skipping_nulls", df::lead_lag::lead_udwf()),
        _ => return None,
    };
    Some(Signed { name, skips_nulls: true, function }.into_udwf())
}

/// A window function whose unsigned numbers are made signed.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Signed {
    name: &'static str,
    skips_nulls: bool,
    function: Arc<WindowUDF>,
}

impl Signed {
    fn into_udwf(self) -> Arc<WindowUDF> {
        Arc::new(WindowUDF::new_from_impl(self))
    }
}

impl WindowUDFImpl for Signed {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn expressions(&self, args: ExpressionArgs) -> Vec<Arc<dyn PhysicalExpr>> {
        self.function.inner().expressions(args)
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        let args = PartitionEvaluatorArgs::new(
            args.input_exprs(),
            args.input_fields(),
            args.is_reversed(),
            args.ignore_nulls() || self.skips_nulls,
        );
        Ok(Box::new(SignedEvaluator(self.function.inner().partition_evaluator(args)?)))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let field = self.function.inner().field(args)?;
        Ok(match field.data_type() {
            DataType::UInt64 => Arc::new(field.as_ref().clone().with_data_type(DataType::Int64)),
            _ => field,
        })
    }

    fn sort_options(&self) -> Option<SortOptions> {
        self.function.inner().sort_options()
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.function.inner().coerce_types(given)
    }

    fn reverse_expr(&self) -> ReversedUDWF {
        match self.function.inner().reverse_expr() {
            // The reverse has another name, which a worker would have to know.
            ReversedUDWF::Reversed(_) => ReversedUDWF::NotSupported,
            other => other,
        }
    }

    fn limit_effect(&self, args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        self.function.inner().limit_effect(args)
    }
}

#[derive(Debug)]
struct SignedEvaluator(Box<dyn PartitionEvaluator>);

fn signed(column: ArrayRef) -> Result<ArrayRef> {
    match column.data_type() {
        DataType::UInt64 => Ok(cast(&column, &DataType::Int64)?),
        _ => Ok(column),
    }
}

impl PartitionEvaluator for SignedEvaluator {
    fn memoize(&mut self, state: &mut WindowAggState) -> Result<()> {
        self.0.memoize(state)
    }

    fn get_range(&self, row: usize, rows: usize) -> Result<Range<usize>> {
        self.0.get_range(row, rows)
    }

    fn is_causal(&self) -> bool {
        self.0.is_causal()
    }

    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        signed(self.0.evaluate_all(values, rows)?)
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let value = self.0.evaluate(values, range)?;
        match value.data_type() {
            DataType::UInt64 => value.cast_to(&DataType::Int64),
            _ => Ok(value),
        }
    }

    fn evaluate_all_with_rank(&self, rows: usize, ranks: &[Range<usize>]) -> Result<ArrayRef> {
        signed(self.0.evaluate_all_with_rank(rows, ranks)?)
    }

    fn supports_bounded_execution(&self) -> bool {
        self.0.supports_bounded_execution()
    }

    fn uses_window_frame(&self) -> bool {
        self.0.uses_window_frame()
    }

    fn include_rank(&self) -> bool {
        self.0.include_rank()
    }
}
