//! JobManagers, workers and storage as nodes of a network in which links are cut, while a stream and batches run. `make drill-network` does it longer.

use std::time::Duration;

use thalweg_integration::{
    network_drill::{self, Fault, NetworkDrill},
    processes::ClusterConfig,
};

use crate::place::binary;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_links_and_restarted_members_lose_and_double_no_row() {
    let kinds = vec![Fault::CutLeader, Fault::CutWorkerFromLeader, Fault::RestartMembers];
    let (faults, time_max, seed) = (kinds.len(), Duration::from_secs(2), rand::random());
    let drill = NetworkDrill { faults, faults_per_job: faults, kinds, time_max, seed };
    // Printed where the test fails: `make drill-network SEED=...` takes one.
    eprintln!("seed {}", drill.seed);
    let config = ClusterConfig::new(binary(), network_drill::WORKERS, network_drill::SLOTS);
    let outcome = network_drill::run(config, drill, |job| eprintln!("{job:?}")).await.unwrap();
    let hits: usize = outcome.jobs.iter().map(|job| job.hits.len()).sum();
    assert!(outcome.without_network.is_some() || hits == faults, "{outcome:?}");
}
