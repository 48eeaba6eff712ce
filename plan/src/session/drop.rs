//! `DROP`.

use thalweg_graph::{SqlError, sql_error::SqlErrorCode};

use super::{DONE, Outcome, Session};
use crate::{
    catalog::Entry,
    sql::command::{Drop, DropKind},
};

impl Session {
    pub(super) fn drop_object(&mut self, drop: &Drop) -> Result<Outcome, SqlError> {
        let dropped = match drop.kind {
            DropKind::Table | DropKind::View => self.drop_entry(drop),
            DropKind::Database => self.drop_database(drop),
            DropKind::Catalog => self.drop_catalog(drop),
        };
        match dropped {
            Err(error) if drop.if_exists && error.code == SqlErrorCode::UnknownTable => Ok(DONE),
            Err(error) => Err(error.at(drop.name.position)),
            Ok(()) => Ok(DONE),
        }
    }

    fn drop_entry(&mut self, drop: &Drop) -> Result<(), SqlError> {
        let path = self.catalogs.resolve(&drop.name)?;
        let hidden = self.catalogs.temporary.contains_key(&path);
        if drop.temporary && !hidden {
            let message = format!("no temporary table or view `{path}` exists");
            return Err(SqlError::new(SqlErrorCode::UnknownTable, message));
        }
        let (_, entry) = self.catalogs.get(&drop.name)?;
        let fits = matches!(
            (entry, drop.kind),
            (Entry::Table(_), DropKind::Table) | (Entry::View(_), DropKind::View)
        );
        if !fits {
            let kind = entry.kind();
            let message = format!("`{path}` is a {kind}: say DROP {}", kind.to_uppercase());
            return Err(SqlError::new(SqlErrorCode::Invalid, message));
        }
        if hidden && !drop.temporary {
            let message =
                format!("a temporary {} hides `{path}`: drop it first by DROP TEMPORARY", entry.kind());
            return Err(SqlError::new(SqlErrorCode::Invalid, message));
        }
        self.catalogs.remove(&path, drop.temporary);
        Ok(())
    }

    fn drop_database(&mut self, drop: &Drop) -> Result<(), SqlError> {
        let (catalog, name) = self.catalogs.resolve_database(&drop.name)?;
        let database = self.catalogs.get_database(&catalog, &name)?;
        if !database.entries.is_empty() && !drop.cascade {
            let message = format!("database `{catalog}.{name}` has tables: drop them first or say CASCADE");
            return Err(SqlError::new(SqlErrorCode::Invalid, message));
        }
        if self.catalogs.current_catalog == catalog && self.catalogs.current_database.as_ref() == Some(&name)
        {
            self.catalogs.current_database = None;
        }
        if let Some(catalog) = self.catalogs.catalogs.get_mut(&catalog) {
            catalog.databases.remove(&name);
        }
        self.catalogs.temporary.retain(|path, _| path.catalog != catalog || path.database != name);
        Ok(())
    }

    fn drop_catalog(&mut self, drop: &Drop) -> Result<(), SqlError> {
        let name = drop.name.last();
        self.catalogs.get_catalog(name)?;
        if self.catalogs.current_catalog == name {
            let message = format!("catalog `{name}` is in use: USE another one first");
            return Err(SqlError::new(SqlErrorCode::Invalid, message));
        }
        self.catalogs.catalogs.remove(name);
        self.catalogs.temporary.retain(|path, _| path.catalog != name);
        Ok(())
    }
}
