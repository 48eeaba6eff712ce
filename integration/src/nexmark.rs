//! Nexmark: its tables and queries in `integration/nexmark`, for tests and benchmarks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// How many queries there are: `q0` and so on.
const QUERIES: u32 = 24;

/// What is no query of Nexmark: every event with all of its columns.
pub const ALL_COLUMNS: &str = "events";

/// The names of the queries.
pub fn queries() -> impl Iterator<Item = String> {
    (0..QUERIES).map(|number| format!("q{number}"))
}

/// Rows of the side table of q13.
const SIDE_ROWS: u32 = 10_000;

/// What the events are like.
#[derive(Debug, Clone)]
pub struct Events {
    /// How many.
    pub count: u64,
    /// How many a second of event time.
    pub rate: u64,
    /// More options of the table.
    pub options: &'static [(&'static str, &'static str)],
    /// A folder for the side table.
    pub folder: PathBuf,
}

impl Events {
    /// The statements that declare the tables.
    pub fn tables(&self) -> Result<String> {
        let more: String =
            self.options.iter().map(|(name, value)| format!("'{name}' = '{value}', ")).collect();
        Ok(self.filled("tables.sql")?.replace("'events.num'", &format!("{more}'events.num'")))
    }

    /// The statements that a query needs before it, and the query.
    pub fn query(&self, name: &str) -> Result<(String, String)> {
        let text = self.filled(&format!("{name}.sql"))?;
        Ok(match text.rsplit_once(";\n") {
            Some((before, query)) => (before.to_owned(), query.trim().to_owned()),
            None => (String::new(), text),
        })
    }

    /// Writes the side table of q13: a text for each number.
    pub fn write_side_table(&self) -> Result<()> {
        let rows: String = (0..SIDE_ROWS).map(|number| format!("{number},value {number}\n")).collect();
        let file = self.side_table();
        fs::write(&file, rows).with_context(|| format!("cannot write {}", file.display()))
    }

    fn side_table(&self) -> PathBuf {
        self.folder.join("side_input.csv")
    }

    fn filled(&self, name: &str) -> Result<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("nexmark").join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text
            .replace("${EVENTS}", &self.count.to_string())
            .replace("${RATE}", &self.rate.to_string())
            .replace("${SIDE_INPUT}", &self.side_table().display().to_string()))
    }
}
