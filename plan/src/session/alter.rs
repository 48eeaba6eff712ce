//! `ALTER TABLE | VIEW | DATABASE | CATALOG`: a changed copy is checked, then takes the old one's place.

use std::{collections::BTreeMap, sync::Arc};

use thalweg_graph::{RuntimeMode, SqlError, sql_error::SqlErrorCode, table::TablePath};

use super::{DONE, Outcome, Session};
use crate::{
    catalog::{Entry, Name, PrimaryKey, Table, View},
    sql::command::{AlterCatalogAction, AlterTable, AlterTableAction, AlterView, AlterViewAction, TablePart},
};

impl Session {
    pub(super) fn alter_table(&mut self, alter: AlterTable) -> Result<Outcome, SqlError> {
        let (path, table) = match self.catalogs.get_table(&alter.name) {
            Err(error) if alter.if_exists && error.code == SqlErrorCode::UnknownTable => return Ok(DONE),
            found => found?,
        };
        if let AlterTableAction::Rename(to) = &alter.action {
            return self.rename(&path, to);
        }
        let mut changed = (*table).clone();
        change(&mut changed, alter.action)?;
        let state = self.state();
        self.binder(&state, RuntimeMode::Batch).check_table(&changed)?;
        self.connectors.validate(&changed.descriptor(&path, &BTreeMap::new()))?;
        self.replace(path, Entry::Table(Arc::new(changed)))
    }

    pub(super) async fn alter_view(&mut self, alter: AlterView) -> Result<Outcome, SqlError> {
        let (path, view) = self.catalogs.get_view(&alter.name)?;
        match alter.action {
            AlterViewAction::Rename(to) => self.rename(&path, &to),
            AlterViewAction::Query { text, query } => {
                let columns = self.view_columns(&query, &[]).await?;
                let changed = View {
                    query: text,
                    columns,
                    catalog: self.catalogs.current_catalog.clone(),
                    database: self.catalogs.current_database.clone(),
                    comment: view.comment.clone(),
                };
                self.replace(path, Entry::View(Arc::new(changed)))
            }
        }
    }

    fn replace(&mut self, path: TablePath, entry: Entry) -> Result<Outcome, SqlError> {
        let temporary = self.catalogs.temporary.contains_key(&path);
        self.catalogs.put(path, entry, temporary, true)?;
        Ok(DONE)
    }

    fn rename(&mut self, path: &TablePath, to: &Name) -> Result<Outcome, SqlError> {
        let temporary = self.catalogs.temporary.contains_key(path);
        // A bare name stays in the database of the old one.
        let new = match &to.parts[..] {
            [table] => TablePath { table: table.clone(), ..path.clone() },
            _ => self.catalogs.resolve(to)?,
        };
        if (&new.catalog, &new.database) != (&path.catalog, &path.database) {
            let message = "a table or view cannot be renamed into another database";
            return Err(to.error(SqlErrorCode::Invalid, message));
        }
        if self.catalogs.find(&new).is_some() {
            return Err(to.error(SqlErrorCode::AlreadyExists, format!("`{new}` exists already")));
        }
        if let Some(entry) = self.catalogs.remove(path, temporary) {
            self.catalogs.put(new, entry, temporary, false)?;
        }
        Ok(DONE)
    }

    pub(super) fn alter_database(
        &mut self,
        name: &Name,
        options: BTreeMap<String, String>,
    ) -> Result<Outcome, SqlError> {
        let (catalog, database) = self.catalogs.resolve_database(name)?;
        let found = self.catalogs.get_database_mut(&catalog, &database);
        found.map_err(|error| error.at(name.position))?.options.extend(options);
        Ok(DONE)
    }

    pub(super) fn alter_catalog(
        &mut self,
        name: &Name,
        action: AlterCatalogAction,
    ) -> Result<Outcome, SqlError> {
        self.catalogs.get_catalog(name.last()).map_err(|error| error.at(name.position))?;
        let Some(catalog) = self.catalogs.catalogs.get_mut(name.last()) else { return Ok(DONE) };
        match action {
            AlterCatalogAction::Set(options) => catalog.options.extend(options),
            AlterCatalogAction::Reset(keys) => keys.iter().for_each(|key| drop(catalog.options.remove(key))),
            AlterCatalogAction::Comment(comment) => catalog.comment = Some(comment),
        }
        Ok(DONE)
    }
}

fn change(table: &mut Table, action: AlterTableAction) -> Result<(), SqlError> {
    match action {
        AlterTableAction::Rename(_) => Ok(()),
        AlterTableAction::RenameColumn(from, to) => {
            table.rename_column(from.last(), &to).map_err(|error| error.at(from.position))
        }
        AlterTableAction::Set(options) => {
            table.options.extend(options);
            Ok(())
        }
        AlterTableAction::Reset(keys) => {
            keys.iter().for_each(|key| drop(table.options.remove(key)));
            Ok(())
        }
        AlterTableAction::Add(parts) => parts.into_iter().try_for_each(|part| add(table, part)),
        AlterTableAction::Modify(parts) => parts.into_iter().try_for_each(|part| modify(table, part)),
        AlterTableAction::DropColumns(names) => names
            .iter()
            .try_for_each(|name| table.drop_column(name.last()).map_err(|error| error.at(name.position))),
        AlterTableAction::DropPrimaryKey => remove(&mut table.primary_key, "primary key"),
        AlterTableAction::DropWatermark => remove(&mut table.watermark, "watermark"),
    }
}

fn add(table: &mut Table, part: TablePart) -> Result<(), SqlError> {
    match part {
        TablePart::Column { column, position, place, primary_key } => {
            if primary_key {
                let key = PrimaryKey { name: None, columns: vec![column.name.clone()] };
                add_once(&mut table.primary_key, key, "primary key").map_err(|error| error.at(position))?;
            }
            table.add_column(column, &place).map_err(|error| error.at(position))
        }
        TablePart::PrimaryKey(key, position) => {
            add_once(&mut table.primary_key, key, "primary key").map_err(|error| error.at(position))
        }
        TablePart::Watermark(watermark, position) => {
            add_once(&mut table.watermark, watermark, "watermark").map_err(|error| error.at(position))
        }
    }
}

fn modify(table: &mut Table, part: TablePart) -> Result<(), SqlError> {
    match part {
        TablePart::Column { column, position, place, .. } => {
            table.modify_column(column, &place).map_err(|error| error.at(position))
        }
        TablePart::PrimaryKey(key, position) => {
            remove(&mut table.primary_key, "primary key").map_err(|error| error.at(position))?;
            table.primary_key = Some(key);
            Ok(())
        }
        TablePart::Watermark(watermark, position) => {
            remove(&mut table.watermark, "watermark").map_err(|error| error.at(position))?;
            table.watermark = Some(watermark);
            Ok(())
        }
    }
}

fn add_once<T>(slot: &mut Option<T>, value: T, what: &str) -> Result<(), SqlError> {
    if slot.is_some() {
        let message = format!("the table has a {what} already: say MODIFY to change it");
        return Err(SqlError::new(SqlErrorCode::AlreadyExists, message));
    }
    *slot = Some(value);
    Ok(())
}

fn remove<T>(slot: &mut Option<T>, what: &str) -> Result<(), SqlError> {
    match slot.take() {
        Some(_) => Ok(()),
        None => Err(SqlError::new(SqlErrorCode::Invalid, format!("the table has no {what}"))),
    }
}
