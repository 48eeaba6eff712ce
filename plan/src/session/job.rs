//! Statements that make jobs: queries, inserts, statement sets.

use datafusion::execution::SessionState;
use thalweg_graph::{JobGraph, JobId, RuntimeMode, SqlError, options, sql_error::SqlErrorCode};

use super::{Outcome, Session, set::check_zone};
use crate::{
    bind::{InsertInto, output_columns},
    planner::{PlanRequest, Root, RootOutput, growing, plan_job},
    sql::command::{Insert, Query},
};

/// Characters of a statement that name its job where nothing else does.
const NAME_CHARS_MAX: usize = 80;

impl Session {
    pub(super) async fn query_job(&self, query: &Query, text: &str, job: JobId) -> Result<Outcome, SqlError> {
        let state = self.state();
        let mode = self.mode(&[query], &state)?;
        let root = self.query_root(query, &state, mode).await?;
        let graph = self.plan(vec![root], text, job, &state, mode).await?;
        self.warn_of_growth(&graph, &[query], &state)?;
        Ok(Outcome::Job(Box::new(graph)))
    }

    pub(super) async fn insert_job(
        &self,
        inserts: &[Insert],
        text: &str,
        job: JobId,
    ) -> Result<Outcome, SqlError> {
        let state = self.state();
        let mode = self.insert_mode(inserts, &state)?;
        let roots = self.insert_roots(inserts, &state, mode).await?;
        let graph = self.plan(roots, text, job, &state, mode).await?;
        let queries: Vec<&Query> = inserts.iter().map(|insert| &insert.query).collect();
        self.warn_of_growth(&graph, &queries, &state)?;
        Ok(Outcome::Job(Box::new(graph)))
    }

    /// Warns of each operator of a stream whose state grows without end, because a table has none.
    fn warn_of_growth(
        &self,
        graph: &JobGraph,
        queries: &[&Query],
        state: &SessionState,
    ) -> Result<(), SqlError> {
        if graph.mode == RuntimeMode::Batch {
            return Ok(());
        }
        let binder = self.binder(state, graph.mode);
        for query in queries {
            let Some(table) = binder.unbounded(query)? else { continue };
            for operator in growing(graph)? {
                tracing::warn!(job = %graph.job, "{operator}, and table `{table}` does not end: its state grows without end");
            }
            return Ok(());
        }
        Ok(())
    }

    pub(super) async fn query_root(
        &self,
        query: &Query,
        state: &SessionState,
        mode: RuntimeMode,
    ) -> Result<Root, SqlError> {
        let plan = self.binder(state, mode).query(query).await?;
        let columns = output_columns(&plan)?;
        let live = mode == RuntimeMode::Streaming && self.shows_changes(query, state)?;
        Ok(Root { plan, output: RootOutput::Result { columns, live } })
    }

    /// Whether a stream's rows are shown as they come: because they never end, or because that is asked for.
    fn shows_changes(&self, query: &Query, state: &SessionState) -> Result<bool, SqlError> {
        let wish = self.options.get(&options::RESULT_MODE).unwrap_or_default();
        match wish.to_ascii_lowercase().as_str() {
            "changelog" => Ok(true),
            "table" | "tableau" => Ok(self.binder(state, RuntimeMode::Streaming).unbounded(query)?.is_some()),
            _ => {
                let name = options::RESULT_MODE.name;
                let message =
                    format!("option `{name}` cannot be `{wish}`: expected `table`, `tableau` or `changelog`");
                Err(SqlError::new(SqlErrorCode::InvalidOption, message))
            }
        }
    }

    pub(super) async fn insert_roots(
        &self,
        inserts: &[Insert],
        state: &SessionState,
        mode: RuntimeMode,
    ) -> Result<Vec<Root>, SqlError> {
        let mut roots = Vec::with_capacity(inserts.len());
        for insert in inserts {
            roots.push(self.sink_root(self.binder(state, mode).insert(insert).await?)?);
        }
        Ok(roots)
    }

    /// A planned insert as a root of a job.
    pub(super) fn sink_root(&self, insert: InsertInto) -> Result<Root, SqlError> {
        let InsertInto { plan, sink } = if self.drops_nulls()? { insert.without_nulls()? } else { insert };
        Ok(Root { plan, output: RootOutput::Sink(Box::new(sink)) })
    }

    /// Where a stream's late rows go: into the table that an option names.
    pub(super) fn late_root(
        &self,
        state: &SessionState,
        mode: RuntimeMode,
    ) -> Result<Option<Root>, SqlError> {
        let name = self.options.get(&options::LATE_ROWS_TABLE).unwrap_or_default();
        match mode {
            RuntimeMode::Streaming if !name.is_empty() => {
                self.sink_root(self.binder(state, mode).late_rows(&name)?).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Whether rows with a NULL in a `NOT NULL` column are left out; otherwise the sink refuses them.
    fn drops_nulls(&self) -> Result<bool, SqlError> {
        let wish = self.options.get(&options::NOT_NULL_ENFORCER).unwrap_or_default();
        match wish.to_ascii_uppercase().as_str() {
            "DROP" => Ok(true),
            "ERROR" => Ok(false),
            _ => {
                let name = options::NOT_NULL_ENFORCER.name;
                let message = format!("option `{name}` cannot be `{wish}`: expected `ERROR` or `DROP`");
                Err(SqlError::new(SqlErrorCode::InvalidOption, message))
            }
        }
    }

    pub(super) async fn plan(
        &self,
        roots: Vec<Root>,
        text: &str,
        job: JobId,
        state: &SessionState,
        mode: RuntimeMode,
    ) -> Result<JobGraph, SqlError> {
        self.check_options()?;
        let late = self.late_root(state, mode)?;
        let request = PlanRequest {
            job,
            name: self.job_name(text),
            statement: text.to_owned(),
            roots,
            late,
            mode,
            options: &self.options,
            target: self.target(),
            connectors: self.connectors.as_ref(),
            state,
        };
        plan_job(request).await
    }

    /// Checks options that a session may have been started with, which `SET` was not asked for.
    pub(super) fn check_options(&self) -> Result<(), SqlError> {
        check_zone(&self.options.get(&options::LOCAL_TIME_ZONE).unwrap_or_default())?;
        Ok(())
    }

    /// How the job of some inserts runs.
    pub(super) fn insert_mode(
        &self,
        inserts: &[Insert],
        state: &SessionState,
    ) -> Result<RuntimeMode, SqlError> {
        self.mode(&inserts.iter().map(|insert| &insert.query).collect::<Vec<_>>(), state)
    }

    /// How a job of these queries runs: as it is asked for, else as a batch where all that it reads ends.
    pub(super) fn mode(&self, queries: &[&Query], state: &SessionState) -> Result<RuntimeMode, SqlError> {
        let key = options::RUNTIME_MODE.name;
        let wish = self.options.get(&options::RUNTIME_MODE).unwrap_or_default().to_ascii_uppercase();
        if wish == "STREAMING" {
            return Ok(RuntimeMode::Streaming);
        }
        if !matches!(wish.as_str(), "AUTOMATIC" | "BATCH") {
            let message =
                format!("option `{key}` cannot be `{wish}`: expected `AUTOMATIC`, `BATCH` or `STREAMING`");
            return Err(SqlError::new(SqlErrorCode::InvalidOption, message));
        }
        let binder = self.binder(state, RuntimeMode::Batch);
        for query in queries {
            match binder.unbounded(query)? {
                Some(table) if wish == "BATCH" => {
                    let message = format!(
                        "table `{table}` does not end, and `{key}` is `BATCH`: set it to `STREAMING` or `AUTOMATIC`, or give the table \
                         an end by its options"
                    );
                    return Err(SqlError::new(SqlErrorCode::Invalid, message));
                }
                Some(_) => return Ok(RuntimeMode::Streaming),
                None => {}
            }
        }
        Ok(RuntimeMode::Batch)
    }

    fn job_name(&self, text: &str) -> String {
        match self.options.get(&options::PIPELINE_NAME) {
            Ok(name) if !name.is_empty() => name,
            _ => shortened(text),
        }
    }
}

/// A statement on one line, cut.
fn shortened(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if line.chars().count() + word.chars().count() > NAME_CHARS_MAX {
            line.push('…');
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}
