//! A stream from files to files: a folder that is watched, windows, partitions of Parquet.

use thalweg_integration::{
    folder_drill::{self, FolderDrill, Outcome, Place},
    hadoop::Hdfs,
};

use crate::place::cluster_config;

async fn drill(files: u32, kills: usize, place: Place) -> Outcome {
    let drill = FolderDrill { files, kills, seed: rand::random(), place };
    eprintln!("seed {}", drill.seed);
    let config = cluster_config(folder_drill::WORKERS, folder_drill::SLOTS);
    let outcome = folder_drill::run(config, drill).await.unwrap();
    eprintln!("{outcome:?}");
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_workers_lose_and_double_no_row_and_leave_no_small_files() {
    let folder = tempfile::tempdir().unwrap();
    // 20 minutes of event time; a minute is a partition.
    let outcome = drill(240, 3, Place::Local(folder.path().to_owned())).await;
    assert!((20..=21).contains(&outcome.partitions), "{outcome:?}");
    assert!(outcome.complete_early >= 10, "partitions are complete while the job runs: {outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_hdfs_into_hdfs() {
    let hdfs = Hdfs::shared();
    let base = "/watched-folder";
    let outcome = drill(60, 1, Place::Hdfs(hdfs.client(), base.to_owned(), hdfs.url_of(base))).await;
    assert!((5..=6).contains(&outcome.partitions), "{outcome:?}");
}
