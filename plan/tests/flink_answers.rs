//! Expressions with the types and values that Flink 2.3 gives them, recorded from a running Flink (`tests/flink/*.txt`).
//!
//! In each file: an expression, then `=> TYPE | value`. Where we answer otherwise on purpose a third line, `!! TYPE | value`,
//! says what, and docs/functions.md why. Any error stands for any other: only that there is one is compared.
//! A query instead of an expression has the types and values of its columns there, its rows sorted and parted by ` ; `;
//! `VIEW name AS query` names one that the queries after it read.

// A test's helper that cannot go on fails the test.
#![allow(clippy::unwrap_used)]

use std::{fmt::Write, fs, ops::ControlFlow, path::Path, sync::Arc};

use datafusion::{
    arrow::{
        array::{Array, AsArray},
        compute::{self, concat_batches},
        datatypes::{DataType, Field, FieldRef},
    },
    dataframe::DataFrame,
    execution::{SessionState, SessionStateBuilder, context::SessionConfig},
    logical_expr::planner::TypePlanner,
    prelude::SessionContext,
    sql::parser::Statement,
};
use sqlparser::{ast, parser::Parser};
use thalweg_plan::{
    functions::{aggregate::LowerAggregates, expr_planners, is_callable, register, syntax},
    sql::dialect::FlinkDialect,
    sql_type::SqlType,
};

#[derive(Debug)]
struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> datafusion::common::Result<Option<FieldRef>> {
        let parsed = sql_type.to_string().trim_matches('`').replace("``", "`").parse::<SqlType>().ok();
        Ok(parsed.map(|sql_type| Arc::new(Field::new("", sql_type.to_arrow(), true))))
    }
}

fn state(zone: &str) -> SessionState {
    let mut config = SessionConfig::new().with_target_partitions(1);
    config.options_mut().sql_parser.parse_float_as_decimal = true;
    config.options_mut().sql_parser.enable_ident_normalization = false;
    config.options_mut().sql_parser.default_null_ordering = "nulls_min".to_owned();
    config.options_mut().execution.time_zone = Some(zone.into());
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_expr_planners(expr_planners())
        .with_type_planner(Arc::new(Types))
        .with_analyzer_rule(Arc::new(LowerAggregates))
        .build();
    register(&mut state).expect("functions are registered");
    state
}

async fn frame(state: &SessionState, sql: &str) -> Result<DataFrame, String> {
    let mut statements = Parser::parse_sql(&FlinkDialect, sql).map_err(|error| error.to_string())?;
    let mut statement = statements.remove(0);
    syntax::rewrite(&mut statement);
    // As a query's binder does: nobody calls what only DataFusion has.
    let refused = ast::visit_expressions(&statement, |expr| match expr {
        ast::Expr::Function(function) if !is_callable(&function.name.to_string()) => {
            ControlFlow::Break(format!("{} is not Flink's", function.name))
        }
        _ => ControlFlow::Continue(()),
    });
    if let ControlFlow::Break(refused) = refused {
        return Err(refused);
    }
    let statement = Statement::Statement(Box::new(statement));
    let plan = state.statement_to_plan(statement).await.map_err(|error| error.to_string())?;
    let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {});
    let plan = plan.map_err(|error| error.to_string())?;
    SessionContext::new_with_state(state.clone())
        .execute_logical_plan(plan)
        .await
        .map_err(|error| error.to_string())
}

async fn answer(state: &SessionState, views: &str, asked: &str) -> Result<String, String> {
    let query = match asked.starts_with("SELECT ") {
        true => format!("{views}{asked}"),
        false => format!("SELECT {asked}"),
    };
    let typed = frame(state, &query).await?;
    let (mut types, mut casts, mut names) = (vec![], vec![], vec![]);
    for (index, field) in typed.schema().fields().iter().enumerate() {
        types.push(SqlType::from_arrow(field.data_type()).map_err(|error| error.to_string())?.to_string());
        casts.push(format!("CAST(c{index} AS STRING)"));
        names.push(format!("c{index}"));
    }
    let text = match asked.starts_with("SELECT ") {
        true => {
            format!("{views}SELECT {} FROM ({asked}) AS answers ({})", casts.join(", "), names.join(", "))
        }
        false => format!("SELECT CAST({asked} AS STRING)"),
    };
    let text = frame(state, &text).await?;
    let schema = Arc::new(text.schema().as_arrow().clone());
    let batches = text.collect().await.map_err(|error| error.to_string())?;
    let batch = concat_batches(batches.first().map_or(&schema, |batch| batch.schema_ref()), &batches);
    let batch = batch.map_err(|error| error.to_string())?;
    let columns: Result<Vec<_>, _> =
        batch.columns().iter().map(|column| compute::cast(column, &DataType::Utf8)).collect();
    let columns = columns.map_err(|error| error.to_string())?;
    let value = |row: usize| {
        let values = columns.iter().map(|column| {
            let column = column.as_string::<i32>();
            if column.is_null(row) { "NULL" } else { column.value(row) }
        });
        values.collect::<Vec<_>>().join(", ")
    };
    let mut rows: Vec<String> = (0..batch.num_rows()).map(value).collect();
    rows.sort();
    Ok(format!("{} | {}", types.join(", "), rows.join(" ; ")))
}

async fn check(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flink").join(file);
    let recorded = fs::read_to_string(&path).expect("the recorded answers");
    let mut state_of_zone = state("UTC");
    let mut views = String::new();
    let mut wrong = String::new();
    let mut lines = recorded.lines().filter(|line| !line.starts_with('#')).peekable();
    let mut count = 0;
    while let Some(expression) = lines.next() {
        if let Some(zone) = expression.strip_prefix("SET table.local-time-zone=") {
            state_of_zone = state(zone);
            continue;
        }
        if let Some((name, query)) = expression.strip_prefix("VIEW ").and_then(|view| view.split_once(" AS "))
        {
            views = format!("WITH {name} AS ({query}) ");
            continue;
        }
        let flink = lines.next().and_then(|line| line.trim_start().strip_prefix("=> ")).expect("an answer");
        let ours = lines.next_if(|line| line.trim_start().starts_with("!! "));
        let expected = ours.map_or(flink, |line| line.trim_start().trim_start_matches("!! "));
        let given = answer(&state_of_zone, &views, expression).await;
        count += 1;
        let right = match &given {
            Ok(given) => given == expected,
            Err(_) => expected.contains("ERROR"),
        };
        if !right {
            let given =
                given.unwrap_or_else(|error| format!("ERROR {}", error.lines().next().unwrap_or_default()));
            let _ = writeln!(wrong, "{expression}\n    => {expected}\n    !! {given}");
        }
    }
    assert!(count > 0, "no answers in {file}");
    assert!(wrong.is_empty(), "{} of {count} differ in {file}:\n{wrong}", wrong.matches("\n    => ").count());
}

macro_rules! families {
    ($($family:ident)*) => {$(
        #[tokio::test]
        async fn $family() {
            check(concat!(stringify!($family), ".txt")).await;
        }
    )*};
}

families!(string math cast temporal json collection aggregate window forms);
