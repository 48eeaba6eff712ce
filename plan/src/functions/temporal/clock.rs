//! Functions of the current time. In a bounded query all rows see the time at which the query started: the planner puts it in
//! as a constant. `CURRENT_ROW_TIMESTAMP` and `PROCTIME` read the clock for each batch of rows, and in a stream, which has no such
//! start, so do all others.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, TimestampMillisecondArray},
    datatypes::{DataType, TimeUnit},
};
use chrono::{DateTime, NaiveTime, Utc};
use datafusion::{
    common::{Result, ScalarValue, exec_err},
    logical_expr::{
        ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        simplify::{ExprSimplifyResult, SimplifyContext},
    },
};

use crate::functions::{argument::Call, builtin::Builtin, moment::days_of, zone::Zone};

/// A function of the time at which the query started.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueryTime {
    /// Lower-case name.
    pub name: &'static str,
    /// How it is called.
    pub usage: &'static str,
    /// What it does.
    pub doc: &'static str,
    value: Value,
    signature: Signature,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Value {
    Instant,
    LocalTimestamp,
    LocalDate,
    LocalTime,
    UnixSeconds,
}

/// The functions of the current time.
pub fn functions() -> Vec<QueryTime> {
    let function = |name, usage, doc, value| QueryTime {
        name,
        usage,
        doc,
        value,
        signature: Signature::nullary(Volatility::Stable),
    };
    let instant = "The time at which the query started, as TIMESTAMP_LTZ(3).";
    vec![
        function("current_timestamp", "CURRENT_TIMESTAMP", instant, Value::Instant),
        function("now", "NOW()", instant, Value::Instant),
        function(
            "localtimestamp",
            "LOCALTIMESTAMP",
            "The same in the session's zone, as TIMESTAMP(3).",
            Value::LocalTimestamp,
        ),
        function(
            "current_date",
            "CURRENT_DATE",
            "The date at which the query started, in the session's zone.",
            Value::LocalDate,
        ),
        function(
            "current_time",
            "CURRENT_TIME",
            "The time of day at which the query started, in the session's zone.",
            Value::LocalTime,
        ),
        function("localtime", "LOCALTIME", "The same as CURRENT_TIME.", Value::LocalTime),
        function("current_unix_timestamp", "", "", Value::UnixSeconds),
    ]
}

/// `CURRENT_ROW_TIMESTAMP()`
pub fn row_functions() -> Vec<Builtin> {
    let ltz = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    vec![
        Builtin::new(
            "current_row_timestamp",
            "CURRENT_ROW_TIMESTAMP()",
            "The time at which the row is worked on.",
            row_timestamp,
        )
        .returns(ltz.clone())
        .volatile(),
        Builtin::new(
            PROCTIME,
            "PROCTIME()",
            "The time at which the row is worked on. A column that is computed by it can be the time column of windows in a stream.",
            row_timestamp,
        )
        .returns(ltz)
        .volatile(),
    ]
}

/// The name of the function whose value is processing time.
pub const PROCTIME: &str = "proctime";

/// The functions of the current time as a stream calls them; queries do not call them by these names.
pub fn batch_functions() -> Vec<BatchTime> {
    functions().into_iter().map(BatchTime::of).collect()
}

/// The call that a stream makes in place of one of the time at which a query started.
pub fn for_each_batch(expr: &Expr) -> Option<Expr> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let function = call.func.inner().downcast_ref::<QueryTime>()?;
    let function = ScalarUDF::new_from_impl(BatchTime::of(function.clone()));
    Some(function.call(Vec::new()))
}

/// A function of the time at which a batch of rows is worked on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BatchTime {
    name: String,
    of_query: QueryTime,
    signature: Signature,
}

impl BatchTime {
    fn of(of_query: QueryTime) -> Self {
        let name = format!("{}_of_batch", of_query.name);
        Self { name, of_query, signature: Signature::nullary(Volatility::Volatile) }
    }

    /// Makes the DataFusion function.
    pub fn into_udf(self) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(self))
    }
}

impl ScalarUDFImpl for BatchTime {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.of_query.return_type(arguments)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let zone = Zone::of_session(&args.config_options);
        Ok(ColumnarValue::Scalar(self.of_query.at(Utc::now(), zone)))
    }
}

fn row_timestamp(call: &Call) -> Result<ArrayRef> {
    let now = Utc::now().timestamp_millis();
    Ok(Arc::new(TimestampMillisecondArray::from_value(now, call.rows).with_timezone("UTC")))
}

impl QueryTime {
    /// Makes the DataFusion function.
    pub fn into_udf(self) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::new_from_impl(self))
    }

    fn at(&self, start: DateTime<Utc>, zone: Zone) -> ScalarValue {
        let local = zone.local(start.naive_utc());
        match self.value {
            Value::Instant => {
                ScalarValue::TimestampMillisecond(Some(start.timestamp_millis()), Some("UTC".into()))
            }
            Value::LocalTimestamp => {
                ScalarValue::TimestampMillisecond(Some(local.and_utc().timestamp_millis()), None)
            }
            Value::LocalDate => ScalarValue::Date32(Some(days_of(local))),
            Value::LocalTime => {
                let seconds = (local.time() - NaiveTime::MIN).num_seconds();
                ScalarValue::Time32Millisecond(Some(seconds as i32 * 1000))
            }
            Value::UnixSeconds => ScalarValue::Int64(Some(start.timestamp())),
        }
    }
}

impl ScalarUDFImpl for QueryTime {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.at(DateTime::UNIX_EPOCH, Zone::UTC).data_type())
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let Some(start) = info.query_execution_start_time() else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        let zone = Zone::of_session(info.config_options());
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(self.at(start, zone), None)))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("{} is known only while planning", self.name.to_uppercase())
    }
}
