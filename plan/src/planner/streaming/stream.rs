//! The rows between two operators of a streaming plan: their columns, and the windows that they are to be put into.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::FieldRef,
    common::{Column, DFSchema, DFSchemaRef, Result, TableReference},
    logical_expr::Expr,
};

use crate::{
    panes::{Panes, WindowBound},
    stream::changelog::weight_field,
};

/// A column as a schema has it: its qualifier and its field.
pub(super) type QualifiedField = (Option<TableReference>, FieldRef);

/// What a part of the plan puts out.
pub(super) struct Stream {
    /// The vertex that makes it.
    pub vertex: usize,
    /// The columns of its rows, in order, without their weight. More than the logical plan knows of where windows are pending.
    pub schema: DFSchemaRef,
    /// Whether it also takes rows back: then a row's weight stands behind its columns.
    pub updating: bool,
    /// Those of them that are event time.
    pub times: Vec<Column>,
    /// The windows that its rows are in, as long as nobody has needed their borders.
    pub pending: Option<PendingWindows>,
}

/// Windows that were asked for and not yet assigned: an aggregation by them needs no row in more than one place.
#[derive(Clone)]
pub(super) struct PendingWindows {
    /// The windows.
    pub windows: Panes,
    /// The column with a row's time, among those of the rows.
    pub time: Column,
    /// The columns with their borders, as the logical plan names them.
    pub columns: Vec<(QualifiedField, WindowBound)>,
}

impl PendingWindows {
    /// Which border an expression is, if it is nothing but one.
    pub fn bound(&self, expr: &Expr) -> Option<WindowBound> {
        let Expr::Column(column) = unaliased(expr) else { return None };
        self.columns.iter().find(|(field, _)| is_column(field, column)).map(|(_, bound)| *bound)
    }

    /// Whether an expression needs a border's value.
    pub fn is_used_by(&self, expr: &Expr) -> bool {
        expr.column_refs()
            .into_iter()
            .any(|column| self.columns.iter().any(|(field, _)| is_column(field, column)))
    }
}

impl Stream {
    /// The columns of its rows as they travel: with the weight where there is one.
    pub fn columns(&self) -> Result<DFSchemaRef> {
        if !self.updating {
            return Ok(Arc::clone(&self.schema));
        }
        let mut fields = fields_of(&self.schema);
        fields.push((None, Arc::new(weight_field())));
        schema_of(fields)
    }

    /// Whether a column is event time.
    pub fn is_time(&self, column: &Column) -> bool {
        let index = self.schema.maybe_index_of_column(column);
        index.is_some() && self.times.iter().any(|time| self.schema.maybe_index_of_column(time) == index)
    }

    /// The event time columns that these expressions pass on, under their new names.
    pub fn times_through(&self, exprs: &[(Expr, QualifiedField)]) -> Vec<Column> {
        exprs
            .iter()
            .filter(|(expr, _)| matches!(unaliased(expr), Expr::Column(column) if self.is_time(column)))
            .map(|(_, field)| column_of(field))
            .collect()
    }

    /// The same rows under another table's name.
    pub fn aliased(mut self, alias: &TableReference) -> Result<Self> {
        let fields = self.schema.iter().map(|(_, field)| (Some(alias.clone()), Arc::clone(field)));
        let aliased = schema_of(fields.collect())?;
        let rename = |column: &Column| -> Column {
            let index = self.schema.maybe_index_of_column(column).unwrap_or_default();
            aliased.qualified_field(index).into()
        };
        self.times = self.times.iter().map(rename).collect();
        if let Some(pending) = &mut self.pending {
            pending.time = rename(&pending.time);
            for ((qualifier, _), _) in &mut pending.columns {
                *qualifier = Some(alias.clone());
            }
        }
        self.schema = aliased;
        Ok(self)
    }
}

/// A schema of these columns.
pub(super) fn schema_of(fields: Vec<QualifiedField>) -> Result<DFSchemaRef> {
    Ok(Arc::new(DFSchema::new_with_metadata(fields, Default::default())?))
}

/// The columns of a schema, in order.
pub(super) fn fields_of(schema: &DFSchema) -> Vec<QualifiedField> {
    schema.iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect()
}

/// The name of a column.
pub(super) fn column_of((qualifier, field): &QualifiedField) -> Column {
    Column::new(qualifier.clone(), field.name())
}

fn is_column(field: &QualifiedField, column: &Column) -> bool {
    field.1.name() == &column.name && (column.relation.is_none() || column.relation == field.0)
}

/// An expression without its new name.
pub(super) fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        expr => expr,
    }
}
