//! The catalogs of a session, in memory: databases, tables and views by their resolved names, and what is current.
//!
//! Temporary objects hide permanent ones of the same name, as in Flink.

mod alter;
mod like;
mod name;
mod show_create;
mod table;

use std::{collections::BTreeMap, sync::Arc};

use thalweg_graph::{
    SqlError,
    sql_error::SqlErrorCode,
    table::{TablePath, nearest},
};

pub use self::{
    alter::ColumnPlace,
    like::{LikeFeature, LikeOption, LikeStrategy, merge_like},
    name::Name,
    show_create::{show_create_catalog, show_create_table, show_create_view},
    table::{ColumnKind, Distribution, PrimaryKey, Table, TableColumn, View, Watermark},
};

/// The catalog of a new session, as in Flink.
pub const DEFAULT_CATALOG: &str = "default_catalog";
/// The database of a new catalog, as in Flink.
pub const DEFAULT_DATABASE: &str = "default_database";

/// A table or a view.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A table that a connector reads or writes.
    Table(Arc<Table>),
    /// A named query.
    View(Arc<View>),
}

impl Entry {
    /// `TABLE` or `VIEW`.
    pub fn kind(&self) -> &'static str {
        match self {
            Entry::Table(_) => "table",
            Entry::View(_) => "view",
        }
    }
}

/// A database: tables and views by name.
#[derive(Debug, Clone, Default)]
pub struct Database {
    /// What it is for.
    pub comment: Option<String>,
    /// Its `WITH` options.
    pub options: BTreeMap<String, String>,
    /// What is in it.
    pub entries: BTreeMap<String, Entry>,
}

/// A catalog: databases by name.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// What it is for.
    pub comment: Option<String>,
    /// Its `WITH` options.
    pub options: BTreeMap<String, String>,
    /// What is in it.
    pub databases: BTreeMap<String, Database>,
}

/// All catalogs of a session.
#[derive(Debug, Clone)]
pub struct Catalogs {
    /// By name.
    pub catalogs: BTreeMap<String, Catalog>,
    /// Temporary tables and views.
    pub temporary: BTreeMap<TablePath, Entry>,
    /// The catalog of names without one.
    pub current_catalog: String,
    /// The database of names without one; none where the current catalog has none.
    pub current_database: Option<String>,
}

impl Default for Catalogs {
    fn default() -> Self {
        let databases = BTreeMap::from([(DEFAULT_DATABASE.to_owned(), Database::default())]);
        let options = BTreeMap::from([("type".to_owned(), "generic_in_memory".to_owned())]);
        let catalog = Catalog { databases, options, comment: None };
        Self {
            catalogs: BTreeMap::from([(DEFAULT_CATALOG.to_owned(), catalog)]),
            temporary: BTreeMap::new(),
            current_catalog: DEFAULT_CATALOG.to_owned(),
            current_database: Some(DEFAULT_DATABASE.to_owned()),
        }
    }
}

impl Catalogs {
    /// Completes a name with the current catalog and database.
    pub fn resolve(&self, name: &Name) -> Result<TablePath, SqlError> {
        let (catalog, database, table) = match &name.parts[..] {
            [table] => (self.current_catalog.clone(), self.database()?, table),
            [database, table] => (self.current_catalog.clone(), database.clone(), table),
            [catalog, database, table] => (catalog.clone(), database.clone(), table),
            _ => return Err(name.error(SqlErrorCode::Invalid, "a name has one to three parts")),
        };
        Ok(TablePath { catalog, database, table: table.clone() })
    }

    /// Completes the name of a database with the current catalog.
    pub fn resolve_database(&self, name: &Name) -> Result<(String, String), SqlError> {
        match &name.parts[..] {
            [database] => Ok((self.current_catalog.clone(), database.clone())),
            [catalog, database] => Ok((catalog.clone(), database.clone())),
            _ => Err(name.error(SqlErrorCode::Invalid, "a database's name has one or two parts")),
        }
    }

    fn database(&self) -> Result<String, SqlError> {
        self.current_database.clone().ok_or_else(|| {
            let message =
                format!("catalog `{}` has no current database: say USE <database>", self.current_catalog);
            SqlError::new(SqlErrorCode::Invalid, message)
        })
    }

    /// Finds a table or view, temporary ones first.
    pub fn find(&self, path: &TablePath) -> Option<&Entry> {
        self.temporary.get(path).or_else(|| self.permanent(path))
    }

    fn permanent(&self, path: &TablePath) -> Option<&Entry> {
        self.catalogs.get(&path.catalog)?.databases.get(&path.database)?.entries.get(&path.table)
    }

    /// Finds a table or view by the name that a statement gives, or says which part of it is unknown and what is near.
    pub fn get(&self, name: &Name) -> Result<(TablePath, &Entry), SqlError> {
        let path = self.resolve(name)?;
        match self.find(&path) {
            Some(entry) => Ok((path, entry)),
            None => Err(self.unknown(&path).at(name.position)),
        }
    }

    /// Finds a table; a view is refused.
    pub fn get_table(&self, name: &Name) -> Result<(TablePath, Arc<Table>), SqlError> {
        match self.get(name)? {
            (path, Entry::Table(table)) => Ok((path, Arc::clone(table))),
            (path, Entry::View(_)) => {
                Err(name.error(SqlErrorCode::Invalid, format!("`{path}` is a view, not a table")))
            }
        }
    }

    /// Finds a view; a table is refused.
    pub fn get_view(&self, name: &Name) -> Result<(TablePath, Arc<View>), SqlError> {
        match self.get(name)? {
            (path, Entry::View(view)) => Ok((path, Arc::clone(view))),
            (path, Entry::Table(_)) => {
                Err(name.error(SqlErrorCode::Invalid, format!("`{path}` is a table, not a view")))
            }
        }
    }

    /// The refusal of a path that leads nowhere, with the nearest name.
    pub fn unknown(&self, path: &TablePath) -> SqlError {
        let database = match self.get_database(&path.catalog, &path.database) {
            Ok(database) => database,
            Err(error) => return error,
        };
        let in_place = |(path_of, _): &(&TablePath, &Entry)| {
            (&path_of.catalog, &path_of.database) == (&path.catalog, &path.database)
        };
        let temporary = self.temporary.iter().filter(in_place).map(|(path, _)| path.table.as_str());
        let names = database.entries.keys().map(String::as_str).chain(temporary);
        not_found("table or view", &format!("{path}"), nearest(&path.table, names))
    }

    /// Finds a catalog.
    pub fn get_catalog(&self, name: &str) -> Result<&Catalog, SqlError> {
        let names = self.catalogs.keys().map(String::as_str);
        self.catalogs.get(name).ok_or_else(|| not_found("catalog", name, nearest(name, names)))
    }

    /// Finds a database.
    pub fn get_database(&self, catalog: &str, database: &str) -> Result<&Database, SqlError> {
        let databases = &self.get_catalog(catalog)?.databases;
        let names = databases.keys().map(String::as_str);
        databases
            .get(database)
            .ok_or_else(|| not_found("database", &format!("{catalog}.{database}"), nearest(database, names)))
    }

    /// Finds a database to change it.
    pub fn get_database_mut(&mut self, catalog: &str, database: &str) -> Result<&mut Database, SqlError> {
        self.get_database(catalog, database)?;
        let found = self.catalogs.get_mut(catalog).and_then(|catalog| catalog.databases.get_mut(database));
        found.ok_or_else(|| not_found("database", database, None))
    }

    /// Puts a table or view where its path says. What is there is replaced if `replace`, else refused.
    pub fn put(
        &mut self,
        path: TablePath,
        entry: Entry,
        temporary: bool,
        replace: bool,
    ) -> Result<(), SqlError> {
        self.get_database(&path.catalog, &path.database)?;
        let taken = if temporary { self.temporary.get(&path) } else { self.permanent(&path) };
        if let Some(taken) = taken.filter(|_| !replace) {
            let message = format!("{} `{path}` exists already", taken.kind());
            return Err(SqlError::new(SqlErrorCode::AlreadyExists, message));
        }
        if temporary {
            self.temporary.insert(path, entry);
        } else {
            self.get_database_mut(&path.catalog, &path.database)?.entries.insert(path.table, entry);
        }
        Ok(())
    }

    /// Removes what `find` finds there.
    pub fn remove(&mut self, path: &TablePath, temporary: bool) -> Option<Entry> {
        if temporary {
            return self.temporary.remove(path);
        }
        let database = self.catalogs.get_mut(&path.catalog)?.databases.get_mut(&path.database)?;
        database.entries.remove(&path.table)
    }

    /// Names of the tables and views in a database, temporary ones included.
    pub fn list(&self, catalog: &str, database: &str) -> Result<BTreeMap<String, &Entry>, SqlError> {
        let permanent = self.get_database(catalog, database)?.entries.iter();
        let mut list: BTreeMap<String, &Entry> =
            permanent.map(|(name, entry)| (name.clone(), entry)).collect();
        let temporary = self.temporary.iter();
        let here = temporary.filter(|(path, _)| path.catalog == catalog && path.database == database);
        list.extend(here.map(|(path, entry)| (path.table.clone(), entry)));
        Ok(list)
    }
}

/// The refusal of a name that nothing has.
pub fn not_found(what: &str, name: &str, meant: Option<&str>) -> SqlError {
    let meant = meant.map(|meant| format!(": did you mean `{meant}`?")).unwrap_or_default();
    SqlError::new(SqlErrorCode::UnknownTable, format!("{what} `{name}` does not exist{meant}"))
}
