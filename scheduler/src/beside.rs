//! Work that takes its time, beside the tasks of the runtime.

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::JoinError,
};

/// Does work on a thread where it holds nothing up. A runtime of one thread keeps it there: a simulation has no other, and who wants no
/// threads gets none.
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => tokio::spawn(async move { work() }).await,
        _ => tokio::task::spawn_blocking(work).await,
    }
}
