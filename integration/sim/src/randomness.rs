//! Where random numbers come from: the seed of the thread, or the system on a thread without one.

use std::{cell::RefCell, fs::File, io::Read as _};

use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};

thread_local! {
    static OF_THREAD: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// Has all randomness of this thread come from a seed, also that of hash maps and of generators that are not made yet: so a thread lives one
/// life only.
pub fn seed_thread(seed: u64) {
    OF_THREAD.set(Some(StdRng::seed_from_u64(seed)));
}

/// A generator for a part of the simulation, which no other part's use of its own changes.
pub fn generator(seed: u64, of: &str) -> StdRng {
    // FNV-1a: the same on every machine.
    let hash = of.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    StdRng::seed_from_u64(seed ^ hash)
}

fn fill(bytes: &mut [u8]) -> bool {
    let seeded = OF_THREAD.try_with(|generator| {
        let mut generator = generator.try_borrow_mut().ok()?;
        generator.as_mut()?.fill_bytes(bytes);
        Some(())
    });
    matches!(seeded, Ok(Some(())))
        || File::open("/dev/urandom").and_then(|mut system| system.read_exact(bytes)).is_ok()
}

/// Takes the place of the C library's, which the standard library and `getrandom` call.
///
/// # Safety
/// As `getrandom(2)`: `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    if length == 0 {
        return 0;
    }
    if buffer.is_null() {
        return -1;
    }
    // SAFETY: the caller gives room for so many bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    if fill(bytes) { length as isize } else { -1 }
}
