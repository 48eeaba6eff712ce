//! `SHOW CREATE`: a table, view or catalog back to the statement that makes it.

use std::{collections::BTreeMap, fmt::Write as _};

use thalweg_graph::table::TablePath;

use super::{Catalog, ColumnKind, Distribution, Table, TableColumn, View};

/// Returns the `CREATE TABLE` statement of a table.
pub fn show_create_table(path: &TablePath, table: &Table, temporary: bool) -> String {
    let mut lines: Vec<String> = table.columns.iter().map(|column| column_line(table, column)).collect();
    if let Some(watermark) = &table.watermark {
        lines.push(format!("WATERMARK FOR {} AS {}", quote(&watermark.column), watermark.expression));
    }
    if let Some(key) = &table.primary_key {
        let name = key.name.as_ref().map(|name| format!("CONSTRAINT {} ", quote(name))).unwrap_or_default();
        lines.push(format!("{name}PRIMARY KEY ({}) NOT ENFORCED", quote_all(&key.columns)));
    }
    let mut text = format!("CREATE {}TABLE {}", temporary_word(temporary), quote_path(path));
    if !lines.is_empty() {
        let _ = write!(text, " (\n  {}\n)", lines.join(",\n  "));
    }
    push_comment(&mut text, table.comment.as_deref(), "\n");
    if let Some(distribution) = &table.distribution {
        let _ = write!(text, "\n{}", distribution_clause(distribution));
    }
    if !table.partition_keys.is_empty() {
        let _ = write!(text, "\nPARTITIONED BY ({})", quote_all(&table.partition_keys));
    }
    push_options(&mut text, &table.options);
    text
}

/// Returns the `CREATE VIEW` statement of a view.
pub fn show_create_view(path: &TablePath, view: &View, temporary: bool) -> String {
    let columns: Vec<String> =
        view.columns.iter().map(|column| format!("\n  {}", quote(&column.name))).collect();
    let mut text =
        format!("CREATE {}VIEW {} ({}\n)", temporary_word(temporary), quote_path(path), columns.join(","));
    push_comment(&mut text, view.comment.as_deref(), "\n");
    let _ = write!(text, "\nAS {}", view.query);
    text
}

/// Returns the `CREATE CATALOG` statement of a catalog.
pub fn show_create_catalog(name: &str, catalog: &Catalog) -> String {
    let mut text = format!("CREATE CATALOG {}", quote(name));
    push_comment(&mut text, catalog.comment.as_deref(), "\n");
    push_options(&mut text, &catalog.options);
    text
}

fn column_line(table: &Table, column: &TableColumn) -> String {
    let name = quote(&column.name);
    let not_null = |nullable: bool| match nullable && !table.in_primary_key(&column.name) {
        true => "",
        false => " NOT NULL",
    };
    let mut line = match &column.kind {
        ColumnKind::Physical { sql_type, nullable } => format!("{name} {sql_type}{}", not_null(*nullable)),
        ColumnKind::Computed { expression } => format!("{name} AS {expression}"),
        ColumnKind::Metadata { sql_type, nullable, key, is_virtual } => {
            let from = key.as_ref().map(|key| format!(" FROM {}", literal(key))).unwrap_or_default();
            let is_virtual = if *is_virtual { " VIRTUAL" } else { "" };
            format!("{name} {sql_type}{} METADATA{from}{is_virtual}", not_null(*nullable))
        }
    };
    push_comment(&mut line, column.comment.as_deref(), " ");
    line
}

fn distribution_clause(distribution: &Distribution) -> String {
    let mut text = "DISTRIBUTED".to_owned();
    if !distribution.columns.is_empty() {
        let algorithm = distribution.algorithm.as_ref().map(|word| format!(" {word}")).unwrap_or_default();
        let _ = write!(text, " BY{algorithm}({})", quote_all(&distribution.columns));
    }
    if let Some(buckets) = distribution.buckets {
        let _ = write!(text, " INTO {buckets} BUCKETS");
    }
    text
}

fn push_comment(text: &mut String, comment: Option<&str>, separator: &str) {
    if let Some(comment) = comment {
        let _ = write!(text, "{separator}COMMENT {}", literal(comment));
    }
}

fn push_options(text: &mut String, options: &BTreeMap<String, String>) {
    if options.is_empty() {
        return;
    }
    let lines: Vec<String> =
        options.iter().map(|(key, value)| format!("  {} = {}", literal(key), literal(value))).collect();
    let _ = write!(text, "\nWITH (\n{}\n)", lines.join(",\n"));
}

fn temporary_word(temporary: bool) -> &'static str {
    if temporary { "TEMPORARY " } else { "" }
}

fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn quote_all(names: &[String]) -> String {
    names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ")
}

fn quote_path(path: &TablePath) -> String {
    [&path.catalog, &path.database, &path.table].map(|part| quote(part)).join(".")
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
