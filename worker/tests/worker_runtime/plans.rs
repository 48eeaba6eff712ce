//! Fragments made by DataFusion's own planner. Where a query names the table `input`, it reads an edge.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    error::Result,
    execution::runtime_env::RuntimeEnv,
    logical_expr::{Expr, TableType},
    physical_expr::{EquivalenceProperties, Partitioning as PlanPartitioning, expressions::col},
    physical_plan::{ExecutionPlan, displayable, projection::ProjectionExec},
    prelude::SessionContext,
};
use thalweg_graph::{EdgeId, Fragment, Options, RuntimeMode, exchange::Partitioning};
use thalweg_plan::{
    exec::{ExchangeSourceExec, codec},
    session_config::session_state,
};

pub const EDGE: EdgeId = EdgeId(0);

/// What a fragment reads over [`EDGE`].
#[derive(Debug)]
pub struct Input {
    pub schema: SchemaRef,
    /// The column that its rows are hashed by.
    pub key: Option<&'static str>,
    pub partitions: usize,
}

#[async_trait]
impl TableProvider for Input {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partitioning = match self.key {
            Some(key) => PlanPartitioning::Hash(vec![col(key, &self.schema)?], self.partitions),
            None => PlanPartitioning::UnknownPartitioning(self.partitions),
        };
        let equivalences = EquivalenceProperties::new(Arc::clone(&self.schema));
        let source: Arc<dyn ExecutionPlan> =
            Arc::new(ExchangeSourceExec::new(EDGE, false, equivalences, partitioning));
        let Some(projection) = projection else { return Ok(source) };
        let columns = projection.iter().map(|&index| {
            let name = self.schema.field(index).name();
            Ok((col(name, &self.schema)?, name.clone()))
        });
        Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Result<Vec<_>>>()?, source)?))
    }
}

/// The physical plan of a query, for plenty of memory.
pub async fn plan(sql: &str, threads: u32, input: Option<Input>) -> Arc<dyn ExecutionPlan> {
    plan_for(RuntimeEnv::default(), sql, threads, input).await
}

/// The physical plan of a query that will run in such an environment.
pub async fn plan_for(
    environment: RuntimeEnv,
    sql: &str,
    threads: u32,
    input: Option<Input>,
) -> Arc<dyn ExecutionPlan> {
    let state = session_state(&Options::default(), Arc::new(environment), threads);
    let context = SessionContext::new_with_state(state);
    if let Some(input) = input {
        context.register_table("input", Arc::new(input)).unwrap();
    }
    context.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
}

/// The plan as a task receives it.
pub fn fragment(plan: &Arc<dyn ExecutionPlan>) -> Fragment {
    Fragment {
        mode: RuntimeMode::Batch,
        plan: codec::encode(plan).unwrap(),
        display: displayable(plan.as_ref()).indent(false).to_string(),
        partitions: plan.properties().partitioning.partition_count() as u32,
    }
}

/// Hash partitioning by one column of a producer's rows.
pub fn hash(column: &str, producer: &Arc<dyn ExecutionPlan>) -> Partitioning {
    let expression = col(column, &producer.schema()).unwrap();
    Partitioning::Hash {
        expressions: vec![codec::encode_expr(&expression).unwrap()],
        display: column.to_owned(),
    }
}
