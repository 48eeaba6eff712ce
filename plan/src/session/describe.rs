//! `DESCRIBE`, and the rows of `SHOW COLUMNS`, in Flink's columns.

use thalweg_graph::{RuntimeMode, SqlError, sql_error::SqlErrorCode, table::Column};

use super::{Outcome, Rows, Session};
use crate::{
    bind::name_function,
    catalog::{ColumnKind, Entry, Name, Table},
    functions::{self, Family},
    sql::command::ContainerKind,
};

/// Flink's columns; the last only where some column has a comment.
const COLUMNS: [&str; 7] = ["name", "type", "null", "key", "extras", "watermark", "comment"];

impl Session {
    pub(super) fn describe(&self, name: &Name) -> Result<Outcome, SqlError> {
        self.described(name, |_| true)?.outcome()
    }

    /// The columns of a table or view whose names are wanted.
    pub(super) fn described(&self, name: &Name, wanted: impl Fn(&str) -> bool) -> Result<Rows, SqlError> {
        let (mut rows, mut has_comments) = (Rows::new(&COLUMNS), false);
        match self.catalogs.get(name)?.1 {
            Entry::View(view) => {
                for column in view.columns.iter().filter(|column| wanted(&column.name)) {
                    rows.push(view_row(column));
                }
            }
            Entry::Table(table) => {
                has_comments = table.columns.iter().any(|column| column.comment.is_some());
                let state = self.state();
                for column in self
                    .binder(&state, RuntimeMode::Batch)
                    .columns(table)?
                    .iter()
                    .filter(|column| wanted(&column.name))
                {
                    rows.push(table_row(table, column));
                }
            }
        }
        if !has_comments {
            rows.drop_last();
        }
        Ok(rows)
    }

    pub(super) fn describe_container(
        &self,
        kind: ContainerKind,
        name: &Name,
        extended: bool,
    ) -> Result<Outcome, SqlError> {
        let at = |error: SqlError| error.at(name.position);
        let mut rows = Rows::new(&["info name", "info value"]);
        let mut push = |key: &str, value: &str| rows.push([Some(key.to_owned()), Some(value.to_owned())]);
        let options = match kind {
            ContainerKind::Catalog => {
                let catalog = self.catalogs.get_catalog(name.last()).map_err(at)?;
                push("name", name.last());
                push("type", catalog.options.get("type").map_or("", String::as_str));
                push("comment", catalog.comment.as_deref().unwrap_or_default());
                &catalog.options
            }
            ContainerKind::Database => {
                let (catalog, database) = self.catalogs.resolve_database(name)?;
                let found = self.catalogs.get_database(&catalog, &database).map_err(at)?;
                push("catalog", &catalog);
                push("database", &database);
                push("comment", found.comment.as_deref().unwrap_or_default());
                &found.options
            }
        };
        for (key, value) in options.iter().filter(|_| extended) {
            push(&format!("option:{key}"), value);
        }
        rows.outcome()
    }

    /// The built-in function of this name; there are no others.
    pub(super) fn describe_function(&self, name: &Name, extended: bool) -> Result<Outcome, SqlError> {
        let Some(function) = functions::find(name.last()) else {
            let message = format!("function `{}` does not exist", name.last());
            let error = SqlError::new(SqlErrorCode::UnknownFunction, message);
            return Err(name_function(error).at(name.position));
        };
        let mut rows = Rows::new(&["info name", "info value"]);
        let mut push = |key: &str, value: &str| rows.push([Some(key.to_owned()), Some(value.to_owned())]);
        push("is system function", "true");
        push("is temporary", "false");
        if extended {
            let kind = match function.family {
                Family::Aggregate => "AGGREGATE",
                Family::Window => "WINDOW",
                _ => "SCALAR",
            };
            push("kind", kind);
            push("signature", function.signature);
            push("description", function.doc);
        }
        rows.outcome()
    }
}

fn view_row(column: &Column) -> [Option<String>; COLUMNS.len()] {
    let null = Some(column.nullable.to_string().to_uppercase());
    [Some(column.name.clone()), Some(column.data_type.clone()), null, None, None, None, None]
}

fn table_row(table: &Table, column: &Column) -> [Option<String>; COLUMNS.len()] {
    let [name, data_type, null, ..] = view_row(column);
    let key = table.primary_key.as_ref().filter(|key| key.columns.contains(&column.name));
    let key = key.map(|key| format!("PRI({})", key.columns.join(", ")));
    let watermark = table.watermark.as_ref().filter(|watermark| watermark.column == column.name);
    let watermark = watermark.map(|watermark| watermark.expression.clone());
    let comment = table.column(&column.name).and_then(|column| column.comment.clone());
    [name, data_type, null, key, extras(table, &column.name), watermark, comment]
}

fn extras(table: &Table, name: &str) -> Option<String> {
    match &table.column(name)?.kind {
        ColumnKind::Physical { .. } => None,
        ColumnKind::Computed { expression } => Some(format!("AS {expression}")),
        ColumnKind::Metadata { key, is_virtual, .. } => {
            let from = key.as_ref().map(|key| format!(" FROM '{key}'")).unwrap_or_default();
            Some(format!("METADATA{from}{}", if *is_virtual { " VIRTUAL" } else { "" }))
        }
    }
}
