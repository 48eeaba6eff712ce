//! `SHOW`.

use thalweg_graph::{SqlError, sql_error::SqlErrorCode};

use super::{Outcome, Rows, Session};
use crate::{
    catalog::{Entry, Name, show_create_catalog, show_create_table, show_create_view},
    functions,
    sql::command::{Show, ShowFilter, ShowKind},
};

impl Session {
    pub(super) fn show(&self, show: &Show) -> Result<Outcome, SqlError> {
        let filter = show.filter.as_ref();
        let listed = |title, names: Vec<String>| {
            Rows::of(title, names.into_iter().filter(|name| passes(filter, name))).outcome()
        };
        match &show.kind {
            ShowKind::Catalogs => listed("catalog name", self.catalogs.catalogs.keys().cloned().collect()),
            ShowKind::Databases => listed("database name", self.databases(show.scope.as_ref())?),
            ShowKind::Tables => listed("table name", self.entries(show.scope.as_ref(), |_| true)?),
            ShowKind::Views => listed(
                "view name",
                self.entries(show.scope.as_ref(), |entry| matches!(entry, Entry::View(_)))?,
            ),
            ShowKind::Functions { user } => listed("function name", function_names(*user)),
            ShowKind::Modules { full: false } => listed("module name", vec!["core".to_owned()]),
            ShowKind::Modules { full: true } => {
                let mut rows = Rows::new(&["module name", "used"]);
                rows.push([Some("core".to_owned()), Some("TRUE".to_owned())]);
                rows.outcome()
            }
            ShowKind::Columns => match &show.scope {
                Some(name) => self.described(name, |column| passes(filter, column))?.outcome(),
                None => Err(SqlError::new(SqlErrorCode::Invalid, "SHOW COLUMNS needs FROM and a table")),
            },
            ShowKind::CurrentCatalog => {
                listed("current catalog name", vec![self.catalogs.current_catalog.clone()])
            }
            ShowKind::CurrentDatabase => {
                listed("current database name", self.catalogs.current_database.iter().cloned().collect())
            }
            ShowKind::Jars => listed("jars", Vec::new()),
            ShowKind::Jobs => Ok(Outcome::ShowJobs),
            ShowKind::CreateTable | ShowKind::CreateView | ShowKind::CreateCatalog => self.show_create(show),
        }
    }

    fn databases(&self, scope: Option<&Name>) -> Result<Vec<String>, SqlError> {
        let catalog = match scope {
            Some(name) => self.catalogs.get_catalog(name.last()).map_err(|error| error.at(name.position))?,
            None => self.catalogs.get_catalog(&self.catalogs.current_catalog)?,
        };
        Ok(catalog.databases.keys().cloned().collect())
    }

    fn entries(
        &self,
        scope: Option<&Name>,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Vec<String>, SqlError> {
        let (catalog, database) = match (scope, &self.catalogs.current_database) {
            (Some(name), _) => self.catalogs.resolve_database(name)?,
            (None, Some(database)) => (self.catalogs.current_catalog.clone(), database.clone()),
            (None, None) => return Ok(Vec::new()),
        };
        let list = self.catalogs.list(&catalog, &database);
        let list = list.map_err(|error| match scope {
            Some(name) => error.at(name.position),
            None => error,
        })?;
        Ok(list.into_iter().filter(|(_, entry)| wanted(entry)).map(|(name, _)| name).collect())
    }

    fn show_create(&self, show: &Show) -> Result<Outcome, SqlError> {
        let Some(name) = &show.scope else {
            return Err(SqlError::new(SqlErrorCode::Invalid, "SHOW CREATE needs a name"));
        };
        let text = match show.kind {
            ShowKind::CreateCatalog => {
                let catalog =
                    self.catalogs.get_catalog(name.last()).map_err(|error| error.at(name.position))?;
                show_create_catalog(name.last(), catalog)
            }
            ShowKind::CreateView => {
                let (path, view) = self.catalogs.get_view(name)?;
                show_create_view(&path, &view, self.catalogs.temporary.contains_key(&path))
            }
            _ => {
                let (path, table) = self.catalogs.get_table(name)?;
                show_create_table(&path, &table, self.catalogs.temporary.contains_key(&path))
            }
        };
        Rows::of("result", [text]).outcome()
    }
}

fn function_names(user: bool) -> Vec<String> {
    if user {
        return Vec::new();
    }
    let mut names: Vec<String> = functions::names().into_iter().map(|function| function.name).collect();
    names.sort();
    names.dedup();
    names
}

fn passes(filter: Option<&ShowFilter>, name: &str) -> bool {
    let Some(filter) = filter else { return true };
    let fold = |text: &str| if filter.case_insensitive { text.to_lowercase() } else { text.to_owned() };
    let (pattern, name): (Vec<char>, Vec<char>) =
        (fold(&filter.pattern).chars().collect(), fold(name).chars().collect());
    matches_pattern(&pattern, &name) != filter.negated
}

/// SQL's LIKE: `%` is any text, `_` any character. Goes back only to the last `%`, so it cannot take long.
fn matches_pattern(pattern: &[char], text: &[char]) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some('%') => {
                retry = Some((at_pattern, at_text));
                at_pattern += 1;
            }
            Some(wanted) if *wanted == '_' || *wanted == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => match retry {
                Some((percent, start)) => {
                    retry = Some((percent, start + 1));
                    (at_pattern, at_text) = (percent + 1, start + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at_pattern..].iter().all(|rest| *rest == '%')
}

#[cfg(test)]
mod tests {
    use super::matches_pattern;

    #[test]
    fn like_patterns() {
        let matches = |pattern: &str, text: &str| {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            matches_pattern(&chars(pattern), &chars(text))
        };
        assert!(
            matches("%", "") && matches("a%c", "abbc") && matches("_b%", "abc") && matches("%a%a%", "banana")
        );
        assert!(!matches("a", "ab") && !matches("_", "") && !matches("a%c", "abcd"));
    }
}
