//! Event time: how far it has come on one input, and on several together.

use serde::{Deserialize, Serialize};

/// No row that follows has this time or an earlier one (milliseconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Watermark(pub i64);

impl Watermark {
    /// After it comes nothing.
    pub const END: Watermark = Watermark(i64::MAX);

    /// The first time that a row may still have.
    pub fn open_from_ms(self) -> i64 {
        self.0.saturating_add(1)
    }
}

/// The watermark of several inputs read as one: the lowest of theirs.
#[derive(Debug)]
pub struct AlignedWatermark {
    inputs: Vec<Option<Watermark>>,
    last: Option<Watermark>,
}

impl AlignedWatermark {
    /// For so many inputs, none of which has said anything.
    pub fn new(inputs: usize) -> Self {
        Self { inputs: vec![None; inputs], last: None }
    }

    /// Takes the watermark of one input; returns that of all if it rose.
    pub fn advance(&mut self, input: usize, watermark: Watermark) -> Option<Watermark> {
        let known = self.inputs.get_mut(input)?;
        *known = (*known).max(Some(watermark));
        let lowest = self.inputs.iter().min().copied().flatten();
        if lowest <= self.last {
            return None;
        }
        self.last = lowest;
        lowest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_input_decides() {
        let mut aligned = AlignedWatermark::new(2);
        assert_eq!(aligned.advance(0, Watermark(10)), None, "the other has said nothing");
        assert_eq!(aligned.advance(1, Watermark(5)), Some(Watermark(5)));
        assert_eq!(aligned.advance(1, Watermark(3)), None, "it never goes back");
        assert_eq!(aligned.advance(1, Watermark::END), Some(Watermark(10)));
        assert_eq!(aligned.advance(0, Watermark::END), Some(Watermark::END));
    }
}
