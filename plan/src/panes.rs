//! Windows of a fixed shape as unions of panes: the longest ranges of time that no window's border cuts.
//!
//! Rows are aggregated by pane and panes merged to windows, so that a row is touched once however many windows it is in
//! ("No Pane, No Gain", Li et al., SIGMOD Record 34(1), 2005). All times are milliseconds; borders are `[start, end)`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How windows follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WindowShape {
    /// One after the other.
    Tumble {
        /// Their length.
        size_ms: i64,
    },
    /// One starts every `slide_ms`.
    Hop {
        /// From start to start.
        slide_ms: i64,
        /// Their length.
        size_ms: i64,
    },
    /// Each starts with the others of its `max_size_ms` and ends `step_ms` after the one before.
    Cumulate {
        /// From end to end.
        step_ms: i64,
        /// The length of the longest.
        max_size_ms: i64,
    },
}

/// One of the columns that a window gives its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WindowBound {
    /// `window_start`
    Start,
    /// `window_end`, the first millisecond that is not in it.
    End,
    /// `window_time`, the last millisecond that is.
    Time,
}

/// Windows and their panes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Panes {
    /// The windows.
    pub shape: WindowShape,
    /// Where one of them starts.
    pub offset_ms: i64,
}

impl fmt::Display for Panes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shape {
            WindowShape::Tumble { size_ms } => write!(f, "TUMBLE(size={size_ms} ms")?,
            WindowShape::Hop { slide_ms, size_ms } => {
                write!(f, "HOP(slide={slide_ms} ms, size={size_ms} ms")?
            }
            WindowShape::Cumulate { step_ms, max_size_ms } => {
                write!(f, "CUMULATE(step={step_ms} ms, size={max_size_ms} ms")?;
            }
        }
        if self.offset_ms == 0 { f.write_str(")") } else { write!(f, ", offset={} ms)", self.offset_ms) }
    }
}

impl Panes {
    /// The length of a pane.
    pub fn pane_ms(&self) -> i64 {
        match self.shape {
            WindowShape::Tumble { size_ms } => size_ms,
            WindowShape::Hop { slide_ms, size_ms } => greatest_common_divisor(slide_ms, size_ms),
            WindowShape::Cumulate { step_ms, .. } => step_ms,
        }
    }

    /// Where the pane of a time starts.
    pub fn pane_start(&self, time_ms: i64) -> i64 {
        self.floor(time_ms, self.pane_ms())
    }

    /// The ends of all windows that a pane is in, ascending; none where it lies between two windows.
    pub fn window_ends(&self, pane_start_ms: i64) -> impl Iterator<Item = i64> + use<> {
        let (first, last, step) = match self.shape {
            WindowShape::Tumble { size_ms } => (pane_start_ms + size_ms, pane_start_ms + size_ms, size_ms),
            WindowShape::Hop { slide_ms, size_ms } => {
                let last_start = self.floor(pane_start_ms, slide_ms);
                let before = pane_start_ms + self.pane_ms() - size_ms;
                // The first start that is not before the pane's end less the size.
                let first_start = self.floor(before + slide_ms - 1, slide_ms);
                (first_start + size_ms, last_start + size_ms, slide_ms)
            }
            WindowShape::Cumulate { step_ms, max_size_ms } => {
                (pane_start_ms + step_ms, self.floor(pane_start_ms, max_size_ms) + max_size_ms, step_ms)
            }
        };
        (0..).map(move |n| first + n * step).take_while(move |end| *end <= last)
    }

    /// The end of the last window that a pane is in.
    pub fn last_window_end(&self, pane_start_ms: i64) -> Option<i64> {
        let last = match self.shape {
            WindowShape::Tumble { size_ms } => pane_start_ms + size_ms,
            WindowShape::Hop { slide_ms, size_ms } => self.floor(pane_start_ms, slide_ms) + size_ms,
            WindowShape::Cumulate { max_size_ms, .. } => self.floor(pane_start_ms, max_size_ms) + max_size_ms,
        };
        (last > pane_start_ms).then_some(last)
    }

    /// Where the window with this end starts.
    pub fn window_start(&self, end_ms: i64) -> i64 {
        match self.shape {
            WindowShape::Tumble { size_ms } | WindowShape::Hop { size_ms, .. } => end_ms - size_ms,
            WindowShape::Cumulate { max_size_ms, .. } => self.floor(end_ms - 1, max_size_ms),
        }
    }

    fn floor(&self, time_ms: i64, unit_ms: i64) -> i64 {
        (time_ms - self.offset_ms).div_euclid(unit_ms) * unit_ms + self.offset_ms
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shapes() -> impl Strategy<Value = WindowShape> {
        prop_oneof![
            (1i64..20).prop_map(|size_ms| WindowShape::Tumble { size_ms }),
            (1i64..20, 1i64..20).prop_map(|(slide_ms, size_ms)| WindowShape::Hop { slide_ms, size_ms }),
            (1i64..10, 1i64..5)
                .prop_map(|(step_ms, steps)| WindowShape::Cumulate { step_ms, max_size_ms: step_ms * steps }),
        ]
    }

    /// The windows of a time by their definition alone: try every end nearby.
    fn ends_by_definition(panes: &Panes, time: i64) -> Vec<i64> {
        let is_end = |end: i64| match panes.shape {
            WindowShape::Tumble { size_ms } => (end - panes.offset_ms).rem_euclid(size_ms) == 0,
            WindowShape::Hop { slide_ms, size_ms } => {
                (end - size_ms - panes.offset_ms).rem_euclid(slide_ms) == 0
            }
            WindowShape::Cumulate { step_ms, .. } => (end - panes.offset_ms).rem_euclid(step_ms) == 0,
        };
        let start = |end: i64| match panes.shape {
            WindowShape::Tumble { size_ms } | WindowShape::Hop { size_ms, .. } => end - size_ms,
            WindowShape::Cumulate { max_size_ms, .. } => {
                end - 1 - (end - 1 - panes.offset_ms).rem_euclid(max_size_ms)
            }
        };
        (time + 1..time + 101).filter(|end| is_end(*end) && start(*end) <= time).collect()
    }

    proptest! {
        #[test]
        fn a_time_is_in_the_windows_of_its_pane(shape in shapes(), offset_ms in -30i64..30, time in -200i64..200) {
            let panes = Panes { shape, offset_ms };
            let pane = panes.pane_start(time);
            prop_assert!(pane <= time && time < pane + panes.pane_ms());
            let ends: Vec<i64> = panes.window_ends(pane).collect();
            prop_assert_eq!(&ends, &ends_by_definition(&panes, time));
            prop_assert_eq!(panes.last_window_end(pane).filter(|end| *end > time), ends.last().copied());
            for end in ends {
                prop_assert!(panes.window_start(end) <= pane && pane + panes.pane_ms() <= end);
            }
        }
    }
}
