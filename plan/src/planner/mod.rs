//! From logical plans to a job graph: optimise, choose operators, cut into vertices, deal splits.

use datafusion::{execution::SessionState, logical_expr::LogicalPlan};
use thalweg_graph::{
    BUILD_ID, JobGraph, JobId, Options, RuntimeMode, SqlError,
    sql_error::SqlErrorCode,
    table::{Column, SinkDescriptor},
};

use crate::{connect::Connectors, target::Target};

/// A statement, or a set of them, to be made into one job.
pub struct PlanRequest<'a> {
    /// The job's id.
    pub job: JobId,
    /// The job's name, for people.
    pub name: String,
    /// The text it is planned from.
    pub statement: String,
    /// What is computed, and where it goes. Several in a statement set.
    pub roots: Vec<Root>,
    /// The options in force.
    pub options: &'a Options,
    /// What it is planned for.
    pub target: Target,
    /// Where block locations are asked.
    pub connectors: &'a dyn Connectors,
    /// The session made by [`planning_state`](crate::session_config::planning_state) for the same target.
    pub state: &'a SessionState,
}

/// One result of a job.
pub struct Root {
    /// What is computed; not yet optimised.
    pub plan: LogicalPlan,
    /// Where it goes.
    pub output: RootOutput,
}

/// Where the rows of a root go.
pub enum RootOutput {
    /// Into a table.
    Sink(Box<SinkDescriptor>),
    /// To the client; the columns are what it is told about them.
    Result(Vec<Column>),
}

/// Plans a job.
pub async fn plan_job(request: PlanRequest<'_>) -> Result<JobGraph, SqlError> {
    let mut graph = JobGraph {
        job: request.job,
        name: request.name.clone(),
        build_id: BUILD_ID.to_owned(),
        mode: RuntimeMode::Batch,
        vertices: Vec::new(),
        edges: Vec::new(),
        options: request.options.clone(),
        statement: request.statement.clone(),
        result_columns: None,
    };
    for root in &request.roots {
        if let RootOutput::Result(columns) = &root.output {
            graph.result_columns = Some(columns.clone());
        }
    }
    Err(SqlError::new(SqlErrorCode::Unsupported, "planning jobs is not supported yet"))
}
