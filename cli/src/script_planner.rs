//! Plans scripts for the control plane, which knows no SQL: each script gets a SQL session of its own.

use std::sync::Arc;

use async_trait::async_trait;
use thalweg_connectors::BuiltinConnectors;
use thalweg_graph::{JobId, Options, SqlError, options, sql_error::SqlErrorCode};
use thalweg_plan::{Outcome, Session, Statement, StatementKind, Target};
use thalweg_scheduler::{Planner, Script, ScriptStatement, StatementOutcome};

/// Opens scripts.
pub struct ScriptPlanner {
    connectors: Arc<BuiltinConnectors>,
}

impl ScriptPlanner {
    /// A planner whose sessions reach tables through these connectors.
    pub fn new(connectors: Arc<BuiltinConnectors>) -> Self {
        Self { connectors }
    }
}

impl Planner for ScriptPlanner {
    fn open(&self, script: &str, options: &Options, slots: u32) -> Result<Box<dyn Script>, SqlError> {
        let parallelism = options
            .get(&options::PARALLELISM_DEFAULT)
            .map_err(|error| SqlError::new(SqlErrorCode::InvalidOption, error.to_string()))?;
        let target = Target::Cluster { parallelism, max_slots: slots.max(1) };
        let parsed = Session::parse(script)?;
        let statements = parsed.iter().map(describe).collect();
        let connectors = self.connectors.clone();
        let session = Session::new(connectors.clone(), options.clone(), target);
        Ok(Box::new(SessionScript { connectors, session, parsed, statements }))
    }
}

fn describe(statement: &Statement) -> ScriptStatement {
    ScriptStatement {
        text: statement.text().to_owned(),
        makes_job: statement.kind().makes_job(),
        is_query: statement.kind() == StatementKind::Query,
        line: statement.position().line,
    }
}

struct SessionScript {
    connectors: Arc<BuiltinConnectors>,
    session: Session,
    parsed: Vec<Statement>,
    statements: Vec<ScriptStatement>,
}

impl SessionScript {
    /// Refuses checkpoints where the operator does not want them, before anything runs.
    fn check_state_paths(&self, options: &Options) -> Result<(), SqlError> {
        for key in [&options::CHECKPOINT_DIR, &options::SAVEPOINT_DIR, &options::RECOVERY_PATH] {
            let path = options.get(key).unwrap_or_default();
            if !path.is_empty() {
                self.connectors.file_systems().check_state(&path)?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Script for SessionScript {
    fn statements(&self) -> &[ScriptStatement] {
        &self.statements
    }

    fn set_parallelism(&mut self, parallelism: u32) {
        self.session.set_parallelism(parallelism);
    }

    async fn run(&mut self, index: usize, job: JobId) -> Result<StatementOutcome, SqlError> {
        let statement = &self.parsed[index];
        match self.session.execute(statement, job).await? {
            Outcome::Job(graph) => {
                self.check_state_paths(&graph.options)?;
                Ok(StatementOutcome::Job(graph))
            }
            Outcome::Ok { message } => Ok(StatementOutcome::Done { message }),
            Outcome::StopJob(..) => Err(SqlError::new(
                SqlErrorCode::Unsupported,
                "`STOP JOB` is for the shell: a script on a cluster has no other jobs to stop",
            )),
            // Nobody looks at a script's listings, and its end is its last statement.
            Outcome::Rows { .. }
            | Outcome::ShowJobs
            | Outcome::ExplainWatermark(_)
            | Outcome::Quit
            | Outcome::Clear
            | Outcome::Help(_) => Ok(StatementOutcome::Done { message: None }),
        }
    }
}
