//! Room for recursion: parsing, planning and dropping walk trees as deep as the statement nests.
//!
//! Parser and planner grow the stack at some of their own functions, but not at all, and not when a tree is dropped. So whole
//! calls run on a stack of their own; its pages cost nothing until they are touched.

use std::{future::Future, pin::pin, task::Poll};

/// Enough for the deepest statement that the parser lets through, in a build without optimisation.
const STACK_BYTES: usize = 256 << 20;

/// Runs a function on a deep stack.
pub fn call<T>(function: impl FnOnce() -> T) -> T {
    stacker::grow(STACK_BYTES, function)
}

/// Polls a future on a deep stack.
pub async fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    std::future::poll_fn(|context| -> Poll<T> { call(|| future.as_mut().poll(context)) }).await
}
