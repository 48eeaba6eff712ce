//! SQL types in queries: DataFusion asks here before it follows its own defaults, which are not Flink's.

use arrow::datatypes::{Field, FieldRef};
use datafusion::{common::Result, logical_expr::planner::TypePlanner};
use sqlparser::ast::DataType;

use crate::sql_type::SqlType;

/// Flink's types.
#[derive(Debug)]
pub struct FlinkTypes;

impl TypePlanner for FlinkTypes {
    fn plan_type_field(&self, sql_type: &DataType) -> Result<Option<FieldRef>> {
        let parsed = text_of(sql_type).parse::<SqlType>().ok();
        Ok(parsed.map(|sql_type| Field::new("", sql_type.to_arrow(), true).into()))
    }
}

/// A type's text: the dialect carries types that sqlparser does not know as one quoted name.
fn text_of(sql_type: &DataType) -> String {
    match sql_type {
        DataType::Custom(name, modifiers) if modifiers.is_empty() => match &name.0[..] {
            [part] => part.as_ident().map_or_else(|| sql_type.to_string(), |ident| ident.value.clone()),
            _ => sql_type.to_string(),
        },
        _ => sql_type.to_string(),
    }
}
