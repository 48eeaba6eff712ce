//! Three JobManagers whose leader is killed, stopped, and killed with a majority. `make drill-quorum` does it longer.

use thalweg_integration::quorum_drill::{self, Fault, QuorumDrill};

use crate::place::cluster_config;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_does_not_notice_that_another_job_manager_leads() {
    let kinds = vec![Fault::KillLeader];
    let drill = QuorumDrill { rows: 3_000_000, jobs: 1, faults: 2, kinds, seed: rand::random() };
    // Printed where the test fails: `make drill-quorum SEED=...` repeats it.
    eprintln!("seed {}", drill.seed);
    let config = cluster_config(quorum_drill::WORKERS, quorum_drill::SLOTS);
    quorum_drill::run(config, drill, |job| eprintln!("{job:?}")).await.unwrap();
}
