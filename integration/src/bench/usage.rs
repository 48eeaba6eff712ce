//! CPU time and memory of this process.

use std::{mem::MaybeUninit, time::Duration};

/// What this process has used so far.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// User and system time of all threads.
    pub cpu: Duration,
    /// Largest resident set.
    pub peak_bytes: u64,
}

/// Asks the kernel.
pub fn own() -> Usage {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: getrusage fills the struct that it is given; RUSAGE_SELF is always valid, so it cannot fail.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let duration = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    // Linux counts the resident set in kilobytes.
    Usage {
        cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
        peak_bytes: usage.ru_maxrss as u64 * 1024,
    }
}
