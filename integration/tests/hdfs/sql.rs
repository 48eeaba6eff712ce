//! SQL on a real HDFS: partitioned and overwriting inserts, locality, permissions, a NameNode that goes
//! and comes back.

use std::time::{Duration, Instant};

use serde_json::Value;
use thalweg::{Client, Execution};
use thalweg_graph::Options;
use thalweg_integration::{
    hadoop::Hdfs,
    processes::{Cluster, ClusterConfig},
    web_hdfs::WebHdfs,
};
use thalweg_plan::Session;

use crate::{
    expect::{failure, text},
    place::{Exchange, Place, binary, cluster_config},
};

/// Time in which three statements must have failed that wait three seconds each for HDFS, and ten for their output to be removed.
const FAILED_IN: Duration = Duration::from_secs(60);

const PLACES: [Place; 2] = [Place::Embedded(2), Place::Cluster(2, Exchange::Pipelined)];

/// A table of sales by day, with a file that says when a day is complete.
fn sales_table(url: &str) -> String {
    format!(
        "CREATE TABLE sales (id BIGINT, item STRING, sale_day STRING) PARTITIONED BY (sale_day) WITH (
           'connector' = 'filesystem', 'path' = '{url}', 'format' = 'parquet',
           'sink.partition-commit.policy.kind' = 'success-file')"
    )
}

/// The folders of a listing that hold data, and those that hold a success file.
async fn days(client: &WebHdfs, folder: &str) -> (Vec<String>, Vec<String>) {
    let (mut data, mut complete) = (Vec::new(), Vec::new());
    for file in client.files(folder).await.unwrap() {
        let (day, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        match name {
            "_SUCCESS" => complete.push(day.to_owned()),
            _ => data.push(day.to_owned()),
        }
        assert!(
            day.starts_with("sale_day=") && day.matches('/').count() == 0,
            "`{}` was left behind",
            file.path
        );
    }
    data.dedup();
    (data, complete)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitioned_inserts_and_overwrites_are_read_back() {
    let hdfs = Hdfs::shared();
    for (number, place) in PLACES.into_iter().enumerate() {
        let folder = format!("/sales{number}");
        let mut client = place.client().await;
        client.sql(&sales_table(&hdfs.url_of(&folder))).await.unwrap();
        let insert = "VALUES (1, 'a', '2024-01-01'), (2, 'b', '2024-01-01'), (3, 'c', '2024-01-02')";
        client.sql(&format!("INSERT INTO sales {insert}")).await.unwrap();
        let (data, complete) = days(&hdfs.client(), &folder).await;
        assert_eq!(data, ["sale_day=2024-01-01", "sale_day=2024-01-02"], "{place}");
        assert_eq!(complete, data, "{place}");
        let all = "SELECT id, item, sale_day FROM sales ORDER BY id";
        assert_eq!(
            text(&client.sql(all).await.unwrap()),
            "1,a,2024-01-01\n2,b,2024-01-01\n3,c,2024-01-02",
            "{place}"
        );

        client.sql("INSERT INTO sales VALUES (4, 'd', '2024-01-01')").await.unwrap();
        let count = "SELECT count(*) FROM sales WHERE sale_day = '2024-01-01'";
        assert_eq!(text(&client.sql(count).await.unwrap()), "3", "{place}");

        // Replaces the day that it has rows for and leaves the other.
        client.sql("INSERT OVERWRITE sales VALUES (5, 'e', '2024-01-01')").await.unwrap();
        assert_eq!(text(&client.sql(all).await.unwrap()), "3,c,2024-01-02\n5,e,2024-01-01", "{place}");
        client
            .sql("INSERT OVERWRITE sales PARTITION (sale_day = '2024-01-02') VALUES (6, 'f')")
            .await
            .unwrap();
        assert_eq!(text(&client.sql(all).await.unwrap()), "5,e,2024-01-01\n6,f,2024-01-02", "{place}");
        days(&hdfs.client(), &folder).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_runs_where_its_blocks_lie() {
    let hdfs = Hdfs::shared();
    let web = hdfs.client();
    let hosts = ["127.0.0.1", "127.0.0.2"];
    let mut config = cluster_config(2, 1);
    config.hosts = hosts.map(str::to_owned).to_vec();
    let cluster = Cluster::start(config).await.unwrap();
    let options: Options = [("parallelism.default", "1")].into_iter().collect();
    let mut client = Client::remote(&cluster.address, options).await.unwrap();
    for (number, host) in hosts.into_iter().enumerate() {
        // Where a block goes is HDFS's choice: write until one lies where it is wanted.
        let folder = format!("/locality{number}");
        let mut attempt = 0;
        loop {
            let file = format!("{folder}/part{attempt}.csv");
            web.put(&file, b"1\n2\n3\n".to_vec()).await.unwrap();
            if web.block_hosts(&file).await.unwrap() == [[host]] {
                break;
            }
            web.remove(&file).await.unwrap();
            attempt += 1;
        }
        let create = format!(
            "CREATE TABLE numbers{number} (n INT) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'csv')",
            hdfs.url_of(&folder)
        );
        client.sql(&create).await.unwrap();
        let statements = Session::parse(&format!("SELECT sum(n) FROM numbers{number}")).unwrap();
        let Execution::Job { job, .. } = client.execute(&statements[0]).await.unwrap() else {
            panic!("a query makes a job")
        };
        client.wait(job).await.unwrap();
        let details = cluster.get(&format!("/v1/jobs/{job}")).await.unwrap();
        let vertex = details["vertices"][0]["id"].as_str().unwrap();
        let vertex = cluster.get(&format!("/v1/jobs/{job}/vertices/{vertex}")).await.unwrap();
        let subtasks = vertex["subtasks"].as_array().unwrap();
        let ran_on = |subtask: &Value| subtask["taskmanager-id"].as_str().unwrap_or_default().to_owned();
        let workers: Vec<String> = subtasks.iter().map(ran_on).collect();
        // A worker's id starts with its host.
        assert!(workers.iter().all(|worker| worker.starts_with(host)), "{workers:?} instead of {host}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permissions_of_hdfs_hold_and_refused_writes_leave_nothing() {
    let hdfs = Hdfs::shared();
    let web = hdfs.client();
    web.make_folder("/private", "700").await.unwrap();
    web.put("/private/a.csv", b"1\n".to_vec()).await.unwrap();
    web.make_folder("/readable", "755").await.unwrap();
    web.put("/readable/a.csv", b"1\n".to_vec()).await.unwrap();

    let mut config = cluster_config(1, 1);
    config.environment.push(("HADOOP_USER_NAME".to_owned(), "alice".to_owned()));
    let cluster = Cluster::start(config).await.unwrap();
    let mut client = Client::remote(&cluster.address, Options::default()).await.unwrap();
    for table in ["private", "readable"] {
        let url = hdfs.url_of(&format!("/{table}"));
        let create = format!(
            "CREATE TABLE {table} (n INT) WITH ('connector' = 'filesystem', 'path' = '{url}', 'format' = 'csv')"
        );
        client.sql(&create).await.unwrap();
    }
    let error = failure(&mut client, "SELECT * FROM private").await;
    assert!(error.to_lowercase().contains("permission") && error.contains("alice"), "{error}");
    assert_eq!(text(&client.sql("SELECT * FROM readable").await.unwrap()), "1");
    let error = failure(&mut client, "INSERT INTO readable VALUES (2)").await;
    assert!(error.to_lowercase().contains("permission") && error.contains("alice"), "{error}");
    let files = web.files("/readable").await.unwrap();
    assert_eq!(files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a.csv"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_that_is_exceeded_fails_the_insert_and_leaves_nothing() {
    let hdfs = Hdfs::shared();
    let web = hdfs.client();
    for (number, place) in PLACES.into_iter().enumerate() {
        let folder = format!("/quota{number}");
        web.make_folder(&folder, "777").await.unwrap();
        // Less than one block, and a block is what a file takes when it is opened.
        web.set_space_quota(&folder, 512 << 10).await.unwrap();
        let options = [("restart-strategy.type", "none")].into_iter().collect();
        let mut client = place.client_with(options).await;
        client.sql(&numbers_table(&hdfs.url_of(&folder))).await.unwrap();
        let error = failure(&mut client, "INSERT INTO t VALUES (1)").await;
        assert!(error.contains("quota is full") && error.contains(&folder), "{place}: {error}");
        assert!(web.files(&folder).await.unwrap().is_empty(), "{place}");
    }
}

/// A table of one number in each line.
fn numbers_table(url: &str) -> String {
    format!("CREATE TABLE t (n INT) WITH ('connector' = 'filesystem', 'path' = '{url}', 'format' = 'csv')")
}

/// A cluster that repeats calls to an HDFS for so long, and a client that knows the table `/t` there.
async fn cluster_on(hdfs: &Hdfs, retry_timeout: &str) -> (Cluster, Client) {
    let mut config = ClusterConfig::new(binary(), 1, 1);
    config.environment.push(("HADOOP_CONF_DIR".to_owned(), hdfs.conf_dir().display().to_string()));
    let options: Options = [("fs.hdfs.retry-timeout", retry_timeout)].into_iter().collect();
    config.options = options.clone();
    let cluster = Cluster::start(config).await.unwrap();
    let mut client = Client::remote(&cluster.address, options).await.unwrap();
    client.sql(&numbers_table(&hdfs.url_of("/t"))).await.unwrap();
    (cluster, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_namenode_is_one_clear_error_and_whoever_waits_long_enough_sees_it_return() {
    // Not the shared one: other tests use that.
    let hdfs = Hdfs::start().unwrap();
    hdfs.client().put("/t/a.csv", b"1\n2\n".to_vec()).await.unwrap();
    let (_one, mut impatient) = cluster_on(&hdfs, "3 s").await;
    let (_other, mut patient) = cluster_on(&hdfs, "1 min").await;
    assert_eq!(text(&impatient.sql("SELECT sum(n) FROM t").await.unwrap()), "3");

    hdfs.kill("namenode").unwrap();
    let start = Instant::now();
    for sql in ["SELECT sum(n) FROM t", "INSERT INTO t VALUES (4)", "INSERT INTO t SELECT n FROM t"] {
        let error = failure(&mut impatient, sql).await;
        assert!(error.contains(&format!("cannot reach `{}", hdfs.url)), "{sql}: {error}");
        assert!(error.contains("fs.hdfs.retry-timeout"), "{sql}: {error}");
    }
    assert!(start.elapsed() < FAILED_IN, "{:?}", start.elapsed());

    let waiting = tokio::spawn(async move {
        patient.sql("INSERT INTO t VALUES (5)").await.unwrap();
        patient
    });
    hdfs.restart().unwrap();
    let mut patient = waiting.await.unwrap();
    assert_eq!(text(&patient.sql("SELECT sum(n), count(*) FROM t").await.unwrap()), "8,3");
    impatient.sql("INSERT INTO t VALUES (4)").await.unwrap();
    assert_eq!(text(&impatient.sql("SELECT sum(n), count(*) FROM t").await.unwrap()), "12,4");
    let left: Vec<_> = hdfs.client().files("/t").await.unwrap();
    assert!(left.iter().all(|file| !file.path.contains(".staging")), "{left:?}");
}
