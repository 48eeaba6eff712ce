//! kill -9 of a worker at random moments of running jobs. `make drill` does it longer and on more data.

use thalweg_integration::{
    drill::{self, Drill},
    tpch::Scale,
};

use crate::place::cluster_config;

/// A query, an `INSERT` and a producer of random rows each with pipelined and with blocking exchange; the second query's shared vertex
/// is read twice.
const KILLS: u32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_changes_no_outcome() {
    let drill = Drill { scale: Scale::Hundredth, kills: KILLS, seed: rand::random() };
    // Printed where the test fails: `make drill SEED=...` repeats it.
    println!("seed {}", drill.seed);
    drill::run(cluster_config(drill::WORKERS, drill::SLOTS), drill, |kill| println!("{kill:?}"))
        .await
        .unwrap();
}
