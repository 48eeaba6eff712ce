//! The 22 queries of TPC-H on real files against the answers of an independent engine: at parallelism 1, 2 and 4, embedded and on
//! two worker processes, pipelined and blocking, from disk and from HDFS. At scale factor 0.01; `make test-tpch-long` runs more.

use thalweg_integration::{
    hadoop::Hdfs,
    tpch::{QUERIES, Scale, TABLES, create_tables},
    tpch_check, tpch_data,
};
use tokio::sync::OnceCell;

use crate::place::{Exchange, Place};

const SCALE: Scale = Scale::Hundredth;

async fn from_disk(place: Place) {
    let folder = tpch_data::folder(SCALE).unwrap();
    check(place, &folder.display().to_string()).await;
}

async fn from_hdfs(place: Place) {
    check(place, &Hdfs::shared().url_of(uploaded().await)).await;
}

/// The HDFS folder with the tables.
async fn uploaded() -> &'static str {
    static UPLOADED: OnceCell<&str> = OnceCell::const_new();
    let upload = || async {
        let local = tpch_data::folder(SCALE).unwrap();
        let files = TABLES.map(|table| local.join(table).with_extension("parquet"));
        Hdfs::shared().client().put_files(files, "/tpch").await.unwrap();
        "/tpch"
    };
    UPLOADED.get_or_init(upload).await
}

async fn check(place: Place, folder: &str) {
    let mut client = place.client().await;
    client.sql(&create_tables(folder).join(";\n")).await.unwrap();
    let mut failures = Vec::new();
    for number in QUERIES {
        if let Err(error) = tpch_check::check(&mut client, number, SCALE).await {
            failures.push(format!("q{number}: {error:#}"));
        }
    }
    assert!(failures.is_empty(), "{place}, {folder}:\n{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_from_disk() {
    for threads in [1, 2, 4] {
        from_disk(Place::Embedded(threads)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_from_hdfs() {
    for threads in [1, 2, 4] {
        from_hdfs(Place::Embedded(threads)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_processes_from_disk() {
    for parallelism in [1, 2, 4] {
        for exchange in [Exchange::Pipelined, Exchange::Blocking] {
            from_disk(Place::Cluster(parallelism, exchange)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_processes_from_hdfs() {
    for parallelism in [1, 2, 4] {
        for exchange in [Exchange::Pipelined, Exchange::Blocking] {
            from_hdfs(Place::Cluster(parallelism, exchange)).await;
        }
    }
}
