//! Sessions over connectors that know their tables' columns and nothing else.

mod deep;
mod definition;
mod insert;
mod late_rows;
mod mini_batch;
mod mistake;
mod mode;
mod query;
mod shared_parts;

use arrow::{
    datatypes::{Schema, SchemaRef},
    util::pretty::pretty_format_batches,
};
use async_trait::async_trait;
use datafusion::{catalog::TableProvider, datasource::empty::EmptyTable, execution::runtime_env::RuntimeEnv};
use thalweg_graph::{
    checkpoint::Manifest,
    sql_error::SqlErrorCode,
    table::Column,
    table::{SinkDescriptor, TableDescriptor, nearest},
};

use super::*;
use crate::{changes::Changes, connect::FileRange};

/// Options that the connectors know.
const OPTIONS: &[&str] = &["connector", "format", "path"];

/// The path of tables without an end.
const ENDLESS: &str = "/endless";

#[derive(Debug)]
struct Empty;

#[async_trait]
impl Connectors for Empty {
    fn validate(&self, table: &TableDescriptor) -> Result<(), SqlError> {
        let Some(unknown) = table.options.keys().find(|key| !OPTIONS.contains(&key.as_str())) else {
            return Ok(());
        };
        let meant = nearest(unknown, OPTIONS.iter().copied()).unwrap_or("?");
        let message = format!("option `{unknown}` is not known: did you mean `{meant}`?");
        Err(SqlError::new(SqlErrorCode::InvalidOption, message))
    }

    fn is_bounded(&self, table: &TableDescriptor) -> bool {
        table.options.get("path").is_none_or(|path| path != ENDLESS)
    }

    async fn checkpoint(&self, url: &str) -> Result<Manifest, SqlError> {
        Err(SqlError::new(SqlErrorCode::Invalid, format!("there is no checkpoint `{url}`")))
    }

    async fn infer_columns(&self, table: &TableDescriptor) -> Result<Vec<Column>, SqlError> {
        if !table.options.contains_key("path") {
            return Err(SqlError::new(
                SqlErrorCode::InvalidOption,
                "the table needs columns or the option `path`",
            ));
        }
        let column = |name: &str, data_type: &str| Column {
            name: name.to_owned(),
            data_type: data_type.to_owned(),
            nullable: true,
        };
        Ok(vec![column("id", "BIGINT"), column("name", "STRING")])
    }

    async fn table_provider(
        &self,
        _table: &TableDescriptor,
        schema: SchemaRef,
        _state: &SessionState,
    ) -> Result<Arc<dyn TableProvider>, SqlError> {
        Ok(Arc::new(EmptyTable::new(schema)))
    }

    fn validate_sink(&self, _sink: &SinkDescriptor, _schema: &Schema) -> Result<(), SqlError> {
        Ok(())
    }

    fn sink_changes(&self, _: &SinkDescriptor) -> Result<Changes, SqlError> {
        Ok(Changes::All)
    }

    async fn locate(&self, ranges: &[FileRange]) -> Vec<Vec<String>> {
        vec![Vec::new(); ranges.len()]
    }

    fn runtime_env(&self) -> Arc<RuntimeEnv> {
        Arc::new(RuntimeEnv::default())
    }
}

fn session() -> Session {
    Session::new(Arc::new(Empty), Options::default(), Target::Embedded { threads: 1 })
}

/// Runs a script; the outcome of its last statement.
async fn run(session: &mut Session, script: &str) -> Result<Outcome, SqlError> {
    let mut outcome = Ok(DONE);
    for statement in Session::parse(script)? {
        outcome = Ok(session.execute(&statement, JobId(1)).await?);
    }
    outcome
}

/// A session after a script that must succeed.
async fn after(script: &str) -> Session {
    let mut session = session();
    run(&mut session, script).await.unwrap();
    session
}

/// The rows of a script's last statement as a table of text.
async fn shown(session: &mut Session, script: &str) -> String {
    match run(session, script).await.unwrap() {
        Outcome::Rows { batches, .. } => pretty_format_batches(&batches).unwrap().to_string(),
        other => panic!("{script} gave no rows: {other:?}"),
    }
}

/// The one text that a script's last statement shows.
async fn text(session: &mut Session, script: &str) -> String {
    match run(session, script).await.unwrap() {
        Outcome::Rows { batches, .. } => {
            arrow::util::display::array_value_to_string(batches[0].column(0), 0).unwrap()
        }
        other => panic!("{script} gave no rows: {other:?}"),
    }
}

/// How a script is refused.
async fn refused(session: &mut Session, script: &str) -> SqlError {
    match run(session, script).await {
        Err(error) => error,
        Ok(outcome) => panic!("{script} was run: {outcome:?}"),
    }
}

/// The job of a script's last statement.
async fn job(session: &mut Session, script: &str) -> JobGraph {
    match run(session, script).await.unwrap() {
        Outcome::Job(graph) => *graph,
        other => panic!("{script} made no job: {other:?}"),
    }
}
