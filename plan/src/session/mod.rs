//! A SQL session: its catalogs, its options, and running one statement after another.
//!
//! One file for each family of statements; those that make jobs end in [`crate::planner::plan_job`].

mod alter;
mod create;
mod create_table;
mod describe;
mod drop;
mod explain;
mod help;
mod job;
mod rows;
mod set;
mod show;

use std::sync::Arc;

use datafusion::execution::SessionState;
use thalweg_graph::{JobGraph, JobId, Options, RuntimeMode, SqlError, options, table::TablePath};

use crate::{
    bind::{Binder, locate},
    catalog::Catalogs,
    connect::Connectors,
    deep_stack,
    session_config::planning_state,
    sql::{self, Command, Statement, command::StopMode},
    target::Target,
};

pub use rows::Rows;

/// What running a statement led to.
#[derive(Debug)]
pub enum Outcome {
    /// It is done; a message for people, where there is more to say than that.
    Ok {
        /// The message.
        message: Option<String>,
    },
    /// Rows that the session itself knows: `SHOW`, `DESCRIBE`, `EXPLAIN`.
    Rows {
        /// Their columns.
        schema: arrow::datatypes::SchemaRef,
        /// The rows.
        batches: Vec<arrow::array::RecordBatch>,
    },
    /// A job to run.
    Job(Box<JobGraph>),
    /// `SHOW JOBS`: the client lists the jobs of the place where its jobs run.
    ShowJobs,
    /// `STOP JOB`: the client has a job stopped there.
    StopJob(JobId, StopMode),
    /// `EXPLAIN WATERMARK`: the client asks there what holds a job's event time back.
    ExplainWatermark(JobId),
    /// `QUIT`: the client ends.
    Quit,
    /// `CLEAR`: the client empties its screen.
    Clear,
    /// `HELP`: a text for people.
    Help(String),
}

/// What is left of a statement once it is prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    /// Nothing: it makes no job.
    Nothing,
    /// Its job is to be planned and run.
    Job {
        /// The table that the statement declared.
        declared: Option<TablePath>,
    },
}

/// The outcome of a statement after which nothing is left to say.
const DONE: Outcome = Outcome::Ok { message: None };

/// A SQL session.
#[derive(Debug)]
pub struct Session {
    connectors: Arc<dyn Connectors>,
    catalogs: Catalogs,
    /// The options of the session's start, to which `RESET` goes back.
    initial: Options,
    options: Options,
    target: Target,
}

impl Session {
    /// Opens a session with Flink's default catalog and database.
    pub fn new(connectors: Arc<dyn Connectors>, options: Options, target: Target) -> Self {
        Self { connectors, catalogs: Catalogs::default(), initial: options.clone(), options, target }
    }

    /// Plans the jobs of the statements that follow for this parallelism, whatever was set before.
    pub fn set_parallelism(&mut self, parallelism: u32) {
        self.options.0.insert(options::PARALLELISM_DEFAULT.name.to_owned(), parallelism.to_string());
    }

    /// Splits a script into statements and checks the syntax of each, so that a script with a mistake does nothing.
    pub fn parse(script: &str) -> Result<Vec<Statement>, SqlError> {
        sql::parse_script(script)
    }

    /// Runs one statement. `job` is the id that its job gets, where it makes one.
    pub async fn execute(&mut self, statement: &Statement, job: JobId) -> Result<Outcome, SqlError> {
        let outcome = deep_stack::run(async {
            let command = statement.command()?;
            self.run(command, statement.text(), job).await
        });
        outcome.await.map_err(|error| locate(error, statement.source()))
    }

    /// Does all of a statement except planning its job: names and types are checked, and the table of a `CREATE TABLE AS` is
    /// declared. For a client whose jobs are planned elsewhere.
    pub async fn prepare(&mut self, statement: &Statement) -> Result<Prepared, SqlError> {
        let prepared = deep_stack::run(async {
            self.check_options()?;
            let inserts = match statement.command()? {
                Command::Query(query) => {
                    let state = self.state();
                    let mode = self.mode(&[&query], &state)?;
                    self.query_root(&query, &state, mode).await?;
                    self.late_root(&state, mode)?;
                    return Ok(Prepared::Job { declared: None });
                }
                Command::Insert(insert) => vec![insert],
                Command::StatementSet(inserts) => inserts,
                Command::CreateTable(create) => return self.prepare_table_as(*create).await,
                _ => return Ok(Prepared::Nothing),
            };
            let state = self.state();
            let mode = self.insert_mode(&inserts, &state)?;
            self.insert_roots(&inserts, &state, mode).await?;
            self.late_root(&state, mode)?;
            Ok(Prepared::Job { declared: None })
        });
        prepared.await.map_err(|error| locate(error, statement.source()))
    }

    /// The options in force: those of the session's start, overridden by `SET`.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The catalogs, databases, tables and views, for completion.
    pub fn catalogs(&self) -> &Catalogs {
        &self.catalogs
    }

    async fn run(&mut self, command: Command, text: &str, job: JobId) -> Result<Outcome, SqlError> {
        match command {
            Command::Query(query) => self.query_job(&query, text, job).await,
            Command::Insert(insert) => self.insert_job(&[insert], text, job).await,
            Command::StatementSet(inserts) => self.insert_job(&inserts, text, job).await,
            Command::CreateTable(create) => self.create_table(*create, text, job).await,
            Command::CreateView(create) => self.create_view(*create).await,
            Command::CreateDatabase(create) => self.create_database(create),
            Command::CreateCatalog(create) => self.create_catalog(create),
            Command::Drop(drop) => self.drop_object(&drop),
            Command::AlterTable(alter) => self.alter_table(alter),
            Command::AlterView(alter) => self.alter_view(alter).await,
            Command::AlterDatabase(name, options) => self.alter_database(&name, options),
            Command::AlterCatalog(name, action) => self.alter_catalog(&name, action),
            Command::UseCatalog(name) => self.use_catalog(&name),
            Command::UseDatabase(name) => self.use_database(&name),
            Command::Set(setting) => self.set(setting),
            Command::Reset(key) => self.reset(key),
            Command::Show(show) => self.show(&show),
            Command::Describe(name) => self.describe(&name),
            Command::DescribeContainer { kind, name, extended } => {
                self.describe_container(kind, &name, extended)
            }
            Command::DescribeFunction { name, extended } => self.describe_function(&name, extended),
            Command::Explain(explain) => self.explain(&explain, text, job).await,
            Command::StopJob(job, mode) => Ok(Outcome::StopJob(job, mode)),
            Command::ExplainWatermark(job) => Ok(Outcome::ExplainWatermark(job)),
            Command::Help => Ok(Outcome::Help(help::text())),
            Command::Clear => Ok(Outcome::Clear),
            Command::Quit => Ok(Outcome::Quit),
        }
    }

    /// DataFusion's session for one statement.
    fn state(&self) -> SessionState {
        planning_state(&self.options, self.connectors.runtime_env(), self.target())
    }

    /// What binds the queries of a job, or, as a batch, those that make none.
    fn binder<'a>(&'a self, state: &'a SessionState, mode: RuntimeMode) -> Binder<'a> {
        Binder::new(&self.catalogs, self.connectors.as_ref(), state, mode)
    }

    /// What jobs are planned for, with the parallelism that was set since the session's start.
    fn target(&self) -> Target {
        let set = self.options.get(&options::PARALLELISM_DEFAULT).ok().filter(|parallelism| *parallelism > 0);
        match (self.target, set) {
            (Target::Embedded { .. }, Some(threads)) => Target::Embedded { threads },
            (Target::Cluster { max_slots, .. }, Some(parallelism)) => {
                Target::Cluster { parallelism, max_slots }
            }
            (target, None) => target,
        }
    }
}

#[cfg(test)]
mod tests;
