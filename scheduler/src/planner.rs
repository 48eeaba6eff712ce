//! What the control plane asks of SQL: to open a script and to run its statements one by one.

use async_trait::async_trait;
use thalweg_graph::{JobGraph, JobId, Options, SqlError};

/// Opens scripts.
#[async_trait]
pub trait Planner: Send + Sync {
    /// Parses a script. `slots` is the number of slots that the cluster has; jobs are planned to fit where they can.
    fn open(&self, script: &str, options: &Options, slots: u32) -> Result<Box<dyn Script>, SqlError>;
}

/// One opened script with its SQL session.
#[async_trait]
pub trait Script: Send {
    /// Its statements, in order.
    fn statements(&self) -> &[ScriptStatement];

    /// Plans the jobs of the statements that follow for this parallelism, whatever the session's options say.
    fn set_parallelism(&mut self, parallelism: u32);

    /// Runs one statement: a change of the catalog or of an option takes place in the session, a statement that makes a job is
    /// planned as `job`. Statements are run in order, each at most once.
    async fn run(&mut self, index: usize, job: JobId) -> Result<StatementOutcome, SqlError>;
}

/// A statement before it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptStatement {
    /// Its text.
    pub text: String,
    /// Whether running it gives a job.
    pub makes_job: bool,
    /// Whether that job has a result for the client.
    pub is_query: bool,
    /// The line of the script on which it starts, from one.
    pub line: u64,
}

/// What a statement came to.
#[derive(Debug)]
pub enum StatementOutcome {
    /// It is done.
    Done {
        /// What it says.
        message: Option<String>,
    },
    /// It is this job.
    Job(Box<JobGraph>),
}
