//! Math functions.

mod logarithm;
mod random;
mod rounding;
mod simple;

use arrow::datatypes::DataType;
use datafusion::{common::Result, functions::math as df};

use super::{
    argument::Kind::{Double, Integer, Number},
    builtin::Builtin,
    reuse::Reused,
};

/// DataFusion's math functions that mean what Flink's do.
pub fn reused() -> Vec<Reused> {
    vec![
        Reused::new("exp", "EXP(number)", "e to the power of the number.", df::exp()),
        Reused::new("sin", "SIN(number)", "Sine.", df::sin()),
        Reused::new("sinh", "SINH(number)", "Hyperbolic sine.", df::sinh()),
        Reused::new("cos", "COS(number)", "Cosine.", df::cos()),
        Reused::new("cosh", "COSH(number)", "Hyperbolic cosine.", df::cosh()),
        Reused::new("tan", "TAN(number)", "Tangent.", df::tan()),
        Reused::new("tanh", "TANH(number)", "Hyperbolic tangent.", df::tanh()),
        Reused::new("atan", "ATAN(number)", "Arc tangent.", df::atan()),
        Reused::new("atan2", "ATAN2(y, x)", "Arc tangent of a point.", df::atan2()),
        Reused::new("degrees", "DEGREES(radians)", "Radians as degrees.", df::degrees()),
        Reused::new("radians", "RADIANS(degrees)", "Degrees as radians.", df::radians()),
        Reused::new("pi", "PI()", "The number pi.", df::pi()),
    ]
}

/// Our own math functions.
pub fn functions() -> Vec<Builtin> {
    let real = |name, usage, doc, kernel| {
        Builtin::new(name, usage, doc, kernel).takes(&[Double]).returns(DataType::Float64)
    };
    vec![
        real("ln", "LN(number)", "Natural logarithm.", logarithm::ln),
        real("log10", "LOG10(number)", "Logarithm to base 10.", logarithm::log10),
        real("log2", "LOG2(number)", "Logarithm to base 2.", logarithm::log2),
        Builtin::new(
            "log",
            "LOG([base,] number)",
            "Logarithm to a base; natural without one.",
            logarithm::log,
        )
        .takes_at_least(1, &[Double, Double])
        .returns(DataType::Float64),
        real("sqrt", "SQRT(number)", "Square root; NaN of a negative number.", simple::sqrt),
        real("asin", "ASIN(number)", "Arc sine; NaN outside -1 to 1.", simple::asin),
        real("acos", "ACOS(number)", "Arc cosine; NaN outside -1 to 1.", simple::acos),
        real("cot", "COT(number)", "Cotangent.", simple::cot),
        Builtin::new("power", "POWER(base, exponent)", "A power, as DOUBLE.", simple::power)
            .takes(&[Double, Double])
            .returns(DataType::Float64),
        Builtin::new("e", "E()", "The number e.", simple::e).returns(DataType::Float64),
        Builtin::new(
            "abs",
            "ABS(number)",
            "Without its sign; the smallest whole number stays as it is.",
            simple::abs,
        )
        .takes(&[Number])
        .returns_by(same),
        Builtin::new("sign", "SIGN(number)", "-1, 0 or 1, in the type of the number.", simple::sign)
            .takes(&[Number])
            .returns_by(same),
        Builtin::new(
            "mod",
            "MOD(number, divisor)",
            "The remainder, with the sign of the number.",
            simple::modulo,
        )
        .takes(&[Number, Number])
        .returns_by(simple::modulo_type),
        Builtin::new("round", "ROUND(number [, digits])", "Rounded half away from zero.", rounding::round)
            .takes_at_least(1, &[Number, Integer])
            .returns_field(rounding::rounded_type),
        Builtin::new(
            "truncate",
            "TRUNCATE(number [, digits])",
            "Cut off after so many digits.",
            rounding::truncate,
        )
        .takes_at_least(1, &[Number, Integer])
        .returns_field(rounding::truncated_type),
        Builtin::new(
            "floor",
            "FLOOR(number), FLOOR(timepoint TO unit)",
            "The next lower whole number; the start of the unit.",
            rounding::floor,
        )
        .takes(&[Number])
        .returns_by(rounding::whole_type),
        Builtin::new(
            "ceil",
            "CEIL(number), CEIL(timepoint TO unit)",
            "The next higher whole number; the next start of a unit.",
            rounding::ceil,
        )
        .also(&["ceiling"])
        .takes(&[Number])
        .returns_by(rounding::whole_type),
        Builtin::new("rand", "RAND([seed])", "A random DOUBLE from 0 to 1.", random::rand)
            .takes_at_least(0, &[Integer])
            .returns(DataType::Float64)
            .volatile(),
        Builtin::new(
            "rand_integer",
            "RAND_INTEGER([seed,] bound)",
            "A random INT from 0 to below the bound.",
            random::rand_integer,
        )
        .takes_at_least(1, &[Integer, Integer])
        .returns(DataType::Int32)
        .volatile(),
    ]
}

fn same(types: &[DataType]) -> Result<DataType> {
    types
        .first()
        .map_or_else(|| datafusion::common::plan_err!("an argument is missing"), |first| Ok(first.clone()))
}
