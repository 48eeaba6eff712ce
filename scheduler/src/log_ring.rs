//! The newest lines of this process's log, in memory, for those who read them over REST. The log itself goes wherever the process that
//! was started with it writes it; a file of its own would have to be found, rotated and kept readable, and containers have none.

use std::{collections::VecDeque, io, sync::Arc};

use parking_lot::Mutex;

use crate::clock::Timestamp;

/// Bytes that are kept.
const BYTES_MAX: usize = 1 << 20;

/// A cheap clone of one ring, written to as lines come.
#[derive(Debug, Clone, Default)]
pub struct LogRing(Arc<Mutex<Ring>>);

#[derive(Debug, Default)]
struct Ring {
    bytes: VecDeque<u8>,
    changed: Option<Timestamp>,
}

impl LogRing {
    /// What is kept, oldest line first.
    pub fn contents(&self) -> Vec<u8> {
        let ring = self.0.lock();
        let (front, back) = ring.bytes.as_slices();
        [front, back].concat()
    }

    /// Bytes that are kept.
    pub fn size(&self) -> usize {
        self.0.lock().bytes.len()
    }

    /// When the newest line came.
    pub fn changed(&self) -> Option<Timestamp> {
        self.0.lock().changed
    }
}

impl io::Write for LogRing {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut ring = self.0.lock();
        ring.changed = Some(Timestamp::wall());
        let kept = &line[line.len().saturating_sub(BYTES_MAX)..];
        ring.bytes.extend(kept);
        let excess = ring.bytes.len().saturating_sub(BYTES_MAX);
        if excess > 0 {
            // Whole lines go.
            let end = ring.bytes.range(excess..).position(|byte| *byte == b'\n');
            let cut = end.map_or(excess, |end| excess + end + 1);
            ring.bytes.drain(..cut);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_newest_lines_are_kept_whole() {
        let mut ring = LogRing::default();
        assert_eq!((ring.size(), ring.changed()), (0, None));
        for number in 0..200_000 {
            writeln!(ring, "line {number}").unwrap();
        }
        assert!(ring.size() <= BYTES_MAX && ring.size() > BYTES_MAX - 100, "{}", ring.size());
        let text = String::from_utf8(ring.contents()).unwrap();
        assert!(text.starts_with("line ") && text.ends_with("line 199999\n"));
        assert!(ring.changed().is_some());
    }

    #[test]
    fn a_line_longer_than_all_that_is_kept_is_cut() {
        let mut ring = LogRing::default();
        ring.write_all(&vec![b'x'; 3 * BYTES_MAX]).unwrap();
        assert_eq!(ring.size(), BYTES_MAX);
    }
}
