//! Partial aggregates: what is known of some rows of each key, before all rows of a key meet.
//!
//! A row of them is the key's columns, the sum of the weights of its rows, and the state of each aggregate. They may be added up in any order.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::{DECIMAL256_MAX_PRECISION, DataType, Field, Schema, SchemaRef},
    error::Result,
    physical_plan::aggregates::AggregateExec,
};

/// The columns of partial aggregates; `None` where an aggregate must know single values. `updating`: rows are taken back too.
pub fn columns(aggregate: &AggregateExec, updating: bool) -> Result<Option<SchemaRef>> {
    let rows = aggregate.input_schema();
    let mut fields = Vec::new();
    for (at, (expr, _)) in aggregate.group_expr().expr().iter().enumerate() {
        fields.push(Field::new(format!("key{at}"), expr.data_type(&rows)?, expr.nullable(&rows)?));
    }
    fields.push(Field::new("weight", DataType::Int64, false));
    for function in aggregate.aggr_expr() {
        let argument =
            function.expressions().first().map(|argument| argument.data_type(&rows)).transpose()?;
        let is_extreme = matches!(function.fun().name(), "min" | "max");
        if is_extreme && updating || function.is_distinct() && !is_extreme {
            return Ok(None);
        }
        let own = match (function.fun().name(), argument) {
            ("count", _) => vec![DataType::Int64],
            ("sum", Some(argument @ (DataType::Int64 | DataType::Float64))) => {
                vec![argument, DataType::Int64]
            }
            ("sum", Some(DataType::Decimal128(_, scale))) => {
                vec![DataType::Decimal256(DECIMAL256_MAX_PRECISION, scale), DataType::Int64]
            }
            ("min" | "max", Some(argument)) if argument.is_primitive() => vec![argument],
            _ => function.state_fields()?.iter().map(|field| field.data_type().clone()).collect(),
        };
        for data_type in own {
            fields.push(Field::new(format!("state{}", fields.len()), data_type, true));
        }
    }
    Ok(Some(Arc::new(Schema::new(fields))))
}
