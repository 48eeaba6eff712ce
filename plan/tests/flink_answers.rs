//! Expressions with the types and values that Flink 2.3 gives them, recorded from a running Flink (`tests/flink/*.txt`).
//!
//! In each file: an expression, then `=> TYPE | value`. Where we answer otherwise on purpose a third line, `!! TYPE | value`,
//! says what, and docs/functions.md why. Any error stands for any other: only that there is one is compared.

// A test's helper that cannot go on fails the test.
#![allow(clippy::unwrap_used)]

use std::{fmt::Write, fs, path::Path, sync::Arc};

use datafusion::{
    arrow::{
        array::AsArray,
        compute::concat_batches,
        datatypes::{Field, FieldRef},
    },
    dataframe::DataFrame,
    execution::{SessionState, SessionStateBuilder, context::SessionConfig},
    logical_expr::planner::TypePlanner,
    prelude::SessionContext,
    sql::parser::Statement,
};
use sqlparser::{ast, parser::Parser};
use thalweg_plan::{
    functions::{expr_planners, register, syntax},
    sql::dialect::FlinkDialect,
    sql_type::SqlType,
};

#[derive(Debug)]
struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> datafusion::common::Result<Option<FieldRef>> {
        let parsed = sql_type.to_string().trim_matches('`').parse::<SqlType>().ok();
        Ok(parsed.map(|sql_type| Arc::new(Field::new("", sql_type.to_arrow(), true))))
    }
}

fn state(zone: &str) -> SessionState {
    let mut config = SessionConfig::new().with_target_partitions(1);
    config.options_mut().sql_parser.parse_float_as_decimal = true;
    config.options_mut().sql_parser.enable_ident_normalization = false;
    config.options_mut().execution.time_zone = Some(zone.into());
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_expr_planners(expr_planners())
        .with_type_planner(Arc::new(Types))
        .build();
    register(&mut state).expect("functions are registered");
    state
}

async fn frame(state: &SessionState, sql: &str) -> Result<DataFrame, String> {
    let mut statements = Parser::parse_sql(&FlinkDialect, sql).map_err(|error| error.to_string())?;
    let mut statement = statements.remove(0);
    syntax::rewrite(&mut statement);
    let statement = Statement::Statement(Box::new(statement));
    let plan = state.statement_to_plan(statement).await.map_err(|error| error.to_string())?;
    let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {});
    let plan = plan.map_err(|error| error.to_string())?;
    SessionContext::new_with_state(state.clone())
        .execute_logical_plan(plan)
        .await
        .map_err(|error| error.to_string())
}

async fn answer(state: &SessionState, expression: &str) -> Result<String, String> {
    let typed = frame(state, &format!("SELECT {expression}")).await?;
    let data_type =
        SqlType::from_arrow(typed.schema().field(0).data_type()).map_err(|error| error.to_string())?;
    let text = frame(state, &format!("SELECT CAST({expression} AS STRING)")).await?;
    let schema = Arc::new(text.schema().as_arrow().clone());
    let batches = text.collect().await.map_err(|error| error.to_string())?;
    let batch = concat_batches(batches.first().map_or(&schema, |batch| batch.schema_ref()), &batches);
    let batch = batch.map_err(|error| error.to_string())?;
    let column =
        datafusion::arrow::compute::cast(batch.column(0), &datafusion::arrow::datatypes::DataType::Utf8);
    let column = column.map_err(|error| error.to_string())?;
    let value = column.as_string::<i32>().iter().next().flatten().unwrap_or("NULL").to_owned();
    Ok(format!("{data_type} | {value}"))
}

async fn check(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flink").join(file);
    let recorded = fs::read_to_string(&path).expect("the recorded answers");
    let mut state_of_zone = state("UTC");
    let mut wrong = String::new();
    let mut lines = recorded.lines().filter(|line| !line.starts_with('#')).peekable();
    let mut count = 0;
    while let Some(expression) = lines.next() {
        if let Some(zone) = expression.strip_prefix("SET table.local-time-zone=") {
            state_of_zone = state(zone);
            continue;
        }
        let flink = lines.next().and_then(|line| line.trim_start().strip_prefix("=> ")).expect("an answer");
        let ours = lines.next_if(|line| line.trim_start().starts_with("!! "));
        let expected = ours.map_or(flink, |line| line.trim_start().trim_start_matches("!! "));
        let given = answer(&state_of_zone, expression).await;
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

families!(string math cast temporal json collection);
