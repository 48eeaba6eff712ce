//! JobManagers, workers and storage as nodes of a network in which links are cut, while a stream and batches run. `make drill-network` does it longer.

use thalweg_integration::{
    network_drill::{self, Fault, NetworkDrill},
    processes::ClusterConfig,
};

use crate::place::binary;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_links_and_restarted_members_lose_and_double_no_row() {
    let kinds = vec![Fault::CutLeader, Fault::CutWorkerFromLeader, Fault::RestartMembers];
    let drill =
        NetworkDrill { faults: kinds.len(), faults_per_job: kinds.len(), kinds, seed: rand::random() };
    // Printed where the test fails: `make drill-network SEED=...` takes one.
    eprintln!("seed {}", drill.seed);
    let config = ClusterConfig::new(binary(), network_drill::WORKERS, network_drill::SLOTS);
    let outcome = network_drill::run(config, drill, |job| eprintln!("{job:?}")).await.unwrap();
    let hits: usize = outcome.jobs.iter().map(|job| job.hits.len()).sum();
    assert!(outcome.without_network.is_some() || hits == 3, "{outcome:?}");
}
