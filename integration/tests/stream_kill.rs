//! kill -9 of workers at random moments of a stream with checkpoints. `make drill-stream` does it longer.

use thalweg_integration::{
    hadoop::Hdfs,
    stream_drill::{self, StreamDrill},
};

use crate::place::cluster_config;

async fn drill(jobs: u32, kills: u32, checkpoints: Option<String>) {
    let drill = StreamDrill { rows: 3_000_000, jobs, kills, seed: rand::random(), checkpoints };
    // Printed where the test fails: `make drill-stream SEED=...` repeats it.
    eprintln!("seed {}", drill.seed);
    let config = cluster_config(stream_drill::WORKERS, stream_drill::SLOTS);
    stream_drill::run(config, drill, |job| eprintln!("{job:?}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_loses_and_doubles_no_row_of_a_stream() {
    drill(2, 2, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_with_checkpoints_in_hdfs_survives_its_workers() {
    let folder = "/checkpoints-of-streams";
    drill(1, 1, Some(Hdfs::shared().url_of(folder))).await;
    let left = Hdfs::shared().client().files(folder).await.unwrap();
    assert!(left.is_empty(), "jobs that have finished leave no checkpoints: {left:?}");
}
