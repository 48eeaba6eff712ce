//! Choices between values. They become CASE expressions, which evaluate only the branch that is taken.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Datum},
    compute::{
        is_null,
        kernels::{
            cmp::{gt_eq, lt_eq},
            zip::zip,
        },
        nullif, prep_null_mask_filter,
    },
    datatypes::DataType,
    error::ArrowError,
};
use datafusion::{
    common::{Result, exec_err, plan_err},
    functions::core as df,
    logical_expr::{
        Case, ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        simplify::{ExprSimplifyResult, SimplifyContext},
        type_coercion::binary::type_union_resolution,
    },
};

use super::{argument::type_name, reuse::Reused};

/// DataFusion's conditional functions that mean what Flink's do.
pub fn reused() -> Vec<Reused> {
    vec![
        Reused::new(
            "nullif",
            "NULLIF(value1, value2)",
            "NULL if the values are equal, otherwise the first.",
            df::nullif(),
        ),
        Reused::new("coalesce", "COALESCE(value, ...)", "The first value that is not NULL.", df::coalesce()),
        Reused::new(
            "ifnull",
            "IFNULL(value, replacement)",
            "The value, or the replacement if it is NULL.",
            df::nvl(),
        ),
    ]
}

/// A function that is short for a CASE.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Choice {
    /// Lower-case name.
    pub name: &'static str,
    /// How it is called.
    pub usage: &'static str,
    /// What it does.
    pub doc: &'static str,
    kind: Kind,
    signature: Signature,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    If,
    Greatest,
    Least,
}

/// The conditional functions of our own.
pub fn functions() -> Vec<Choice> {
    let choice = |name, usage, doc, kind| Choice {
        name,
        usage,
        doc,
        kind,
        signature: Signature::user_defined(Volatility::Immutable),
    };
    vec![
        choice(
            "if",
            "IF(condition, value, other)",
            "`value` if the condition is true, otherwise `other`.",
            Kind::If,
        ),
        choice(
            "greatest",
            "GREATEST(value, ...)",
            "The greatest value; NULL if one is NULL.",
            Kind::Greatest,
        ),
        choice("least", "LEAST(value, ...)", "The least value; NULL if one is NULL.", Kind::Least),
    ]
}

impl Choice {
    /// Makes the DataFusion function.
    pub fn into_udf(self) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(self))
    }

    fn branches<'a>(&self, types: &'a [DataType]) -> &'a [DataType] {
        if self.kind == Kind::If { types.get(1..).unwrap_or_default() } else { types }
    }
}

impl ScalarUDFImpl for Choice {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let branches = self.branches(given);
        let counted = if self.kind == Kind::If { given.len() == 3 } else { !given.is_empty() };
        let common = type_union_resolution(branches);
        let condition = (self.kind == Kind::If).then_some(DataType::Boolean);
        match common {
            Some(common) if counted => {
                Ok(condition.into_iter().chain(branches.iter().map(|_| common.clone())).collect())
            }
            _ => {
                let given: Vec<String> = given.iter().map(type_name).collect();
                plan_err!(
                    "{} was given ({}); it is called as {}",
                    self.name.to_uppercase(),
                    given.join(", "),
                    self.usage
                )
            }
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match self.branches(types).first() {
            Some(first) => Ok(first.clone()),
            None => plan_err!("it is called as {}", self.usage),
        }
    }

    fn short_circuits(&self) -> bool {
        self.kind == Kind::If
    }

    /// `IF` is a CASE: only the branch that is taken may be evaluated.
    fn simplify(&self, args: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        if self.kind != Kind::If {
            return Ok(ExprSimplifyResult::Original(args));
        }
        match <[Expr; 3]>::try_from(args) {
            Ok([condition, value, other]) => Ok(ExprSimplifyResult::Simplified(Expr::Case(Case {
                expr: None,
                when_then_expr: vec![(Box::new(condition), Box::new(value))],
                else_expr: Some(Box::new(other)),
            }))),
            Err(args) => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let column = match (self.kind, &columns[..]) {
            (Kind::If, [condition, value, other]) => zip(&no_nulls(condition.as_boolean()), value, other)?,
            (Kind::Greatest, [first, rest @ ..]) => {
                rest.iter().try_fold(first.clone(), |best, next| better(&best, next, gt_eq))?
            }
            (Kind::Least, [first, rest @ ..]) => {
                rest.iter().try_fold(first.clone(), |best, next| better(&best, next, lt_eq))?
            }
            _ => return exec_err!("{} is called as {}", self.name.to_uppercase(), self.usage),
        };
        Ok(ColumnarValue::Array(column))
    }
}

type Compare = fn(&dyn Datum, &dyn Datum) -> std::result::Result<BooleanArray, ArrowError>;

/// The one of two values that compares well with the other; NULL if one is NULL.
fn better(best: &ArrayRef, next: &ArrayRef, compare: Compare) -> Result<ArrayRef> {
    let keep = compare(best, next)?;
    let chosen = zip(&no_nulls(&keep), best, next)?;
    Ok(nullif(&chosen, &is_null(&keep)?)?)
}

/// NULL counts as false.
fn no_nulls(mask: &BooleanArray) -> BooleanArray {
    if mask.null_count() == 0 { mask.clone() } else { prep_null_mask_filter(mask) }
}
