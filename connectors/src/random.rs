//! Random numbers that depend on a key and a position alone, so that the value of any row can be had without those before it.

/// The step of SplitMix64's counter.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence of random numbers, any of which can be asked for.
#[derive(Debug, Clone, Copy)]
pub struct Sequence(u64);

impl Sequence {
    /// The sequence of a seed and a name: another for each of the two.
    pub fn named(seed: u64, name: &str) -> Self {
        Self(mix(seed ^ hash(name)))
    }

    /// The number at a position.
    #[inline]
    pub fn at(self, position: u64) -> u64 {
        mix(self.0.wrapping_add(position.wrapping_mul(STEP)))
    }
}

/// The finaliser of SplitMix64.
#[inline]
pub fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// One of `count` numbers from zero, by 32 random bits: a multiplication instead of a division.
#[inline]
pub fn below(random: u32, count: u32) -> u32 {
    ((u64::from(random) * u64::from(count)) >> 32) as u32
}

/// A number from zero up to one.
#[inline]
pub fn fraction(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 53) as f64
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_differ_by_seed_and_name() {
        let (a, b) = (Sequence::named(0, "price"), Sequence::named(0, "bidder"));
        assert_ne!(a.at(1), b.at(1));
        assert_ne!(a.at(1), Sequence::named(1, "price").at(1));
        assert_eq!(a.at(7), Sequence::named(0, "price").at(7));
    }

    #[test]
    fn numbers_below_a_bound_reach_all_of_them_and_no_more() {
        assert_eq!(below(u32::MAX, 10), 9);
        assert_eq!(below(0, 10), 0);
        let numbers = Sequence::named(3, "x");
        let mut counts = [0u32; 4];
        (0..4_000).for_each(|position| counts[below(numbers.at(position) as u32, 4) as usize] += 1);
        assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
    }
}
