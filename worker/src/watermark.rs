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

/// How event time moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeChange {
    /// It has come so far.
    Advanced(Watermark),
    /// Nobody says anything about it for the time being: whoever waits for several inputs does not wait for this one.
    Idle,
}

/// The watermark of several inputs read as one: the lowest of those that are not idle.
#[derive(Debug)]
pub struct AlignedWatermark {
    inputs: Vec<Input>,
    last: Option<Watermark>,
    idle: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Input {
    watermark: Option<Watermark>,
    idle: bool,
}

impl AlignedWatermark {
    /// For so many inputs, none of which has said anything.
    pub fn new(inputs: usize) -> Self {
        Self { inputs: vec![Input::default(); inputs], last: None, idle: false }
    }

    /// Adds an input that has said nothing; returns its number.
    pub fn add(&mut self) -> usize {
        self.inputs.push(Input::default());
        self.inputs.len() - 1
    }

    /// Takes the watermark of one input; returns what follows for all.
    pub fn advance(&mut self, input: usize, watermark: Watermark) -> Option<TimeChange> {
        let known = self.inputs.get_mut(input)?;
        known.watermark = known.watermark.max(Some(watermark));
        known.idle = false;
        self.changed()
    }

    /// An input has something to say again.
    pub fn active(&mut self, input: usize) {
        if let Some(known) = self.inputs.get_mut(input) {
            known.idle = false;
            self.idle = false;
        }
    }

    /// An input says nothing for the time being; returns what follows for all.
    pub fn idle(&mut self, input: usize) -> Option<TimeChange> {
        self.inputs.get_mut(input)?.idle = true;
        self.changed()
    }

    fn changed(&mut self) -> Option<TimeChange> {
        // An input that has ended does not keep the others from being idle.
        let open = |input: &&Input| input.watermark != Some(Watermark::END);
        let mut waiting = self.inputs.iter().filter(open).peekable();
        let ended = waiting.peek().is_none();
        let lowest = match ended {
            true => Some(Some(Watermark::END)),
            false => waiting.filter(|input| !input.idle).map(|input| input.watermark).min(),
        };
        let Some(lowest) = lowest else {
            return (!std::mem::replace(&mut self.idle, true)).then_some(TimeChange::Idle);
        };
        self.idle = false;
        if lowest <= self.last {
            return None;
        }
        self.last = lowest;
        lowest.map(TimeChange::Advanced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(ms: i64) -> Option<TimeChange> {
        Some(TimeChange::Advanced(Watermark(ms)))
    }

    #[test]
    fn the_slowest_input_decides() {
        let mut aligned = AlignedWatermark::new(2);
        assert_eq!(aligned.advance(0, Watermark(10)), None, "the other has said nothing");
        assert_eq!(aligned.advance(1, Watermark(5)), to(5));
        assert_eq!(aligned.advance(1, Watermark(3)), None, "it never goes back");
        assert_eq!(aligned.advance(1, Watermark::END), to(10));
        assert_eq!(aligned.advance(0, Watermark::END), Some(TimeChange::Advanced(Watermark::END)));
    }

    #[test]
    fn nobody_waits_for_an_idle_input() {
        let mut aligned = AlignedWatermark::new(2);
        assert_eq!(aligned.idle(1), None, "the other one has said nothing and is not idle");
        assert_eq!(aligned.advance(0, Watermark(7)), to(7));
        assert_eq!(aligned.advance(1, Watermark(3)), None, "it is back, and late: time does not go back");
        assert_eq!(aligned.advance(0, Watermark(9)), None, "it is waited for again");
        assert_eq!(aligned.idle(1), to(9));
        assert_eq!(aligned.idle(0), Some(TimeChange::Idle));
        assert_eq!(aligned.idle(0), None, "that was said");
        assert_eq!(aligned.advance(0, Watermark(11)), to(11));
        assert_eq!(aligned.advance(0, Watermark::END), Some(TimeChange::Idle), "only an idle one is left");
        assert_eq!(aligned.advance(1, Watermark::END), Some(TimeChange::Advanced(Watermark::END)));
    }
}
