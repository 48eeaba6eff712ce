//! How much memory this process may use: what the machine has, or what its container is given if that is less; and how the
//! allocator keeps what was freed.

use std::{fs, path::Path};

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use crate::large_buffers::MAPPED_BYTES_MIN;

/// Heaps of the allocator: more of them fragment, and threads of compute are few.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS_MAX: libc::c_int = 2;

/// Free bytes at the end of a heap that are kept from the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES_MAX: libc::c_int = 256 << 20;

/// Bytes of memory that this process may use; `None` where the system does not say.
pub fn available_bytes() -> Option<u64> {
    let machine = machine_bytes();
    let group = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| group_limit(&text, Path::new("/sys/fs/cgroup")));
    machine.into_iter().chain(group).min()
}

fn machine_bytes() -> Option<u64> {
    // SAFETY: `sysconf` only reads its argument and has no other effect.
    let (pages, page_bytes) =
        unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(pages).ok()?.checked_mul(u64::try_from(page_bytes).ok()?)
}

/// Sets glibc's allocator for large buffers that live shortly, as those of decoded columns do: they are taken from a few
/// shared heaps which keep what is freed, rather than mapped and cleared anew each time. A tenth of the CPU time of TPC-H
/// goes into page faults without it (`docs/benchmarks.md`). Does nothing with another C library.
pub fn keep_freed_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, value) in [
        (libc::M_ARENA_MAX, ARENAS_MAX),
        (libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN as libc::c_int),
        (libc::M_TRIM_THRESHOLD, KEPT_BYTES_MAX),
    ] {
        // SAFETY: `mallopt` takes two numbers by value, may be called at any time, and refuses what it does not know.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// The smallest limit of the control groups that this process is in, given `/proc/self/cgroup`: version 2 has one line
/// `0::/path`, version 1 one with the controller's name.
fn group_limit(membership: &str, root: &Path) -> Option<u64> {
    let mut limits = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (base, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = base.join(group.trim_start_matches('/'));
        let folders = group.ancestors().take_while(|folder| folder.starts_with(&base));
        // No limit is `max` in version 2 and a huge number in version 1.
        limits.extend(
            folders
                .filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok()),
        );
    }
    limits.into_iter().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("a/b");
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("memory.max"), "max\n").unwrap();
        fs::write(root.path().join("a/memory.max"), "1000\n").unwrap();
        assert_eq!(group_limit("0::/a/b\n", root.path()), Some(1000));
        assert_eq!(group_limit("0::/\n", root.path()), None);
        assert_eq!(group_limit("4:cpu:/x\n", root.path()), None);
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(available_bytes().is_some_and(|bytes| bytes > 64 << 20));
    }
}
