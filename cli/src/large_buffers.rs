//! Memory for buffers that are larger than what the heaps of the allocator are for: mapped by themselves, on huge pages where the system has such.
//!
//! The tables of a stream's state are read at random. On pages of 4 kB each row costs a walk through the system's page tables, and
//! a table that is made anew costs a fault for every page.

use std::alloc::{GlobalAlloc, Layout, System};

/// Smaller buffers come from a heap; glibc takes no higher threshold for what it maps by itself.
pub(crate) const MAPPED_BYTES_MIN: usize = 32 << 20;

/// The system's allocator, and large buffers mapped beside it.
pub struct LargeBuffers;

#[cfg(not(target_os = "linux"))]
// SAFETY: the system's allocator does everything.
unsafe impl GlobalAlloc for LargeBuffers {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, buffer: *mut u8, layout: Layout) {
        // SAFETY: as the caller says.
        unsafe { System.dealloc(buffer, layout) }
    }
}

#[cfg(target_os = "linux")]
mod mapped {
    use std::ptr::null_mut;

    /// Of a huge page on most machines; mappings are whole multiples of it, which the system then puts at such an address.
    const HUGE_PAGE_BYTES: usize = 2 << 20;
    /// A mapping begins at a page at the least.
    pub const PAGE_BYTES: usize = 4 << 10;

    fn rounded(bytes: usize) -> Option<usize> {
        bytes.checked_next_multiple_of(HUGE_PAGE_BYTES)
    }

    fn or_null(address: *mut libc::c_void) -> *mut u8 {
        if address == libc::MAP_FAILED { null_mut() } else { address.cast() }
    }

    /// New memory, all of it zero; null where there is none.
    pub fn map(bytes: usize) -> *mut u8 {
        let Some(bytes) = rounded(bytes) else { return null_mut() };
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping of no file, at an address that the system chooses, touches nothing that there is.
        let buffer = or_null(unsafe { libc::mmap(null_mut(), bytes, access, kind, -1, 0) });
        if !buffer.is_null() {
            // SAFETY: advice on a mapping that was just made; where the system does not take it, pages are small.
            unsafe { libc::madvise(buffer.cast(), bytes, libc::MADV_HUGEPAGE) };
        }
        buffer
    }

    /// The same memory with more room or less, perhaps at another address; null where there is none, and then it stays.
    ///
    /// # Safety
    /// `buffer` is one of `before` bytes from `map` or from here, and not used after this has given another.
    pub unsafe fn remap(buffer: *mut u8, before: usize, after: usize) -> *mut u8 {
        let (Some(before), Some(after)) = (rounded(before), rounded(after)) else { return null_mut() };
        if before == after {
            return buffer;
        }
        // SAFETY: the caller's promise; the advice on the mapping goes with it.
        or_null(unsafe { libc::mremap(buffer.cast(), before, after, libc::MREMAP_MAYMOVE) })
    }

    /// Gives memory back.
    ///
    /// # Safety
    /// `buffer` is one of so many bytes from `map` or `remap`, and not used any more.
    pub unsafe fn unmap(buffer: *mut u8, bytes: usize) {
        if let Some(bytes) = rounded(bytes) {
            // SAFETY: the caller's promise.
            unsafe { libc::munmap(buffer.cast(), bytes) };
        }
    }
}

#[cfg(target_os = "linux")]
fn is_mapped(bytes: usize, align: usize) -> bool {
    bytes >= MAPPED_BYTES_MIN && align <= mapped::PAGE_BYTES
}

// SAFETY: which of both allocators a buffer is of follows from its size and alignment, which are the same when it is given back.
#[cfg(target_os = "linux")]
unsafe impl GlobalAlloc for LargeBuffers {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout.size(), layout.align()) {
            return mapped::map(layout.size());
        }
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout.size(), layout.align()) {
            return mapped::map(layout.size());
        }
        // SAFETY: as the caller says.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, buffer: *mut u8, layout: Layout) {
        if is_mapped(layout.size(), layout.align()) {
            // SAFETY: a buffer of this size is from `map` or `remap`.
            return unsafe { mapped::unmap(buffer, layout.size()) };
        }
        // SAFETY: as the caller says.
        unsafe { System.dealloc(buffer, layout) }
    }

    unsafe fn realloc(&self, buffer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        match (is_mapped(layout.size(), layout.align()), is_mapped(bytes, layout.align())) {
            // SAFETY: a buffer of this size is from `map` or `remap`.
            (true, true) => unsafe { mapped::remap(buffer, layout.size(), bytes) },
            // SAFETY: as the caller says.
            (false, false) => unsafe { System.realloc(buffer, layout, bytes) },
            // SAFETY: the caller's promise that `bytes` does not overflow when rounded up to the alignment; both buffers hold what is copied.
            _ => unsafe {
                let moved = self.alloc(Layout::from_size_align_unchecked(bytes, layout.align()));
                if !moved.is_null() {
                    std::ptr::copy_nonoverlapping(buffer, moved, layout.size().min(bytes));
                    self.dealloc(buffer, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_keeps_what_is_in_it_when_it_grows_and_shrinks() {
        let sizes =
            [1 << 20, MAPPED_BYTES_MIN - 1, MAPPED_BYTES_MIN, 100 << 20, (100 << 20) + 5, 40 << 20, 1 << 10];
        let layout = |bytes| Layout::from_size_align(bytes, 64).unwrap();
        // SAFETY: a buffer is used within its size and given back with the layout that it has then.
        unsafe {
            let mut buffer = LargeBuffers.alloc(layout(sizes[0]));
            for at in 0..1 << 10 {
                buffer.add(at).write(at as u8);
            }
            for pair in sizes.windows(2) {
                buffer = LargeBuffers.realloc(buffer, layout(pair[0]), pair[1]);
                assert!(!buffer.is_null() && buffer.addr() % 64 == 0);
                buffer.add(pair[1] - 1).write(1);
                assert!((0..1000).all(|at| buffer.add(at).read() == at as u8), "{pair:?}");
            }
            LargeBuffers.dealloc(buffer, layout(sizes[sizes.len() - 1]));
        }
    }

    #[test]
    fn memory_that_is_to_be_zero_is() {
        let layout = Layout::from_size_align(MAPPED_BYTES_MIN + 1, 8).unwrap();
        // SAFETY: a buffer is used within its size and given back with its layout.
        unsafe {
            let buffer = LargeBuffers.alloc_zeroed(layout);
            assert!((0..=MAPPED_BYTES_MIN).step_by(1 << 10).all(|at| buffer.add(at).read() == 0));
            LargeBuffers.dealloc(buffer, layout);
        }
    }
}
