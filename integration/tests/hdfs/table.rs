//! `filesystem` tables in a real HDFS: written in two phases, read, overwritten; what its users and its failures show.

use std::{collections::BTreeMap, process::Command, sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, Int32Array, RecordBatch, StringArray},
    util::pretty::pretty_format_batches,
};
use datafusion::prelude::{SessionConfig, SessionContext};
use thalweg_connectors::{BuiltinConnectors, ConnectorsConfig, commit, file_system::retry::Patience, sink};
use thalweg_graph::{
    Attempt, JobId, SubtaskId, VertexId,
    table::{Column, Committable, SinkDescriptor, TableDescriptor, TablePath},
};
use thalweg_integration::hadoop::Hdfs;
use thalweg_plan::{Connectors, connect::FileRange, exec::ConnectorReader, sql_type};

/// A table of `a INT, b STRING`, partitioned by `b`.
struct Table {
    connectors: Arc<BuiltinConnectors>,
    descriptor: TableDescriptor,
}

impl Table {
    fn new(hdfs: &Hdfs, path: &str, format: &str, patience: Patience) -> Self {
        let config =
            ConnectorsConfig { hadoop_conf_dir: Some(hdfs.conf_dir()), patience, ..Default::default() };
        let column = |name: &str, data_type: &str| Column {
            name: name.to_owned(),
            data_type: data_type.to_owned(),
            nullable: true,
        };
        let text = |text: &str| text.to_owned();
        let options = [("connector", "filesystem"), ("path", path), ("format", format)];
        Self {
            connectors: BuiltinConnectors::new(config).unwrap(),
            descriptor: TableDescriptor {
                path: TablePath { catalog: text("c"), database: text("d"), table: text("t") },
                columns: vec![column("a", "INT"), column("b", "STRING")],
                metadata: Vec::new(),
                partition_keys: vec![text("b")],
                primary_key: Vec::new(),
                options: options.map(|(name, value)| (text(name), text(value))).into(),
            },
        }
    }

    fn sink(&self, overwrite: bool) -> SinkDescriptor {
        SinkDescriptor { table: self.descriptor.clone(), overwrite, static_partition: BTreeMap::new() }
    }

    async fn stage(
        &self,
        sink: &SinkDescriptor,
        job: JobId,
        rows: &[(i32, &str)],
    ) -> Result<Committable, thalweg_connectors::Error> {
        let numbers: ArrayRef = Arc::new(rows.iter().map(|(a, _)| Some(*a)).collect::<Int32Array>());
        let texts: ArrayRef = Arc::new(rows.iter().map(|(_, b)| Some(*b)).collect::<StringArray>());
        let batch = RecordBatch::try_from_iter([("a", numbers), ("b", texts)]).unwrap();
        let attempt = Attempt { job, subtask: SubtaskId { vertex: VertexId(0), index: 0 }, number: 0 };
        let mut writer = sink::open(&self.connectors, sink, batch.schema(), attempt, 0).await?;
        writer.write(batch).await?;
        Ok(writer.finish().await?.committable.unwrap())
    }

    async fn insert(&self, overwrite: bool, job: JobId, rows: &[(i32, &str)]) {
        let sink = self.sink(overwrite);
        let staged = self.stage(&sink, job, rows).await.unwrap();
        commit::commit(&self.connectors, job, &sink, &[staged]).await.unwrap();
    }

    async fn query(&self, sql: &str) -> Result<Vec<String>, String> {
        let config = SessionConfig::new()
            .with_target_partitions(2)
            .with_extension(Arc::new(ConnectorReader(Arc::clone(&self.connectors) as _)));
        let context = SessionContext::new_with_config_rt(config, self.connectors.runtime_env());
        let schema = Arc::new(sql_type::schema(&self.descriptor.columns).unwrap());
        let provider = self.connectors.table_provider(&self.descriptor, schema, &context.state()).await;
        context.register_table("t", provider.unwrap()).unwrap();
        let rows = context.sql(sql).await.unwrap().collect().await.map_err(|error| error.to_string())?;
        let table = pretty_format_batches(&rows).unwrap().to_string();
        let cells =
            |line: &str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|");
        Ok(table.lines().filter(|line| line.starts_with('|')).skip(1).map(cells).collect())
    }
}

fn job(number: u128) -> JobId {
    JobId(number << 100)
}

#[tokio::test]
async fn tables_are_written_read_and_overwritten() {
    let hdfs = Hdfs::shared();
    for format in ["parquet", "csv", "json"] {
        let table = Table::new(hdfs, &format!("hdfs:///rw/{format}"), format, Patience::default());
        table.insert(false, job(1), &[(1, "x"), (2, "y/:z")]).await;
        table.insert(true, job(2), &[(3, "y/:z"), (4, "w")]).await;
        let rows = table.query("SELECT a, b FROM t ORDER BY a").await.unwrap();
        assert_eq!(rows, ["1|x", "3|y/:z", "4|w"], "{format}");
        assert_eq!(table.query("SELECT sum(a) AS s FROM t WHERE b <> 'x'").await.unwrap(), ["7"]);
        let files = hdfs.client().files(&format!("/rw/{format}")).await.unwrap();
        assert_eq!(files.len(), 3, "{files:?}");
    }
}

#[tokio::test]
async fn a_commit_that_died_midway_is_finished_and_an_abort_leaves_nothing() {
    let hdfs = Hdfs::shared();
    let client = hdfs.client();
    let table = Table::new(hdfs, &hdfs.url_of("/commit"), "json", Patience::default());
    let sink = table.sink(false);
    let staged = [table.stage(&sink, job(1), &[(1, "x"), (2, "y")]).await.unwrap()];
    let in_the_way = client.files("/commit").await.unwrap()[1].path.clone();
    let in_the_way = format!("/commit/b=y/{}", in_the_way.rsplit('/').next().unwrap());
    client.put(&in_the_way, b"{\"a\":100}\n".to_vec()).await.unwrap();
    let error = commit::commit(&table.connectors, job(1), &sink, &staged).await.unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    client.remove(&in_the_way).await.unwrap();
    for _ in 0..2 {
        commit::commit(&table.connectors, job(1), &sink, &staged).await.unwrap();
        assert_eq!(table.query("SELECT a, b FROM t ORDER BY a").await.unwrap(), ["1|x", "2|y"]);
    }
    table.stage(&sink, job(2), &[(3, "x")]).await.unwrap();
    commit::abort(&table.connectors, job(2), &sink).await.unwrap();
    assert_eq!(client.files("/commit").await.unwrap().len(), 2);
}

#[tokio::test]
async fn block_locations_are_the_namenodes() {
    let hdfs = Hdfs::shared();
    hdfs.client().put("/located/f", vec![b'\n'; 3 << 20]).await.unwrap();
    let expected = hdfs.client().block_hosts("/located/f").await.unwrap();
    let table = Table::new(hdfs, "hdfs:///located", "csv", Patience::default());
    let range =
        |block: u64| FileRange { url: hdfs.url_of("/located/f"), start: block << 20, end: (block + 1) << 20 };
    let ranges: Vec<_> = (0..3).map(range).collect();
    assert_eq!(table.connectors.locate(&ranges).await, expected);
    let missing = FileRange { url: hdfs.url_of("/located/none"), start: 0, end: 1 };
    assert_eq!(table.connectors.locate(&[missing]).await, [[""; 0]]);
}

const CHILD: &str = "THALWEG_TEST_CHILD_OF";

/// The user is the process's, so another user is another process: this test runs itself again as one who may not.
#[tokio::test]
async fn a_user_without_permission_is_told_path_action_and_remedy() {
    if let Ok(conf_dir) = std::env::var(CHILD) {
        return assert_refused(conf_dir).await;
    }
    let hdfs = Hdfs::shared();
    hdfs.client().put("/private/b=x/f", b"{\"a\":1}\n".to_vec()).await.unwrap();
    hdfs.client().make_folder("/private/secret", "700").await.unwrap();
    let name = "hdfs::table::a_user_without_permission_is_told_path_action_and_remedy";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env("HADOOP_USER_NAME", "mallory")
        .env(CHILD, hdfs.conf_dir())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}

async fn assert_refused(conf_dir: String) {
    let config = ConnectorsConfig { hadoop_conf_dir: Some(conf_dir.into()), ..Default::default() };
    let connectors = BuiltinConnectors::new(config).unwrap();
    let secret = connectors.file_systems().locate("hdfs:///private/secret").unwrap();
    let error = secret.file_system.list(&secret.path).await.unwrap_err().chain();
    assert!(
        error.contains("user `mallory` may not list `hdfs://") && error.contains("/private/secret`"),
        "{error}"
    );
    assert!(error.contains("chmod") && error.contains("HADOOP_USER_NAME"), "{error}");
    let error = secret.file_system.create_dirs("/private/new").await.unwrap_err();
    assert!(error.to_string().contains("may not create folder"), "{error}");
}

#[tokio::test]
async fn a_namenode_that_is_down_gives_one_error_and_one_that_comes_back_is_waited_for() {
    let hdfs = Hdfs::start().unwrap();
    let short = Patience { call: Duration::from_secs(1), total: Duration::from_secs(2) };
    let impatient = Table::new(&hdfs, "hdfs:///down", "csv", short);
    let long = Patience { call: Duration::from_secs(20), total: Duration::from_secs(200) };
    let patient = Table::new(&hdfs, "hdfs:///down", "csv", long);
    patient.insert(false, job(1), &[(1, "x")]).await;
    assert_eq!(impatient.query("SELECT a FROM t").await.unwrap(), ["1"]);
    hdfs.kill("namenode").unwrap();
    let error = tokio::time::timeout(Duration::from_secs(30), impatient.query("SELECT a FROM t")).await;
    let error = error.expect("a NameNode that is down is given up in time").unwrap_err();
    assert!(error.contains("cannot reach `hdfs://") && error.contains("gave up after"), "{error}");
    let waiting = tokio::spawn(async move { patient.query("SELECT a FROM t").await });
    let _hdfs = tokio::task::spawn_blocking(move || hdfs.restart().map(|()| hdfs)).await.unwrap().unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), ["1"]);
}
