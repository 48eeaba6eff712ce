//! Faults of every kind while a job goes from Kafka to Kafka and files. `make drill-exactly-once` does it longer.

use thalweg_integration::exactly_once::{self, ExactlyOnceDrill, Fault};

use crate::place::cluster_config;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_hits_and_no_row_is_lost_or_doubled() {
    let kinds = Fault::ALL.to_vec();
    let faults = kinds.len() as u32;
    let drill = ExactlyOnceDrill { records: 200_000, faults, faults_per_job: 3, kinds, seed: rand::random() };
    // Printed where the test fails: `make drill-exactly-once SEED=...` repeats it.
    eprintln!("seed {}", drill.seed);
    let config = cluster_config(exactly_once::WORKERS, exactly_once::SLOTS);
    let jobs = exactly_once::run(config, drill, |job| eprintln!("{job:?}")).await.unwrap();
    let hit: Vec<Fault> = jobs.iter().flat_map(|job| job.faults.iter().map(|(fault, _)| *fault)).collect();
    assert!(Fault::ALL.iter().all(|fault| hit.contains(fault)), "{hit:?}");
}
