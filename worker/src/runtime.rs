//! The compute runtime: threads of their own for batches, so that no batch keeps a heartbeat or a socket waiting.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// Deep plans recurse when they are decoded and executed.
const STACK_BYTES: usize = 16 << 20;

/// A tokio runtime with one thread for each slot. May be dropped anywhere: tasks still on it end at their next pause.
#[derive(Debug)]
pub struct ComputeRuntime {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl ComputeRuntime {
    /// Starts the threads.
    pub fn start(slots: u32) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(slots as usize)
            .thread_name("thalweg-compute")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Where to spawn batches.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for ComputeRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
