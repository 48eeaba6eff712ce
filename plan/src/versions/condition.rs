//! The condition of a temporal join, as a function call between two columns: it keeps both alive, and belongs to no side alone.

use std::sync::{Arc, LazyLock};

use datafusion::{
    arrow::datatypes::DataType,
    common::{Column, Result, internal_err},
    logical_expr::{
        ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        expr::ScalarFunction,
    },
};

const NAME: &str = "__version_at";

/// Holds for a left row's time and the version of the right side that is valid then.
#[derive(Debug, PartialEq, Eq, Hash)]
struct VersionAt {
    signature: Signature,
}

impl ScalarUDFImpl for VersionAt {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("a temporal join is never computed row by row")
    }
}

static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let signature = Signature::any(2, Volatility::Immutable);
    Arc::new(ScalarUDF::from(VersionAt { signature }))
});

/// The condition that the right row is the version valid at `time`; `version` is when a version begins.
pub fn at(time: Column, version: Column) -> Expr {
    let args = vec![Expr::Column(time), Expr::Column(version)];
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&FUNCTION), args))
}

/// The two times, if an expression is that condition.
pub fn times_of(expr: &Expr) -> Option<(&Column, &Column)> {
    match expr {
        Expr::ScalarFunction(call) if call.name() == NAME => match &call.args[..] {
            [Expr::Column(time), Expr::Column(version)] => Some((time, version)),
            _ => None,
        },
        _ => None,
    }
}
