//! `CREATE VIEW | DATABASE | CATALOG`.

use std::sync::Arc;

use thalweg_graph::{RuntimeMode, SqlError, sql_error::SqlErrorCode, table::Column};

use super::{DONE, Outcome, Session};
use crate::{
    bind::output_columns,
    catalog::{Catalog, DEFAULT_DATABASE, Database, Entry, Name, View},
    sql::command::{CreateCatalog, CreateDatabase, CreateView, Query},
    words::NOT_YET,
};

impl Session {
    pub(super) async fn create_view(&mut self, create: CreateView) -> Result<Outcome, SqlError> {
        let path = self.catalogs.resolve(&create.name)?;
        if create.if_not_exists && self.catalogs.find(&path).is_some() {
            return Ok(DONE);
        }
        let columns = self.view_columns(&create.query, &create.columns).await?;
        let view = View {
            query: create.text,
            columns,
            catalog: self.catalogs.current_catalog.clone(),
            database: self.catalogs.current_database.clone(),
            comment: create.comment,
        };
        let entry = Entry::View(Arc::new(view));
        let put = self.catalogs.put(path, entry, create.temporary, false);
        put.map_err(|error| error.at(create.name.position))?;
        Ok(DONE)
    }

    /// The columns of a view's query under the names that the view gives them.
    pub(super) async fn view_columns(&self, query: &Query, names: &[Name]) -> Result<Vec<Column>, SqlError> {
        let state = self.state();
        let plan = self.binder(&state, RuntimeMode::Batch).query(query).await?;
        let mut columns = output_columns(&plan)?;
        if let Some(name) = names.first().filter(|_| names.len() != columns.len()) {
            let message = format!("{} columns are named, the query gives {}", names.len(), columns.len());
            return Err(name.error(SqlErrorCode::Invalid, message));
        }
        for (column, name) in columns.iter_mut().zip(names) {
            column.name = name.last().to_owned();
        }
        for (position, column) in columns.iter().enumerate() {
            if columns[..position].iter().any(|earlier| earlier.name == column.name) {
                let message = format!("the view would have two columns `{}`: give one an alias", column.name);
                return Err(SqlError::new(SqlErrorCode::Invalid, message));
            }
        }
        Ok(columns)
    }

    pub(super) fn create_database(&mut self, create: CreateDatabase) -> Result<Outcome, SqlError> {
        let (catalog, database) = self.catalogs.resolve_database(&create.name)?;
        let at = |error: SqlError| error.at(create.name.position);
        self.catalogs.get_catalog(&catalog).map_err(at)?;
        if self.catalogs.get_database(&catalog, &database).is_ok() {
            return exists(create.if_not_exists, "database", &create.name);
        }
        let made = Database { comment: create.comment, options: create.options, ..Database::default() };
        if let Some(catalog) = self.catalogs.catalogs.get_mut(&catalog) {
            catalog.databases.insert(database, made);
        }
        Ok(DONE)
    }

    pub(super) fn create_catalog(&mut self, create: CreateCatalog) -> Result<Outcome, SqlError> {
        let name = create.name.last();
        if self.catalogs.catalogs.contains_key(name) {
            return exists(create.if_not_exists, "catalog", &create.name);
        }
        match create.options.get("type").map(String::as_str) {
            Some("generic_in_memory") => {}
            Some(other) => {
                let message = format!("the catalog type `{other}` {NOT_YET}: use `generic_in_memory`");
                return Err(create.name.error(SqlErrorCode::Unsupported, message));
            }
            None => {
                let message = "a catalog needs its `type`: WITH ('type' = 'generic_in_memory')";
                return Err(create.name.error(SqlErrorCode::InvalidOption, message));
            }
        }
        let default = create.options.get("default-database").map_or(DEFAULT_DATABASE, String::as_str);
        let databases = [(default.to_owned(), Database::default())].into();
        let catalog = Catalog { comment: create.comment, databases, options: create.options.clone() };
        self.catalogs.catalogs.insert(name.to_owned(), catalog);
        Ok(DONE)
    }
}

fn exists(is_fine: bool, what: &str, name: &Name) -> Result<Outcome, SqlError> {
    if is_fine {
        return Ok(DONE);
    }
    Err(name.error(SqlErrorCode::AlreadyExists, format!("{what} `{name}` exists already")))
}
