//! Binding: a parsed query and the catalogs become a logical plan.
//!
//! Tables are looked up ahead, since providers are made asynchronously; views and computed columns are planned into the
//! query. `relations` (names in the query) `-> tables` (names to sources) `-> context` (what DataFusion's planner asks).

mod boundedness;
mod columns;
mod context;
mod depth;
mod group_windows;
mod insert;
mod late_rows;
mod names;
mod relations;
mod subqueries;
mod tables;
mod types;
mod unnest;
mod versioned_view;
mod versions;
mod window_functions;

use datafusion::{
    execution::SessionState,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast},
    sql::planner::SqlToRel,
};
use sqlparser::{ast, tokenizer::Token};
use thalweg_graph::{
    RuntimeMode, SqlError,
    sql_error::{Position, SqlErrorCode},
    table::{Column, nearest},
};

use crate::{
    catalog::Catalogs,
    connect::Connectors,
    error, functions,
    sql::{Source, command::Query, tokenise},
    sql_type::{self, SqlType},
};

pub use insert::InsertInto;

/// What binding needs: names, the world, and DataFusion's functions and settings.
#[derive(Debug, Clone, Copy)]
pub struct Binder<'a> {
    catalogs: &'a Catalogs,
    connectors: &'a dyn Connectors,
    state: &'a SessionState,
    /// What the plans are for: a batch needs no watermarks.
    mode: RuntimeMode,
    /// How many views lead here.
    view_depth: usize,
}

impl<'a> Binder<'a> {
    /// Binds names to these catalogs, tables by these connectors, functions by this state.
    pub fn new(
        catalogs: &'a Catalogs,
        connectors: &'a dyn Connectors,
        state: &'a SessionState,
        mode: RuntimeMode,
    ) -> Self {
        Self { catalogs, connectors, state, mode, view_depth: 0 }
    }

    /// Plans a query. Its columns have types that SQL knows.
    pub async fn query(&self, query: &Query) -> Result<LogicalPlan, SqlError> {
        depth::check(&query.ast)?;
        let mut ast = query.ast.clone();
        names::separate_duplicates(&mut ast);
        subqueries::name_anonymous(&mut ast);
        let names = names::output_names(&ast);
        group_windows::write_out(&mut ast)?;
        let hinted = relations::separate_hinted(&mut ast, &query.hints);
        functions::syntax::rewrite(&mut ast);
        let references = relations::references(&ast);
        let tables = self.table_sources(references, hinted).await?;
        let context = context::Context::new(self.state, tables);
        let planner = SqlToRel::new_with_options(&context, context::parser_options());
        let statement = ast::Statement::Query(ast);
        let plan = planner
            .sql_statement_to_plan(statement)
            .map_err(error::from_datafusion)
            .map_err(name_function)?;
        let plan = self.with_final_types(versions::found(plan)?)?;
        for hint in &query.hints.joins {
            tracing::warn!(strategy = hint.strategy, tables = ?hint.tables, "the join hint is not followed: joins are chosen from statistics");
        }
        names::named(in_sql_types(unnest::flatten(plan)?)?, &names)
    }

    /// Analyses a plan: the type of a CASE, say, is known only once the types of its branches are brought together.
    fn with_final_types(&self, plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
        let analyzed = self.state.analyzer().execute_and_check(plan, self.state.config_options(), |_, _| {});
        analyzed.map_err(error::from_datafusion)
    }
}

/// The columns of a plan's rows.
pub fn output_columns(plan: &LogicalPlan) -> Result<Vec<Column>, SqlError> {
    sql_type::columns(plan.schema().as_arrow())
}

/// Casts columns whose type SQL does not have: counts and row numbers are unsigned in DataFusion, `BIGINT` in Flink.
fn in_sql_types(plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
    use arrow::datatypes::DataType::{self, UInt8, UInt16, UInt32, UInt64};
    let signed = |data_type: &DataType| match data_type {
        UInt8 => Some(DataType::Int16),
        UInt16 => Some(DataType::Int32),
        UInt32 | UInt64 => Some(DataType::Int64),
        _ => None,
    };
    if plan.schema().fields().iter().all(|field| signed(field.data_type()).is_none()) {
        return Ok(plan);
    }
    let exprs: Vec<Expr> = plan
        .schema()
        .iter()
        .map(|(qualifier, field)| {
            let column = Expr::Column((qualifier, field).into());
            match signed(field.data_type()) {
                Some(signed) => cast(column, signed).alias_qualified(qualifier.cloned(), field.name()),
                None => column,
            }
        })
        .collect();
    let projected = LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build);
    projected.map_err(error::from_datafusion)
}

/// Adds the nearest name to the refusal of an unknown function.
pub fn name_function(error: SqlError) -> SqlError {
    if error.code != SqlErrorCode::UnknownFunction {
        return error;
    }
    let Some(name) = quoted(&error.message) else { return error };
    let known: Vec<String> = functions::names().into_iter().map(|function| function.name).collect();
    match nearest(name, known.iter().map(String::as_str)) {
        Some(meant) => SqlError { message: format!("{}: did you mean `{meant}`?", error.message), ..error },
        None => error,
    }
}

/// What stands in the first backticks of a message.
fn quoted(message: &str) -> Option<&str> {
    message.split('`').nth(1)
}

/// Gives an error without a place that of the word which its message names, if the statement has it; else the statement's.
pub fn locate(error: SqlError, source: Source<'_>) -> SqlError {
    if error.position.is_some() {
        return error;
    }
    let place = quoted(&error.message).and_then(|name| place_of(name, source));
    error.at(place.unwrap_or(source.start))
}

fn place_of(name: &str, source: Source<'_>) -> Option<Position> {
    let last = name.rsplit('.').next()?;
    let is_named = |token: &Token| match token {
        Token::Word(word) => word.value.eq_ignore_ascii_case(last),
        Token::SingleQuotedString(text) => text == name,
        _ => false,
    };
    let tokens = tokenise(source).ok()?.list;
    let token = tokens.iter().find(|token| is_named(&token.token))?;
    Some(Position { line: token.span.start.line, column: token.span.start.column })
}

/// A column reference by name, whatever characters the name has.
fn column(name: &str) -> Expr {
    Expr::Column(datafusion::common::Column::new_unqualified(name))
}

/// The SQL type of an Arrow type, for messages.
fn type_name(data_type: &arrow::datatypes::DataType) -> String {
    SqlType::from_arrow(data_type).map_or_else(|_| data_type.to_string(), |sql_type| sql_type.to_string())
}
