//! TPC-H tables at a small scale, planning a query over them, and comparing its rows with those of the plan uncut.

use std::{fs::File, path::Path, sync::Arc};

use async_trait::async_trait;
use datafusion::{
    arrow::{
        array::RecordBatch,
        datatypes::{Schema, SchemaRef},
        util::display::{ArrayFormatter, FormatOptions},
    },
    catalog::TableProvider,
    execution::{SessionState, runtime_env::RuntimeEnv},
    parquet::{arrow::ArrowWriter, file::properties::WriterProperties},
    physical_plan::collect,
    prelude::{ParquetReadOptions, SessionContext},
};
use tempfile::TempDir;
use thalweg_graph::{
    JobGraph, JobId, Options, RuntimeMode, SqlError,
    checkpoint::Manifest,
    sql_error::SqlErrorCode,
    table::{Column, SinkDescriptor, TableDescriptor},
};
use thalweg_plan::{
    Connectors, Target,
    changes::Changes,
    connect::FileRange,
    planner::{PlanRequest, Root, RootOutput, plan_job},
    session_config::{planning_state, session_state},
};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RecordBatchIterator,
    RegionArrow, SupplierArrow,
};

use crate::driver;

const SCALE: f64 = 0.01;

/// The tables, in a folder that lives as long as this.
pub struct Tables(TempDir);

impl Tables {
    /// Makes all eight.
    pub fn generate() -> Self {
        let folder = TempDir::new().unwrap();
        let tables: [(&str, Box<dyn RecordBatchIterator>); 8] = [
            ("customer", Box::new(CustomerArrow::new(CustomerGenerator::new(SCALE, 1, 1)))),
            ("lineitem", Box::new(LineItemArrow::new(LineItemGenerator::new(SCALE, 1, 1)))),
            ("nation", Box::new(NationArrow::new(NationGenerator::new(SCALE, 1, 1)))),
            ("orders", Box::new(OrderArrow::new(OrderGenerator::new(SCALE, 1, 1)))),
            ("part", Box::new(PartArrow::new(PartGenerator::new(SCALE, 1, 1)))),
            ("partsupp", Box::new(PartSuppArrow::new(PartSuppGenerator::new(SCALE, 1, 1)))),
            ("region", Box::new(RegionArrow::new(RegionGenerator::new(SCALE, 1, 1)))),
            ("supplier", Box::new(SupplierArrow::new(SupplierGenerator::new(SCALE, 1, 1)))),
        ];
        for (name, batches) in tables {
            write(&folder.path().join(name).with_extension("parquet"), batches);
        }
        Self(folder)
    }

    async fn context(&self, mut state: SessionState) -> SessionContext {
        // Small as they are, the files are to be divided among subtasks.
        state.config_mut().options_mut().optimizer.repartition_file_min_size = 1;
        let context = SessionContext::new_with_state(state);
        for table in TABLES {
            let path = self.0.path().join(table).with_extension("parquet");
            let options = ParquetReadOptions::default();
            context.register_parquet(table, path.to_str().unwrap(), options).await.unwrap();
        }
        context
    }

    /// Plans a query for a target.
    pub async fn plan(&self, sql: &str, target: Target) -> JobGraph {
        let options = Options::default();
        let runtime = Arc::new(RuntimeEnv::default());
        let context = self.context(planning_state(&options, runtime, target)).await;
        let state = context.state();
        let plan = state.create_logical_plan(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let request = PlanRequest {
            job: JobId(1),
            name: "test".to_owned(),
            statement: sql.to_owned(),
            late: None,
            roots: vec![Root { plan, output: RootOutput::Result { columns: Vec::new(), live: false } }],
            mode: RuntimeMode::Batch,
            options: &options,
            target,
            connectors: &NoConnectors,
            state: &state,
        };
        plan_job(request).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Plans, cuts and runs a query.
    pub async fn run(&self, sql: &str, target: Target) -> Vec<RecordBatch> {
        let graph = self.plan(sql, target).await;
        let state = session_state(&Options::default(), Arc::new(RuntimeEnv::default()), 1);
        driver::run(&graph, &state).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// What DataFusion itself answers on one partition.
    pub async fn expected(&self, sql: &str) -> Vec<RecordBatch> {
        let target = Target::Embedded { threads: 1 };
        let state = planning_state(&Options::default(), Arc::new(RuntimeEnv::default()), target);
        let context = self.context(state).await;
        let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        collect(plan, context.task_ctx()).await.unwrap()
    }

    /// Checks a query embedded and cut for one, two and four subtasks against the plan that was not cut.
    pub async fn check(&self, sql: &str) {
        let expected = rows(&self.expected(sql).await);
        let clusters = [1, 2, 4].map(|parallelism| Target::Cluster { parallelism, max_slots: parallelism });
        let embedded = [1, 2].map(|threads| Target::Embedded { threads });
        for target in clusters.into_iter().chain(embedded) {
            let actual = rows(&self.run(sql, target).await);
            assert_eq!(actual, expected, "{sql}\n{target:?}");
        }
    }
}

const TABLES: [&str; 8] =
    ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"];

fn write(path: &Path, batches: Box<dyn RecordBatchIterator>) {
    // Several row groups, so that there is something to divide.
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(5_000)).build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, Arc::clone(batches.schema()), Some(properties)).unwrap();
    for batch in batches {
        writer.write(&batch).unwrap();
    }
    writer.close().unwrap();
}

/// Rows as text, sorted: what a query promises without its order.
fn rows(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap());
        let columns: Vec<_> = columns.collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<_> = columns.iter().map(|column| column.value(row).to_string()).collect();
            rows.push(cells.join("|"));
        }
    }
    rows.sort();
    rows
}

/// Tables stand in DataFusion's own catalog, so nothing is asked of connectors.
#[derive(Debug)]
struct NoConnectors;

#[async_trait]
impl Connectors for NoConnectors {
    fn validate(&self, _: &TableDescriptor) -> Result<(), SqlError> {
        Ok(())
    }

    fn is_bounded(&self, _: &TableDescriptor) -> bool {
        true
    }

    async fn checkpoint(&self, url: &str) -> Result<Manifest, SqlError> {
        Err(SqlError::new(SqlErrorCode::Invalid, format!("there is no checkpoint `{url}`")))
    }

    async fn infer_columns(&self, _: &TableDescriptor) -> Result<Vec<Column>, SqlError> {
        Ok(Vec::new())
    }

    async fn table_provider(
        &self,
        table: &TableDescriptor,
        _: SchemaRef,
        _: &SessionState,
    ) -> Result<Arc<dyn TableProvider>, SqlError> {
        panic!("table {} was asked for", table.path)
    }

    fn validate_sink(&self, _: &SinkDescriptor, _: &Schema) -> Result<(), SqlError> {
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
