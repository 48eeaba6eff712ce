//! `SHOW ...`.

use super::{Parsed, StatementParser};
use crate::sql::command::{Command, Show, ShowFilter, ShowKind};

impl StatementParser<'_> {
    pub(super) fn show(&mut self) -> Parsed<Command> {
        self.expect(&["SHOW"])?;
        for (words, kind) in listings() {
            if self.take(words) {
                return self.listing(kind);
            }
        }
        for (words, kind) in [
            (["CREATE", "TABLE"], ShowKind::CreateTable),
            (["CREATE", "VIEW"], ShowKind::CreateView),
            (["CREATE", "CATALOG"], ShowKind::CreateCatalog),
        ] {
            if self.take(&words) {
                return Ok(Command::Show(Show { kind, scope: Some(self.name()?), filter: None }));
            }
        }
        self.expected(
            "`CATALOGS`, `DATABASES`, `TABLES`, `VIEWS`, `COLUMNS`, `FUNCTIONS`, `MODULES`, `JOBS`, `CREATE` or `CURRENT` after `SHOW`",
        )
    }

    fn listing(&mut self, kind: ShowKind) -> Parsed<Command> {
        let scoped = self.take(&["FROM"]) || self.take(&["IN"]);
        if kind == ShowKind::Columns && !scoped {
            return self.expected("`FROM` or `IN` and a table");
        }
        let scope = if scoped { Some(self.name()?) } else { None };
        Ok(Command::Show(Show { kind, scope, filter: self.show_filter()? }))
    }

    fn show_filter(&mut self) -> Parsed<Option<ShowFilter>> {
        let negated = self.take(&["NOT"]);
        let case_insensitive = self.take(&["ILIKE"]);
        if case_insensitive || self.take(&["LIKE"]) {
            let pattern = self.parser.parse_literal_string()?;
            return Ok(Some(ShowFilter { negated, case_insensitive, pattern }));
        }
        if negated {
            return self.expected("`LIKE` or `ILIKE`");
        }
        Ok(None)
    }
}

fn listings() -> [(&'static [&'static str], ShowKind); 13] {
    [
        (&["CATALOGS"], ShowKind::Catalogs),
        (&["DATABASES"], ShowKind::Databases),
        (&["TABLES"], ShowKind::Tables),
        (&["VIEWS"], ShowKind::Views),
        (&["COLUMNS"], ShowKind::Columns),
        (&["USER", "FUNCTIONS"], ShowKind::Functions { user: true }),
        (&["FUNCTIONS"], ShowKind::Functions { user: false }),
        (&["FULL", "MODULES"], ShowKind::Modules { full: true }),
        (&["MODULES"], ShowKind::Modules { full: false }),
        (&["JOBS"], ShowKind::Jobs),
        (&["JARS"], ShowKind::Jars),
        (&["CURRENT", "CATALOG"], ShowKind::CurrentCatalog),
        (&["CURRENT", "DATABASE"], ShowKind::CurrentDatabase),
    ]
}
