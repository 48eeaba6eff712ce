//! A cluster that lives on one thread and from one seed: the JobManagers of a quorum, their workers and a client, on a simulated network,
//! simulated disks and a simulated clock. The same seed gives the same life, byte for byte; a life that breaks an invariant names its seed.
//!
//! What is real and what is not: `docs/testing.md`.

#[cfg(not(tokio_unstable))]
compile_error!(
    "without `--cfg tokio_unstable` a seed does nothing: build from integration/sim, whose .cargo/config.toml has it"
);

pub mod randomness;
pub mod rows;
pub mod event;
pub mod invariants;
pub mod world;
pub mod disk;
pub mod network;
pub mod plan;
pub mod storage;
// The worker's own code; its crate would bring DataFusion with it.
#[path = "../../../worker/src/leader.rs"]
pub mod leader;
#[path = "../../../worker/src/attempts.rs"]
pub mod attempts;
pub mod task;
pub mod task_table;
#[path = "../../../worker/src/leader_link.rs"]
pub mod leader_link;
pub mod hosts;
pub mod client;
pub mod faults;
pub mod run;

pub use run::{Life, run};
