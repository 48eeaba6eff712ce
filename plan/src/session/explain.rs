//! `EXPLAIN`: what a statement becomes, from the query as it was understood to the job graph.

use datafusion::{execution::SessionState, logical_expr::LogicalPlan};
use thalweg_graph::{JobGraph, JobId, RuntimeMode, SqlError, explain, sql_error::SqlErrorCode};

use super::{Outcome, Rows, Session};
use crate::{
    error,
    planner::{Root, RootOutput, changelog_modes, fates, growing},
    sql::command::{Command, Explain, Insert, Query},
};

impl Session {
    pub(super) async fn explain(
        &self,
        wanted: &Explain,
        text: &str,
        job: JobId,
    ) -> Result<Outcome, SqlError> {
        let state = self.state();
        let (roots, mode) = match wanted.command.as_ref() {
            Command::Query(query) => self.explained_query(query, &state).await?,
            Command::Insert(insert) => self.explained_inserts(std::slice::from_ref(insert), &state).await?,
            Command::StatementSet(inserts) => self.explained_inserts(inserts, &state).await?,
            Command::CreateTable(create) => match &create.query {
                Some(query) => self.explained_query(query, &state).await?,
                None => (Vec::new(), RuntimeMode::Batch),
            },
            _ => return Err(SqlError::new(SqlErrorCode::Invalid, "this statement has no plan")),
        };
        if let Some(checkpoint) = &wanted.upgrade {
            return self.explain_upgrade(checkpoint, roots, text, job, &state, mode).await;
        }
        let mut sections = vec![section("Abstract Syntax Tree", &plans(&roots, |plan| Ok(plan.clone()))?)];
        sections.push(section("Optimized Logical Plan", &plans(&roots, |plan| optimized(plan, &state))?));
        let graph = self.plan(roots, text, job, &state, mode).await?;
        sections.push(section("Job Graph", &explain::text(&graph)));
        if wanted.details.contains(&"CHANGELOG_MODE") {
            sections.push(section("Changelog Mode", &changelog_mode(&graph)?));
        }
        if wanted.details.contains(&"ESTIMATED_COST") {
            sections.push(section("Estimated Cost", &estimates(&graph)));
        }
        if wanted.details.contains(&"PLAN_ADVICE") {
            sections.push(section("Advice", &advice(&graph)?));
        }
        if wanted.details.contains(&"JSON_EXECUTION_PLAN") {
            let json = serde_json::to_string_pretty(&explain::json(&graph));
            let json = json.map_err(|error| SqlError::new(SqlErrorCode::Internal, error.to_string()))?;
            sections.push(section("Physical Execution Plan", &json));
        }
        Rows::of("result", [sections.join("\n\n")]).outcome()
    }

    /// What becomes of the state of a checkpoint in a job, a line for each operator.
    async fn explain_upgrade(
        &self,
        checkpoint: &str,
        roots: Vec<Root>,
        text: &str,
        job: JobId,
        state: &SessionState,
        mode: RuntimeMode,
    ) -> Result<Outcome, SqlError> {
        if mode != RuntimeMode::Streaming {
            let message = "a batch job keeps no state: `EXPLAIN UPGRADE` is for streams";
            return Err(SqlError::new(SqlErrorCode::Invalid, message));
        }
        let graph = self.plan(roots, text, job, state, mode).await?;
        let manifest = self.connectors.checkpoint(checkpoint).await?;
        let fates = fates(&graph, &manifest)?;
        Rows::of("result", fates.iter().map(|fate| format!("{} {}: {}", fate.what, fate.uid, fate.why)))
            .outcome()
    }

    async fn explained_query(
        &self,
        query: &Query,
        state: &SessionState,
    ) -> Result<(Vec<Root>, RuntimeMode), SqlError> {
        let mode = self.mode(&[query], state)?;
        Ok((vec![self.query_root(query, state, mode).await?], mode))
    }

    async fn explained_inserts(
        &self,
        inserts: &[Insert],
        state: &SessionState,
    ) -> Result<(Vec<Root>, RuntimeMode), SqlError> {
        let mode = self.insert_mode(inserts, state)?;
        Ok((self.insert_roots(inserts, state, mode).await?, mode))
    }
}

fn section(title: &str, text: &str) -> String {
    format!("== {title} ==\n{}", text.trim_end())
}

/// The plans of all roots, each under its sink.
fn plans(
    roots: &[Root],
    change: impl Fn(&LogicalPlan) -> Result<LogicalPlan, SqlError>,
) -> Result<String, SqlError> {
    let mut text = String::new();
    for root in roots {
        let indent = match &root.output {
            RootOutput::Sink(sink) => {
                text.push_str(&format!("Sink: {}\n", sink.table.path));
                "  "
            }
            RootOutput::Result { .. } => "",
        };
        for line in change(&root.plan)?.display_indent().to_string().lines() {
            text.push_str(&format!("{indent}{line}\n"));
        }
    }
    Ok(text)
}

fn optimized(plan: &LogicalPlan, state: &SessionState) -> Result<LogicalPlan, SqlError> {
    state.optimize(plan).map_err(error::from_datafusion)
}

/// Which changes go over the edges of a job.
fn changelog_mode(graph: &JobGraph) -> Result<String, SqlError> {
    match graph.mode {
        RuntimeMode::Batch => Ok("every vertex: [I] (the job only inserts)".to_owned()),
        RuntimeMode::Streaming => Ok(changelog_modes(graph)?.join("\n")),
    }
}

fn advice(graph: &JobGraph) -> Result<String, SqlError> {
    let growing = match graph.mode {
        RuntimeMode::Batch => Vec::new(),
        RuntimeMode::Streaming => growing(graph)?,
    };
    if growing.is_empty() {
        return Ok("No available advice.".to_owned());
    }
    let growing = growing.join("\n");
    Ok(format!("State grows as long as the input goes on; windows would bound it:\n{growing}"))
}

fn estimates(graph: &thalweg_graph::JobGraph) -> String {
    let line = |vertex: &thalweg_graph::JobVertex| match vertex.estimated_bytes {
        Some(bytes) => format!("Vertex {}: about {bytes} bytes out", vertex.id.0),
        None => format!("Vertex {}: unknown", vertex.id.0),
    };
    graph.vertices.iter().map(line).collect::<Vec<_>>().join("\n")
}
