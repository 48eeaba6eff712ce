//! kill -9 of workers at random moments of a stream with checkpoints. `make drill-stream` does it longer.

use thalweg_integration::stream_drill::{self, StreamDrill};

use crate::place::cluster_config;

const DRILL: StreamDrill = StreamDrill { rows: 3_000_000, jobs: 2, kills: 2, seed: 0 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_loses_and_doubles_no_row_of_a_stream() {
    let drill = StreamDrill { seed: rand::random(), ..DRILL };
    // Printed where the test fails: `make drill-stream SEED=...` repeats it.
    println!("seed {}", drill.seed);
    let config = cluster_config(stream_drill::WORKERS, stream_drill::SLOTS);
    stream_drill::run(config, drill, |job| println!("{job:?}")).await.unwrap();
}
