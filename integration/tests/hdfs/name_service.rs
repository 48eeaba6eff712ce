//! Two NameNodes behind the name of their service: who is active changes under running jobs.

use thalweg::Client;
use thalweg_graph::Options;
use thalweg_integration::{
    hadoop::Hdfs,
    processes::{Cluster, ClusterConfig},
};

use crate::{expect::text, place::binary};

/// So many that a job which writes them in many files is still at it when the other NameNode takes over.
const ROWS: u64 = 600_000;

fn table(name: &str) -> String {
    format!(
        "CREATE TABLE {name} (n BIGINT) WITH ('connector' = 'filesystem', 'path' = 'hdfs://thalweg/{name}', 'format' = 'csv', \
         'sink.rolling-policy.file-size' = '64kb')"
    )
}

fn numbers() -> String {
    format!(
        "CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '{ROWS}', \
         'fields.n.kind' = 'sequence', 'fields.n.start' = '1', 'fields.n.end' = '{ROWS}')"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_read_and_write_by_the_services_name_while_the_active_namenode_is_replaced() {
    let hdfs = Hdfs::start_with_standby().unwrap();
    assert_eq!(hdfs.url, "hdfs://thalweg");
    let options: Options =
        [("fs.hdfs.retry-timeout", "1 min"), ("parallelism.default", "1")].into_iter().collect();
    let mut config = ClusterConfig::new(binary(), 1, 2);
    config.environment.push(("HADOOP_CONF_DIR".to_owned(), hdfs.conf_dir().display().to_string()));
    config.options = options.clone();
    let cluster = Cluster::start(config).await.unwrap();
    let mut client = Client::remote(&cluster.address, options.clone()).await.unwrap();
    let tables = format!("{}; {}; {}", table("source"), table("target"), numbers());
    client.sql(&tables).await.unwrap();
    client.sql("INSERT INTO source VALUES (1), (2), (3)").await.unwrap();
    assert_eq!(text(&client.sql("SELECT SUM(n) FROM source").await.unwrap()), "6");

    let mut copying = Client::remote(&cluster.address, options).await.unwrap();
    copying.sql(&tables).await.unwrap();
    let copying = tokio::spawn(async move { copying.sql("INSERT INTO target SELECT n FROM numbers").await });
    // The job has staged its first files: it is under way.
    let staged = async {
        while !hdfs.client().files("/target").await.is_ok_and(|files| !files.is_empty()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), staged).await.expect("the job did not start");
    hdfs.kill("namenode1").unwrap();
    // By the dead NameNode's name first, which every new reader has to get over.
    let waiting = tokio::spawn(async move {
        let sum = text(&client.sql("SELECT SUM(n) FROM source").await.unwrap());
        (client, sum)
    });
    let standby = hdfs.fail_over().unwrap();
    let still_copying = !copying.is_finished();
    let (mut client, sum) = waiting.await.unwrap();
    assert_eq!(sum, "6");
    assert!(still_copying, "the job had ended before the other NameNode was active");
    copying.await.unwrap().unwrap();
    assert_eq!(
        text(&client.sql("SELECT COUNT(*), SUM(n) FROM target").await.unwrap()),
        format!("{ROWS},{}", ROWS * (ROWS + 1) / 2)
    );
    client.sql("INSERT OVERWRITE source SELECT n FROM target WHERE n <= 4").await.unwrap();
    assert_eq!(text(&client.sql("SELECT COUNT(*), SUM(n) FROM source").await.unwrap()), "4,10");
    let left = standby.files("/").await.unwrap();
    assert!(left.iter().all(|file| !file.path.contains(".staging")), "{left:?}");
}
