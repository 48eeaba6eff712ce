//! From names to what DataFusion scans: a connector's provider, a table with its computed columns, a view's plan.

use std::{
    collections::{BTreeMap, HashMap, hash_map},
    future::Future,
    pin::Pin,
    sync::Arc,
};

use arrow::datatypes::Schema;
use datafusion::{
    catalog::{TableProvider, view::ViewTable},
    common::TableReference,
    datasource::provider_as_source,
    logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder},
};
use thalweg_graph::{
    RuntimeMode, SqlError,
    sql_error::SqlErrorCode,
    table::{Column, TableDescriptor, TablePath},
};

use super::{Binder, column, context::Found, relations::Hinted};
use crate::{
    catalog::{Catalogs, ColumnKind, Entry, Name, Table, TableColumn, View, Watermark},
    changes::Changes,
    error,
    sql::{self, Command, Source},
    sql_type,
    stream::{ChangelogNormalizeNode, WatermarkNode, WatermarkOptions},
};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How many views may stand on each other; a view cannot be its own ground, but its names can be changed under it.
pub(super) const VIEW_DEPTH_MAX: usize = 64;

impl Binder<'_> {
    /// Looks up each name. What is not found is kept as a refusal, for the planner to meet.
    pub(super) async fn table_sources(
        &self,
        references: Vec<Name>,
        hinted: Vec<Hinted>,
    ) -> Result<HashMap<TableReference, Found>, SqlError> {
        let mut tables = HashMap::new();
        for Hinted { stand_in, name, options, as_of } in hinted {
            let mut found = self.provider(&name, &options).await?;
            if let Some(time) = as_of {
                found = self.as_of(&name, &options, &time, found)?;
            }
            tables.insert(TableReference::bare(stand_in), Ok(provider_as_source(found)));
        }
        for name in references {
            let reference = reference(&name);
            if let hash_map::Entry::Vacant(entry) = tables.entry(reference) {
                entry.insert(self.provider(&name, &BTreeMap::new()).await.map(provider_as_source));
            }
        }
        Ok(tables)
    }

    async fn provider(
        &self,
        name: &Name,
        hint: &BTreeMap<String, String>,
    ) -> Result<Arc<dyn TableProvider>, SqlError> {
        let (path, entry) = self.catalogs.get(name)?;
        match entry {
            Entry::Table(table) => {
                self.table(&path, table, hint).await.map_err(|error| error.at(name.position))
            }
            Entry::View(_) if !hint.is_empty() => {
                let message = format!("`{path}` is a view: a hint with options must follow a table's name");
                Err(name.error(SqlErrorCode::Invalid, message))
            }
            Entry::View(view) => self.view(&path, view).await,
        }
    }

    async fn table(
        &self,
        path: &TablePath,
        table: &Table,
        hint: &BTreeMap<String, String>,
    ) -> Result<Arc<dyn TableProvider>, SqlError> {
        let descriptor = table.descriptor(path, hint);
        if !hint.is_empty() {
            self.connectors.validate(&descriptor)?;
        }
        let columns: Vec<Column> = descriptor.readable_columns().cloned().collect();
        let mut schema = sql_type::schema(&columns)?;
        let upserts = self.mode == RuntimeMode::Streaming
            && self.connectors.source_changes(&descriptor)? == Changes::Upsert;
        if upserts {
            schema = nullable_but_key(&schema, &descriptor.primary_key);
        }
        let schema = Arc::new(schema);
        let provider = self.connectors.table_provider(&descriptor, schema, self.state).await?;
        let watermark = table.watermark.as_ref().filter(|_| self.mode == RuntimeMode::Streaming);
        let is_physical = |column: &TableColumn| matches!(column.kind, ColumnKind::Physical { .. });
        if watermark.is_none() && !upserts && table.columns.iter().all(is_physical) {
            return Ok(provider);
        }
        let plan = self.with_computed(path, table, provider)?;
        let plan = match watermark {
            Some(watermark) => self.with_watermark(plan, watermark, &descriptor)?,
            None => plan,
        };
        let plan = if upserts { normalized(plan, &descriptor.primary_key)? } else { plan };
        Ok(Arc::new(ViewTable::new(plan, None)))
    }

    fn with_watermark(
        &self,
        input: LogicalPlan,
        watermark: &Watermark,
        table: &TableDescriptor,
    ) -> Result<LogicalPlan, SqlError> {
        let expression = self.expression(&watermark.column, &watermark.expression, input.schema())?;
        let time = input.schema().qualified_field_with_unqualified_name(&watermark.column);
        let time = time.map_err(error::from_datafusion)?.into();
        let steady =
            self.connectors.steady_columns(table).iter().map(|column| (*column).to_owned()).collect();
        let options = WatermarkOptions::of(&table.options).map_err(|why| {
            SqlError::new(SqlErrorCode::InvalidOption, format!("table `{}`: {why}", table.path))
        })?;
        let node = WatermarkNode { time, expression, steady, options, input };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    /// A table with all its columns in declared order; computed ones are made where it is read.
    fn with_computed(
        &self,
        path: &TablePath,
        table: &Table,
        provider: Arc<dyn TableProvider>,
    ) -> Result<LogicalPlan, SqlError> {
        let scanned = TableReference::full(&*path.catalog, &*path.database, &*path.table);
        let scan = LogicalPlanBuilder::scan(scanned, provider_as_source(provider), None);
        let scan = scan.map_err(error::from_datafusion)?;
        let exprs = table.columns.iter().map(|declared| match &declared.kind {
            ColumnKind::Computed { expression } => {
                let expr = self.expression(&declared.name, expression, scan.schema())?;
                Ok(expr.alias(&declared.name))
            }
            _ => Ok(column(&declared.name)),
        });
        let exprs: Vec<Expr> = exprs.collect::<Result<_, SqlError>>()?;
        scan.project(exprs).and_then(LogicalPlanBuilder::build).map_err(error::from_datafusion)
    }

    /// A view's plan. Its names mean what they meant when it was made.
    fn view<'b>(
        &'b self,
        path: &'b TablePath,
        view: &'b View,
    ) -> BoxFuture<'b, Result<Arc<dyn TableProvider>, SqlError>> {
        Box::pin(async move {
            if self.view_depth == VIEW_DEPTH_MAX {
                let message =
                    format!("view `{path}` stands on more than {VIEW_DEPTH_MAX} other views, or on itself");
                return Err(SqlError::new(SqlErrorCode::Invalid, message));
            }
            let planned = self.view_plan(view).await;
            // A place in the view's text means nothing in the script.
            planned.map_err(|error| SqlError {
                message: format!("in view `{path}`: {}", error.message),
                position: None,
                ..error
            })
        })
    }

    async fn view_plan(&self, view: &View) -> Result<Arc<dyn TableProvider>, SqlError> {
        let Command::Query(query) = sql::parse(Source::new(&view.query))? else {
            return Err(SqlError::new(SqlErrorCode::Internal, "the text of a view is not a query"));
        };
        let catalogs = Catalogs {
            current_catalog: view.catalog.clone(),
            current_database: view.database.clone(),
            ..self.catalogs.clone()
        };
        let inner = Binder { catalogs: &catalogs, view_depth: self.view_depth + 1, ..*self };
        let plan = inner.query(&query).await?;
        let names = view.columns.iter().map(|column| column.name.as_str());
        let exprs: Vec<Expr> = plan
            .schema()
            .iter()
            .zip(names)
            .map(|((qualifier, field), name)| Expr::Column((qualifier, field).into()).alias(name))
            .collect();
        if exprs.len() != view.columns.len() || exprs.len() != plan.schema().fields().len() {
            let message = "the tables that it reads have other columns than when it was made: make it again";
            return Err(SqlError::new(SqlErrorCode::Invalid, message));
        }
        let plan = LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build);
        Ok(Arc::new(ViewTable::new(plan.map_err(error::from_datafusion)?, Some(view.query.clone()))))
    }
}

/// The columns of rows that may be nothing but their key, because that has ended.
fn nullable_but_key(schema: &Schema, keys: &[String]) -> Schema {
    let fields = schema.fields().iter().map(|field| {
        field.as_ref().clone().with_nullable(field.is_nullable() || !keys.contains(field.name()))
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// New rows of keys, and ends of keys, as rows that are added and taken back.
fn normalized(input: LogicalPlan, keys: &[String]) -> Result<LogicalPlan, SqlError> {
    let key = |name: &String| {
        let found = input.schema().qualified_field_with_unqualified_name(name);
        found.map(Into::into).map_err(error::from_datafusion)
    };
    let keys = keys.iter().map(key).collect::<Result<_, SqlError>>()?;
    let node = ChangelogNormalizeNode { keys, input, each: false };
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

fn reference(name: &Name) -> TableReference {
    match &name.parts[..] {
        [catalog, database, table] => TableReference::full(&**catalog, &**database, &**table),
        [database, table] => TableReference::partial(&**database, &**table),
        _ => TableReference::bare(name.to_string()),
    }
}
