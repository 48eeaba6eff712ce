//! Random numbers: Java's generator, so that a seed gives the numbers that Flink gives.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array};
use datafusion::common::{Result, exec_err};

use crate::functions::argument::Call;

/// `RAND([seed])`
pub fn rand(call: &Call) -> Result<ArrayRef> {
    let mut random = generator(call, call.has(0))?;
    Ok(Arc::new(Float64Array::from_iter_values((0..call.rows).map(|_| random.double()))))
}

/// `RAND_INTEGER([seed,] bound)`
pub fn rand_integer(call: &Call) -> Result<ArrayRef> {
    let seeded = call.has(1);
    let bounds = call.integers(usize::from(seeded))?;
    let mut random = generator(call, seeded)?;
    let values = (0..call.rows).map(|row| match bounds.get(row) {
        None => Ok(None),
        Some(bound @ 1..=0x7FFF_FFFF) => Ok(Some(random.below(bound as i32))),
        Some(bound) => exec_err!("RAND_INTEGER needs a bound from 1 to 2147483647, not {bound}"),
    });
    Ok(Arc::new(values.collect::<Result<Int32Array>>()?))
}

fn generator(call: &Call, seeded: bool) -> Result<Random> {
    if !seeded || call.rows == 0 {
        return Ok(Random::new(rand::random()));
    }
    Ok(Random::new(call.integers(0)?.get(0).unwrap_or(0)))
}

/// The linear congruential generator that `java.util.Random` is documented to be.
struct Random(i64);

impl Random {
    fn new(seed: i64) -> Self {
        Self((seed ^ 0x5_DEEC_E66D) & ((1 << 48) - 1))
    }

    fn next(&mut self, bits: u32) -> i32 {
        self.0 = self.0.wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & ((1 << 48) - 1);
        (self.0 >> (48 - bits)) as i32
    }

    fn double(&mut self) -> f64 {
        let high = i64::from(self.next(26)) << 27;
        (high + i64::from(self.next(27))) as f64 / (1_i64 << 53) as f64
    }

    fn below(&mut self, bound: i32) -> i32 {
        if bound & (bound - 1) == 0 {
            return ((i64::from(bound) * i64::from(self.next(31))) >> 31) as i32;
        }
        loop {
            let bits = self.next(31);
            let value = bits % bound;
            if bits.wrapping_sub(value).wrapping_add(bound - 1) >= 0 {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_flinks_numbers() {
        assert_eq!(Random::new(5).double(), 0.730519863614471);
        assert_eq!(Random::new(10).below(100), 13);
        assert_eq!(Random::new(5).below(3), 2);
    }
}
