//! Whether what a query reads comes to an end: that decides how its job can run, before it is bound.

use std::collections::BTreeMap;

use thalweg_graph::{SqlError, table::TablePath};

use super::{
    Binder,
    relations::{self, Hinted},
    tables::VIEW_DEPTH_MAX,
};
use crate::{
    catalog::{Catalogs, Entry, Name, View},
    sql::{self, Command, Source, command::Query},
};

impl Binder<'_> {
    /// The first table without an end that a query reads, in views too. Names that lead nowhere are left to binding.
    pub fn unbounded(&self, query: &Query) -> Result<Option<TablePath>, SqlError> {
        let mut ast = query.ast.clone();
        let hinted = relations::separate_hinted(&mut ast, &query.hints);
        for Hinted { name, options, .. } in &hinted {
            if let Some(found) = self.unbounded_relation(name, options)? {
                return Ok(Some(found));
            }
        }
        let with = relations::with_names(&ast);
        for name in relations::references(&ast) {
            let is_of_with = name.parts.len() == 1 && with.contains(&name.parts[0]);
            if !is_of_with && let Some(found) = self.unbounded_relation(&name, &BTreeMap::new())? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn unbounded_relation(
        &self,
        name: &Name,
        hint: &BTreeMap<String, String>,
    ) -> Result<Option<TablePath>, SqlError> {
        let Ok((path, entry)) = self.catalogs.get(name) else { return Ok(None) };
        match entry {
            Entry::Table(table) => {
                let is_bounded = self.connectors.is_bounded(&table.descriptor(&path, hint));
                Ok((!is_bounded).then_some(path))
            }
            Entry::View(view) => self.unbounded_view(view),
        }
    }

    fn unbounded_view(&self, view: &View) -> Result<Option<TablePath>, SqlError> {
        if self.view_depth == VIEW_DEPTH_MAX {
            return Ok(None);
        }
        let Command::Query(query) = sql::parse(Source::new(&view.query))? else { return Ok(None) };
        let catalogs = Catalogs {
            current_catalog: view.catalog.clone(),
            current_database: view.database.clone(),
            ..self.catalogs.clone()
        };
        Binder { catalogs: &catalogs, view_depth: self.view_depth + 1, ..*self }.unbounded(&query)
    }
}
