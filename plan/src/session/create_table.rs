//! `CREATE TABLE`, by declaration, like another, from files, or from a query.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{
    execution::SessionState,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder},
};
use thalweg_graph::{
    JobId, RuntimeMode, SqlError,
    sql_error::SqlErrorCode,
    table::{Column, TablePath, nearest},
};

use super::{DONE, Outcome, Prepared, Session};
use crate::{
    bind::{InsertInto, output_columns},
    catalog::{ColumnKind, Entry, Name, Table, TableColumn, merge_like},
    error,
    sql::command::CreateTable,
    sql_type::SqlType,
};

impl Session {
    pub(super) async fn create_table(
        &mut self,
        create: CreateTable,
        text: &str,
        job: JobId,
    ) -> Result<Outcome, SqlError> {
        let Some(path) = self.free_path(&create)? else { return Ok(DONE) };
        if create.query.is_some() {
            let state = self.state();
            let (table, filled, mode) = self.table_as(&path, &create, &state).await?;
            let graph = self.plan(vec![self.sink_root(filled)?], text, job, &state, mode).await?;
            self.put_table(path, table, &create)?;
            return Ok(Outcome::Job(Box::new(graph)));
        }
        let table = self.declared(&path, &create).await?;
        self.check(&path, &table)?;
        self.put_table(path, table, &create)?;
        Ok(DONE)
    }

    /// Declares the table of a `CREATE TABLE AS` without planning the job that fills it.
    pub(super) async fn prepare_table_as(&mut self, create: CreateTable) -> Result<Prepared, SqlError> {
        let Some(path) = self.free_path(&create)? else { return Ok(Prepared::Nothing) };
        let (table, ..) = self.table_as(&path, &create, &self.state()).await?;
        self.put_table(path.clone(), table, &create)?;
        Ok(Prepared::Job { declared: Some(path) })
    }

    /// Where the table goes; `None` if it is there already and may be.
    fn free_path(&self, create: &CreateTable) -> Result<Option<TablePath>, SqlError> {
        let path = self.catalogs.resolve(&create.name)?;
        let database = self.catalogs.get_database(&path.catalog, &path.database);
        database.map_err(|error| error.at(create.name.position))?;
        Ok((!self.is_taken(&path, create)?).then_some(path))
    }

    fn put_table(&mut self, path: TablePath, table: Table, create: &CreateTable) -> Result<(), SqlError> {
        let put = self.catalogs.put(path, Entry::Table(Arc::new(table)), create.temporary, create.replace);
        put.map_err(|error| error.at(create.name.position))
    }

    /// Whether the table is there already and may be; else that is an error.
    fn is_taken(&self, path: &TablePath, create: &CreateTable) -> Result<bool, SqlError> {
        let taken = match create.temporary {
            true => self.catalogs.temporary.get(path),
            false => self.catalogs.find(path).filter(|_| !self.catalogs.temporary.contains_key(path)),
        };
        match taken {
            Some(_) if create.if_not_exists => Ok(true),
            Some(entry) if !create.replace => {
                let message = format!("{} `{path}` exists already", entry.kind());
                Err(create.name.error(SqlErrorCode::AlreadyExists, message))
            }
            _ => Ok(false),
        }
    }

    /// The table with what `LIKE` and its files add.
    async fn declared(&self, path: &TablePath, create: &CreateTable) -> Result<Table, SqlError> {
        if let Some(column) = create.column_names.first() {
            let message = format!("column `{column}` needs a type");
            return Err(column.error(SqlErrorCode::Invalid, message));
        }
        let mut table = create.table.clone();
        if let Some((source, options)) = &create.like {
            let (_, source_table) = self.catalogs.get_table(source)?;
            table = merge_like(table, &source_table, options).map_err(|error| error.at(source.position))?;
        }
        if table.physical_columns().is_empty() {
            let inferred = self.connectors.infer_columns(&table.descriptor(path, &BTreeMap::new())).await;
            let inferred = inferred.map_err(|error| error.at(create.name.position))?;
            let mut columns = physical(&inferred)?;
            columns.append(&mut table.columns);
            table.columns = columns;
        }
        Ok(table)
    }

    /// Checks the declaration in itself, then by its connector.
    fn check(&self, path: &TablePath, table: &Table) -> Result<(), SqlError> {
        let state = self.state();
        self.binder(&state, RuntimeMode::Batch).check_table(table)?;
        self.connectors.validate(&table.descriptor(path, &BTreeMap::new()))
    }

    /// The table of a `CREATE TABLE AS`, and its query as what fills it.
    async fn table_as(
        &self,
        path: &TablePath,
        create: &CreateTable,
        state: &SessionState,
    ) -> Result<(Table, InsertInto, RuntimeMode), SqlError> {
        let Some(query) = &create.query else {
            return Err(create.name.error(SqlErrorCode::Internal, "this table has no query"));
        };
        let mode = self.mode(&[query], state)?;
        let plan = self.binder(state, mode).query(query).await?;
        let plan = reordered(plan, &create.column_names)?;
        let table =
            Table { columns: merged(&create.table, &output_columns(&plan)?)?, ..create.table.clone() };
        self.check(path, &table)?;
        let plan = in_table_order(plan, &table)?;
        let filled = self.binder(state, mode).fill(path, &table, plan, create.replace)?;
        Ok((table, filled, mode))
    }
}

fn physical(columns: &[Column]) -> Result<Vec<TableColumn>, SqlError> {
    let declared = |column: &Column| {
        let sql_type: SqlType = column.data_type.parse().map_err(|error| {
            SqlError::new(SqlErrorCode::Invalid, format!("column `{}`: {error}", column.name))
        })?;
        let kind = ColumnKind::Physical { sql_type, nullable: column.nullable };
        Ok(TableColumn { name: column.name.clone(), kind, comment: None })
    };
    columns.iter().map(declared).collect()
}

/// The query's columns in the order of the names that CTAS gives, which must be all of them.
fn reordered(plan: LogicalPlan, names: &[Name]) -> Result<LogicalPlan, SqlError> {
    let Some(first) = names.first() else { return Ok(plan) };
    let fields: Vec<&String> = plan.schema().fields().iter().map(|field| field.name()).collect();
    if let Some(unknown) = names.iter().find(|name| !fields.iter().any(|field| *field == name.last())) {
        let meant = nearest(unknown.last(), fields.iter().map(|field| field.as_str()));
        let meant = meant.map(|meant| format!(": did you mean `{meant}`?")).unwrap_or_default();
        let message = format!("the query has no column `{unknown}`{meant}");
        return Err(unknown.error(SqlErrorCode::UnknownColumn, message));
    }
    if names.len() != fields.len() {
        let message = format!("{} columns are named, the query gives {}", names.len(), fields.len());
        return Err(first.error(SqlErrorCode::Invalid, message));
    }
    select(plan, names.iter().map(Name::last))
}

fn select<'a>(plan: LogicalPlan, names: impl Iterator<Item = &'a str>) -> Result<LogicalPlan, SqlError> {
    let exprs: Vec<Expr> = names
        .filter_map(|name| {
            let found = plan.schema().iter().find(|(_, field)| field.name() == name)?;
            Some(Expr::Column(found.into()))
        })
        .collect();
    let projected = LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build);
    projected.map_err(error::from_datafusion)
}

/// Declared columns first, then those of the query that are not declared, as Flink orders them.
fn merged(declared: &Table, query: &[Column]) -> Result<Vec<TableColumn>, SqlError> {
    let mut columns = declared.columns.clone();
    for column in physical(query)? {
        if !columns.iter().any(|known| known.name == column.name) {
            columns.push(column);
        }
    }
    Ok(columns)
}

/// The query's columns in the order of the table's; declared ones that the query does not give are NULL.
fn in_table_order(plan: LogicalPlan, table: &Table) -> Result<LogicalPlan, SqlError> {
    let exprs = table.physical_columns().into_iter().map(|column| {
        match plan.schema().iter().find(|(_, field)| *field.name() == column.name) {
            Some(found) => Ok(Expr::Column(found.into())),
            None if column.nullable => {
                Ok(datafusion::logical_expr::lit(datafusion::common::ScalarValue::Null).alias(column.name))
            }
            None => {
                let message = format!("column `{}` is NOT NULL and the query does not give it", column.name);
                Err(SqlError::new(SqlErrorCode::Invalid, message))
            }
        }
    });
    let exprs: Vec<Expr> = exprs.collect::<Result<_, _>>()?;
    let projected = LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build);
    projected.map_err(error::from_datafusion)
}
