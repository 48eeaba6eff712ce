//! `SET`, `RESET`, `USE`.

use thalweg_graph::{
    SqlError,
    options::{self, check, nearest},
    secret::is_secret,
    sql_error::{Position, SqlErrorCode},
};

use super::{DONE, Outcome, Rows, Session};
use crate::{
    catalog::{DEFAULT_DATABASE, Name},
    functions::zone::Zone,
    sql::command::Setting,
};

impl Session {
    pub(super) fn set(&mut self, setting: Option<Setting>) -> Result<Outcome, SqlError> {
        let Some(Setting { key, value, position }) = setting else { return self.list_options() };
        if options::is_operators(&key) {
            let text = format!("`{key}` is set where the processes are configured, and not by a session");
            return Err(SqlError::new(SqlErrorCode::InvalidOption, text).at(position));
        }
        let known = check(&key, &value)
            .map_err(|error| SqlError::new(SqlErrorCode::InvalidOption, error.to_string()).at(position))?;
        let message = (!known).then(|| unknown_option(&key));
        if key == options::LOCAL_TIME_ZONE.name {
            check_zone(&value).map_err(|error| error.at(position))?;
        }
        self.options.0.insert(key, value);
        Ok(Outcome::Ok { message })
    }

    fn list_options(&self) -> Result<Outcome, SqlError> {
        let mut rows = Rows::new(&["key", "value"]);
        for (key, value) in &self.options.of_jobs().0 {
            let shown = if is_secret(key) { "******" } else { value };
            rows.push([Some(key.clone()), Some(shown.to_owned())]);
        }
        rows.outcome()
    }

    pub(super) fn reset(&mut self, key: Option<(String, Position)>) -> Result<Outcome, SqlError> {
        let Some((key, _)) = key else {
            self.options = self.initial.clone();
            return Ok(DONE);
        };
        match self.initial.0.get(&key) {
            Some(value) => self.options.0.insert(key, value.clone()),
            None => self.options.0.remove(&key),
        };
        Ok(DONE)
    }

    pub(super) fn use_catalog(&mut self, name: &Name) -> Result<Outcome, SqlError> {
        let catalog = self.catalogs.get_catalog(name.last()).map_err(|error| error.at(name.position))?;
        let default = catalog.databases.contains_key(DEFAULT_DATABASE).then(|| DEFAULT_DATABASE.to_owned());
        self.catalogs.current_database = default;
        self.catalogs.current_catalog = name.last().to_owned();
        Ok(DONE)
    }

    pub(super) fn use_database(&mut self, name: &Name) -> Result<Outcome, SqlError> {
        let (catalog, database) = self.catalogs.resolve_database(name)?;
        self.catalogs.get_database(&catalog, &database).map_err(|error| error.at(name.position))?;
        self.catalogs.current_catalog = catalog;
        self.catalogs.current_database = Some(database);
        Ok(DONE)
    }
}

/// Refuses a time zone that nobody knows.
pub(super) fn check_zone(value: &str) -> Result<(), SqlError> {
    let key = options::LOCAL_TIME_ZONE.name;
    if value == options::LOCAL_TIME_ZONE.default || Zone::named(value).is_some() {
        return Ok(());
    }
    let message = format!(
        "option `{key}` cannot be `{value}`: expected a region such as `America/Los_Angeles`, an offset such as `GMT-08:00`, or \
         `default`"
    );
    Err(SqlError::new(SqlErrorCode::InvalidOption, message))
}

/// Scripts written for Flink set many options that mean nothing here, so an unknown one is kept, but said.
fn unknown_option(key: &str) -> String {
    match nearest(key) {
        Some(meant) => format!("option `{key}` is not known and has no effect: did you mean `{meant}`?"),
        None => format!("option `{key}` is not known and has no effect"),
    }
}
