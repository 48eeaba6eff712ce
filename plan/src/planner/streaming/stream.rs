//! The rows between two operators of a streaming plan: their columns, and the windows that they are to be put into.

use std::{fmt, sync::Arc};

use datafusion::{
    arrow::datatypes::FieldRef,
    common::{Column, DFSchema, DFSchemaRef, DataFusionError, Result, TableReference},
    logical_expr::Expr,
};

use crate::{
    bare_expr::unaliased,
    functions::temporal::PROCTIME,
    panes::{Panes, WindowBound},
    stream::changelog::weight_field,
    window::LOCAL_TIME,
};

/// A column as a schema has it: its qualifier and its field.
pub(super) type QualifiedField = (Option<TableReference>, FieldRef);

/// What a part of the plan puts out.
#[derive(Clone)]
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
    /// Those of the columns that are borders of the one window that each row is in. Event time passes a window's end only behind
    /// its rows.
    pub borders: Vec<(Column, WindowBound)>,
    /// Those of the columns that are processing time.
    pub clocks: Vec<Column>,
}

/// Windows that were asked for and not yet assigned: an aggregation by them needs no row in more than one place.
#[derive(Clone)]
pub(super) struct PendingWindows {
    /// The windows.
    pub windows: PendingKind,
    /// The column with a row's time, among those of the rows.
    pub time: Column,
    /// The columns with their borders, as the logical plan names them.
    pub columns: Vec<(QualifiedField, WindowBound)>,
}

/// Which windows are pending.
#[derive(Clone)]
pub(super) enum PendingKind {
    /// Of a fixed shape.
    Fixed(Panes),
    /// Rows of the same keys without a pause.
    Session {
        /// The pause that ends a session.
        gap_ms: i64,
        /// The keys, among the columns of the rows.
        keys: Vec<Column>,
    },
}

impl fmt::Display for PendingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PendingKind::Fixed(panes) => panes.fmt(f),
            PendingKind::Session { gap_ms, keys } => {
                let keys: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
                write!(f, "SESSION(gap={gap_ms} ms, keys=[{}])", keys.join(", "))
            }
        }
    }
}

impl PendingWindows {
    /// The same with those columns under other names.
    pub fn renamed<E>(mut self, mut rename: impl FnMut(&Column) -> Result<Column, E>) -> Result<Self, E> {
        self.time = rename(&self.time)?;
        if let PendingKind::Session { keys, .. } = &mut self.windows {
            keys.iter_mut().try_for_each(|key| {
                *key = rename(key)?;
                Ok(())
            })?;
        }
        Ok(self)
    }

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
    /// What a vertex puts out that only adds rows, without any notion of time.
    pub fn of(vertex: usize, schema: DFSchemaRef) -> Self {
        let (times, borders, clocks) = (Vec::new(), Vec::new(), Vec::new());
        Self { vertex, schema, updating: false, times, pending: None, borders, clocks }
    }

    /// The same of rows that come when their window is complete: of all their times only its last millisecond is not late.
    pub fn timed_by_windows(mut self) -> Self {
        let times = self.borders.iter().filter(|(_, bound)| *bound == WindowBound::Time);
        self.times = times.map(|(column, _)| column.clone()).collect();
        self
    }

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

    /// Which border of its window an expression is, if it is nothing but one.
    pub fn border(&self, expr: &Expr) -> Option<WindowBound> {
        let Expr::Column(column) = unaliased(expr) else { return None };
        let index = self.schema.maybe_index_of_column(column)?;
        let is_it = |border: &Column| self.schema.maybe_index_of_column(border) == Some(index);
        self.borders.iter().find(|(border, _)| is_it(border)).map(|(_, bound)| *bound)
    }

    /// Whether rows that are equal in these are of one window.
    pub fn are_of_one_window<'e>(&self, exprs: impl IntoIterator<Item = &'e Expr>) -> bool {
        if self.updating {
            return false;
        }
        let bounds: Vec<WindowBound> = exprs.into_iter().filter_map(|expr| self.border(expr)).collect();
        bounds.contains(&WindowBound::Start) && bounds.contains(&WindowBound::End)
    }

    /// The borders that these expressions pass on, under their new names.
    pub fn borders_through(&self, exprs: &[(Expr, QualifiedField)]) -> Vec<(Column, WindowBound)> {
        exprs.iter().filter_map(|(expr, field)| Some((column_of(field), self.border(expr)?))).collect()
    }

    /// The event time columns that these expressions pass on, under their new names.
    pub fn times_through(&self, exprs: &[(Expr, QualifiedField)]) -> Vec<Column> {
        let is_time = |(expr, field): &&(Expr, QualifiedField)| {
            shown_time(expr, field).is_some_and(|column| self.is_time(column))
        };
        exprs.iter().filter(is_time).map(|(_, field)| column_of(field)).collect()
    }

    /// Whether a column is processing time.
    pub fn is_clock(&self, column: &Column) -> bool {
        let index = self.schema.maybe_index_of_column(column);
        index.is_some() && self.clocks.iter().any(|clock| self.schema.maybe_index_of_column(clock) == index)
    }

    /// The processing time columns that these expressions make or pass on, under their new names.
    pub fn clocks_through(&self, exprs: &[(Expr, QualifiedField)]) -> Vec<Column> {
        let is_clock = |(expr, field): &&(Expr, QualifiedField)| {
            is_proctime(shown(expr, field))
                || shown_time(expr, field).is_some_and(|column| self.is_clock(column))
        };
        exprs.iter().filter(is_clock).map(|(_, field)| column_of(field)).collect()
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
        self.borders.iter_mut().for_each(|(column, _)| *column = rename(column));
        self.clocks.iter_mut().for_each(|column| *column = rename(column));
        if let Some(pending) = self.pending.take() {
            let mut pending = pending.renamed(|column| Ok::<_, DataFusionError>(rename(column)))?;
            for ((qualifier, _), _) in &mut pending.columns {
                *qualifier = Some(alias.clone());
            }
            self.pending = Some(pending);
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

/// What an expression shows: itself, or a time as the clocks of the session's zone show it.
fn shown<'e>(expr: &'e Expr, field: &QualifiedField) -> &'e Expr {
    match unaliased(expr) {
        Expr::ScalarFunction(call) if field.1.name() == LOCAL_TIME && !call.args.is_empty() => {
            unaliased(&call.args[0])
        }
        expr => expr,
    }
}

fn shown_time<'e>(expr: &'e Expr, field: &QualifiedField) -> Option<&'e Column> {
    match shown(expr, field) {
        Expr::Column(column) => Some(column),
        _ => None,
    }
}

fn is_proctime(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.name() == PROCTIME)
}
