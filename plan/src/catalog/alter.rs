//! Changing the columns of a table: what `ALTER TABLE ADD | MODIFY | DROP | RENAME` does to a declaration.

use thalweg_graph::{SqlError, sql_error::SqlErrorCode, table::nearest};

use super::{ColumnKind, Table, TableColumn};

/// Where a column goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ColumnPlace {
    /// After all others, or where it was.
    #[default]
    Unsaid,
    /// `FIRST`
    First,
    /// `AFTER column`
    After(String),
}

impl Table {
    /// Adds a column.
    pub fn add_column(&mut self, column: TableColumn, place: &ColumnPlace) -> Result<(), SqlError> {
        if self.column(&column.name).is_some() {
            let message = format!("column `{}` exists already", column.name);
            return Err(SqlError::new(SqlErrorCode::AlreadyExists, message));
        }
        let position = self.position_for(place, self.columns.len())?;
        self.columns.insert(position, column);
        Ok(())
    }

    /// Replaces the declaration of a column, and moves it where that is said.
    pub fn modify_column(&mut self, column: TableColumn, place: &ColumnPlace) -> Result<(), SqlError> {
        let old = self.position_of(&column.name)?;
        self.columns.remove(old);
        let position = self.position_for(place, old)?;
        self.columns.insert(position, column);
        Ok(())
    }

    /// Removes a column that nothing else in the table needs.
    pub fn drop_column(&mut self, name: &str) -> Result<(), SqlError> {
        let position = self.position_of(name)?;
        self.check_unneeded(name, "dropped")?;
        self.columns.remove(position);
        Ok(())
    }

    /// Gives a column another name.
    pub fn rename_column(&mut self, name: &str, to: &str) -> Result<(), SqlError> {
        let position = self.position_of(name)?;
        if self.column(to).is_some() {
            return Err(SqlError::new(SqlErrorCode::AlreadyExists, format!("column `{to}` exists already")));
        }
        self.check_unneeded(name, "renamed")?;
        self.columns[position].name = to.to_owned();
        Ok(())
    }

    fn position_of(&self, name: &str) -> Result<usize, SqlError> {
        self.columns.iter().position(|column| column.name == name).ok_or_else(|| self.unknown_column(name))
    }

    /// The refusal of a column that the table does not have, with the nearest one.
    pub fn unknown_column(&self, name: &str) -> SqlError {
        let meant = nearest(name, self.columns.iter().map(|column| column.name.as_str()));
        let meant = meant.map(|meant| format!(": did you mean `{meant}`?")).unwrap_or_default();
        SqlError::new(SqlErrorCode::UnknownColumn, format!("column `{name}` does not exist{meant}"))
    }

    fn position_for(&self, place: &ColumnPlace, unsaid: usize) -> Result<usize, SqlError> {
        match place {
            ColumnPlace::Unsaid => Ok(unsaid),
            ColumnPlace::First => Ok(0),
            ColumnPlace::After(name) => Ok(self.position_of(name)? + 1),
        }
    }

    fn check_unneeded(&self, name: &str, done: &str) -> Result<(), SqlError> {
        let user = if self.in_primary_key(name) {
            "the primary key"
        } else if self.partition_keys.iter().any(|key| key == name) {
            "the partitioning"
        } else if self.watermark.as_ref().is_some_and(|watermark| watermark.column == name) {
            "the watermark"
        } else if let Some(column) = self.computed_from(name) {
            return Err(needed(name, done, &format!("the computed column `{column}`")));
        } else {
            return Ok(());
        };
        Err(needed(name, done, user))
    }

    /// A computed column whose expression has the name as a word of its own.
    fn computed_from(&self, name: &str) -> Option<&str> {
        let mentions = |text: &str| {
            text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').any(|word| word == name)
        };
        self.columns.iter().find_map(|column| match &column.kind {
            ColumnKind::Computed { expression } if mentions(expression) => Some(column.name.as_str()),
            _ => None,
        })
    }
}

fn needed(name: &str, done: &str, user: &str) -> SqlError {
    SqlError::new(SqlErrorCode::Invalid, format!("column `{name}` cannot be {done}: {user} needs it"))
}
