//! Queries that need more memory than the smallest pool has, embedded and on a cluster: they spill, however wrong the estimates were. Streams
//! keep their state on the disk where they are told to.

use tempfile::TempDir;
use thalweg::Client;
use thalweg_graph::Options;
use thalweg_integration::processes::{Cluster, ClusterConfig};

use crate::{expect::text, place::binary};

/// Leaves the pool its minimum of 32 MiB. A restart strategy would hide that something failed.
const LITTLE: [(&str, &str); 2] =
    [("taskmanager.memory.process.size", "160m"), ("restart-strategy.type", "none")];

fn options(more: &[(&str, &str)]) -> Options {
    LITTLE.iter().chain(more).copied().collect()
}

/// A table of 40 MB in files that look like a thousandth of it, since their size is what an estimate goes by.
async fn compressed_rows(client: &mut Client, folder: &TempDir) {
    let path = folder.path().join("rows");
    let written = path.exists();
    let create = format!(
        "CREATE TABLE seq (k BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '40000', 'fields.k.kind' = 'sequence', \
         'fields.k.start' = '1', 'fields.k.end' = '40000'); \
         CREATE TABLE packed (k BIGINT, s STRING) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'csv', \
         'csv.compression' = 'zstd')",
        path.display()
    );
    client.sql(&create).await.unwrap();
    if !written {
        client.sql("INSERT INTO packed SELECT k, REPEAT('0123456789', 100) FROM seq").await.unwrap();
    }
}

async fn sorts(client: &mut Client) {
    let sorted =
        "SELECT k FROM (SELECT k, s, ROW_NUMBER() OVER (ORDER BY k DESC) AS n FROM packed) WHERE n <= 3";
    assert_eq!(text(&client.sql(sorted).await.unwrap()), "40000\n39999\n39998");
}

async fn joins(client: &mut Client) {
    let joined = "SELECT COUNT(*), SUM(CHAR_LENGTH(a.s) + CHAR_LENGTH(b.s)), MIN(a.k) FROM packed a JOIN packed b ON a.k = b.k";
    assert_eq!(text(&client.sql(joined).await.unwrap()), "40000,80000000,1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wide_rows_are_sorted_and_joined_in_the_smallest_pool_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::embedded(options(&[("parallelism.default", "2")])).await.unwrap();
    compressed_rows(&mut client, &folder).await;
    sorts(&mut client).await;
    joins(&mut client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wide_rows_are_sorted_and_joined_in_the_smallest_pool_of_workers() {
    let mut config = ClusterConfig::new(binary(), 2, 1);
    config.options = options(&[]);
    let cluster = Cluster::start(config).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let client = |mode| {
        let options = options(&[("parallelism.default", "2"), ("execution.batch-shuffle-mode", mode)]);
        Client::remote(&cluster.address, options)
    };
    let mut pipelined = client("ALL_EXCHANGES_PIPELINED").await.unwrap();
    compressed_rows(&mut pipelined, &folder).await;
    sorts(&mut pipelined).await;
    let mut blocking = client("ALL_EXCHANGES_BLOCKING").await.unwrap();
    compressed_rows(&mut blocking, &folder).await;
    joins(&mut blocking).await;
}

/// Rows of both sides, of all partitions, or values of all groups are more than the whole pool.
const STREAMS: [(&str, &str); 3] = [
    (
        "SELECT COUNT(*), SUM(CHAR_LENGTH(a.s) + CHAR_LENGTH(b.s)), MIN(a.k) FROM packed a JOIN packed b ON a.k = b.k",
        "40000,80000000,1",
    ),
    (
        "SELECT COUNT(*), SUM(CHAR_LENGTH(s)), MIN(k) \
         FROM (SELECT k, s, ROW_NUMBER() OVER (PARTITION BY k ORDER BY s) AS n FROM packed) WHERE n <= 2",
        "40000,40000000,1",
    ),
    (
        "SELECT COUNT(*), SUM(n), MIN(k) FROM (SELECT k, COUNT(DISTINCT s) AS n FROM packed GROUP BY k)",
        "40000,40000,1",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_that_is_larger_than_memory_is_kept_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    for backend in ["memory", "lsm"] {
        let streaming = [
            ("parallelism.default", "2"),
            ("execution.runtime-mode", "STREAMING"),
            ("state.backend.type", backend),
        ];
        let mut client = Client::embedded(options(&streaming)).await.unwrap();
        compressed_rows(&mut client, &folder).await;
        for (query, expected) in STREAMS {
            let answer = client.sql(query).await;
            match backend {
                "memory" => {
                    let error = format!("{:#}", answer.err().unwrap());
                    assert!(error.contains("allocation failed"), "{query}: {error}");
                }
                _ => assert_eq!(text(&answer.unwrap()), expected, "{query}"),
            }
        }
    }
}
