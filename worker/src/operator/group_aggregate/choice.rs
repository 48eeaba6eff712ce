//! Which kind of values an aggregate gets.

use std::sync::Arc;

use arrow::{
    array::downcast_primitive,
    datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, Schema},
};
use datafusion::{error::Result, physical_expr::aggregate::AggregateFunctionExpr};

use super::{
    by_group::ByGroup, count::Count, distinct::Distinct, entries::Entries, extreme::Extreme,
    ordered::Ordered, sum::Sum, values::Values,
};

/// The values of aggregate number `at` over arguments of these types, in groups with these keys. `updating`: rows are taken back too.
pub fn values_of(
    function: &Arc<AggregateFunctionExpr>,
    types: &[DataType],
    at: usize,
    keys: &Schema,
    updating: bool,
) -> Result<Box<dyn Values>> {
    // Table zero has the groups.
    let entries = || Entries::new(at as u16 + 1, keys, types);
    let name = function.fun().name();
    let own: Option<Box<dyn Values>> = match (name, types.first()) {
        ("count", _) => Some(Box::new(Count::default())),
        ("sum", Some(DataType::Int64)) => Some(Box::new(Sum::<Int64Type>::new(DataType::Int64, updating))),
        ("sum", Some(DataType::Float64)) => {
            Some(Box::new(Sum::<Float64Type>::new(DataType::Float64, updating)))
        }
        ("sum", Some(DataType::Decimal128(..))) => {
            Some(Box::new(Sum::<Decimal128Type>::new(function.field().data_type().clone(), updating)))
        }
        ("min" | "max", Some(data_type)) if updating => {
            Some(Box::new(Ordered::new(entries()?, data_type.clone(), name == "max")?))
        }
        ("min" | "max", Some(data_type)) => extreme(data_type, name == "max"),
        _ => None,
    };
    match own {
        // The least of the different values is the least of all.
        Some(own) if function.is_distinct() && name != "min" && name != "max" => {
            Ok(Box::new(Distinct { entries: entries()?, inner: own }))
        }
        Some(own) => Ok(own),
        None => Ok(Box::new(ByGroup::new(Arc::clone(function))?)),
    }
}

fn extreme(data_type: &DataType, is_max: bool) -> Option<Box<dyn Values>> {
    macro_rules! of {
        ($kind:ty) => {
            Some(Box::new(Extreme::<$kind>::new(data_type.clone(), is_max)))
        };
    }
    downcast_primitive! {
        data_type => (of),
        _ => None
    }
}
