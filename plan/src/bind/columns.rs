//! Columns of a declared table: the types of computed ones, and whether its parts fit together.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::{
    common::DFSchema,
    logical_expr::{Expr, ExprSchemable},
    sql::planner::{PlannerContext, SqlToRel},
};
use thalweg_graph::{SqlError, sql_error::SqlErrorCode, table::Column};

use super::{
    Binder,
    context::{Context, parser_options},
    name_function, type_name,
};
use crate::{
    catalog::{ColumnKind, Table},
    error, functions, sql,
    sql_type::{self, SqlType},
};

impl Binder<'_> {
    /// Plans an expression of a table's declaration over its columns.
    pub(super) fn expression(&self, column: &str, text: &str, schema: &DFSchema) -> Result<Expr, SqlError> {
        let planned = sql::parse_expression(text).and_then(|mut ast| {
            functions::syntax::rewrite_expr(&mut ast);
            let context = Context::new(self.state, Default::default());
            let planner = SqlToRel::new_with_options(&context, parser_options());
            planner.sql_to_expr(ast, schema, &mut PlannerContext::new()).map_err(error::from_datafusion)
        });
        planned.map_err(name_function).map_err(|error| SqlError {
            message: format!("{} (in the expression of `{column}`)", error.message),
            position: None,
            ..error
        })
    }

    /// All columns of a table as a reader sees them, with the types of computed ones.
    pub fn columns(&self, table: &Table) -> Result<Vec<Column>, SqlError> {
        let schema = base_schema(table)?;
        table
            .columns
            .iter()
            .map(|column| {
                let (data_type, nullable) = match &column.kind {
                    ColumnKind::Physical { sql_type, nullable } => {
                        (sql_type.clone(), *nullable && !table.in_primary_key(&column.name))
                    }
                    ColumnKind::Metadata { sql_type, nullable, .. } => (sql_type.clone(), *nullable),
                    ColumnKind::Computed { expression } => {
                        let expr = self.expression(&column.name, expression, &schema)?;
                        type_of(&expr, &schema)?
                    }
                };
                Ok(Column { name: column.name.clone(), data_type: data_type.to_string(), nullable })
            })
            .collect()
    }

    /// Checks that what a table declares fits together: names of columns, types of computed ones, the watermark.
    pub fn check_table(&self, table: &Table) -> Result<(), SqlError> {
        let columns = self.columns(table)?;
        for key in table.primary_key.iter().flat_map(|key| &key.columns) {
            check_physical(table, key, "the primary key")?;
        }
        for key in &table.partition_keys {
            check_physical(table, key, "the partitioning")?;
        }
        for key in table.distribution.iter().flat_map(|distribution| &distribution.columns) {
            check_physical(table, key, "the distribution")?;
        }
        if !table.partition_keys.is_empty() && table.partition_keys.len() == table.physical_columns().len() {
            let message = "a table needs a column that it is not partitioned by";
            return Err(SqlError::new(SqlErrorCode::Invalid, message));
        }
        self.check_watermark(table, &columns)
    }

    fn check_watermark(&self, table: &Table, columns: &[Column]) -> Result<(), SqlError> {
        let Some(watermark) = &table.watermark else { return Ok(()) };
        let Some(column) = columns.iter().find(|column| column.name == watermark.column) else {
            return Err(table.unknown_column(&watermark.column));
        };
        let schema = Arc::new(sql_type::schema(columns)?);
        let schema = DFSchema::try_from(schema).map_err(error::from_datafusion)?;
        let is_time =
            |data_type: &DataType| matches!(data_type, DataType::Timestamp(TimeUnit::Millisecond, _));
        let found = schema.field_with_unqualified_name(&column.name).map_err(error::from_datafusion)?;
        if !is_time(found.data_type()) {
            let message = format!(
                "the watermark's column `{}` is {}: it must be TIMESTAMP(3) or TIMESTAMP_LTZ(3)",
                column.name, column.data_type
            );
            return Err(SqlError::new(SqlErrorCode::TypeMismatch, message));
        }
        let expr = self.expression(&column.name, &watermark.expression, &schema)?;
        let result = expr.get_type(&schema).map_err(error::from_datafusion)?;
        if !matches!(result, DataType::Timestamp(..)) {
            let message =
                format!("the watermark of `{}` must be a TIMESTAMP, not {}", column.name, type_name(&result));
            return Err(SqlError::new(SqlErrorCode::TypeMismatch, message));
        }
        Ok(())
    }
}

/// The columns that computed ones can use: physical and metadata.
fn base_schema(table: &Table) -> Result<DFSchema, SqlError> {
    let field = |column: &crate::catalog::TableColumn| match &column.kind {
        ColumnKind::Physical { sql_type, nullable } | ColumnKind::Metadata { sql_type, nullable, .. } => {
            Some(Field::new(&column.name, sql_type.to_arrow(), *nullable))
        }
        ColumnKind::Computed { .. } => None,
    };
    let fields: Vec<Field> = table.columns.iter().filter_map(field).collect();
    DFSchema::try_from(Arc::new(Schema::new(fields))).map_err(error::from_datafusion)
}

fn type_of(expr: &Expr, schema: &DFSchema) -> Result<(SqlType, bool), SqlError> {
    let data_type = expr.get_type(schema).map_err(error::from_datafusion)?;
    let nullable = expr.nullable(schema).map_err(error::from_datafusion)?;
    let unsupported =
        |error: sql_type::UnsupportedType| SqlError::new(SqlErrorCode::Unsupported, error.to_string());
    Ok((SqlType::from_arrow(&data_type).map_err(unsupported)?, nullable))
}

fn check_physical(table: &Table, name: &str, user: &str) -> Result<(), SqlError> {
    match table.column(name).map(|column| &column.kind) {
        None => Err(table.unknown_column(name)),
        Some(ColumnKind::Physical { .. }) => Ok(()),
        Some(_) => {
            let message =
                format!("column `{name}` cannot be in {user}: its values are not in the table's data");
            Err(SqlError::new(SqlErrorCode::Invalid, message))
        }
    }
}
