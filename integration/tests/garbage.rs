//! Bytes that nobody sent on purpose, given to everything that decodes what others send: the data plane's frames, the session between JobManager
//! and worker, and SQL. Nothing may panic, hang, or take memory for what was only announced. `PROPTEST_CASES=1000000` looks longer
//! (`make fuzz`); what fails is kept in `proptest-regressions` and tried first from then on.

mod exchange;
mod session;
mod sql;

use proptest::{collection::vec, prelude::*, sample::Index};

/// One thing that is done to bytes.
#[derive(Debug, Clone)]
pub enum Change {
    /// Some bits of a byte are turned.
    Flip(Index, u8),
    /// Bytes come in between.
    Insert(Index, Vec<u8>),
    /// Bytes are written over others.
    Overwrite(Index, Vec<u8>),
    /// Bytes go.
    Remove(Index, u8),
    /// Bytes come twice.
    Repeat(Index, u8),
    /// The end is missing.
    Cut(Index),
}

/// A few changes.
pub fn changes() -> impl Strategy<Value = Vec<Change>> {
    // What lengths and numbers are cut at.
    let border = prop::sample::select(vec![
        vec![0_u8; 4],
        vec![0xff; 4],
        vec![0xff; 16],
        vec![0x7f, 0xff, 0xff, 0xff],
        vec![0, 0, 0, 0x40],
        vec![0x80; 10],
    ]);
    let bytes = prop_oneof![vec(any::<u8>(), 1..20), border];
    let change = prop_oneof![
        (any::<Index>(), 1..=u8::MAX).prop_map(|(at, bits)| Change::Flip(at, bits)),
        (any::<Index>(), bytes.clone()).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<Index>(), bytes).prop_map(|(at, bytes)| Change::Overwrite(at, bytes)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, count)| Change::Repeat(at, count)),
        any::<Index>().prop_map(Change::Cut),
    ];
    vec(change, 0..6)
}

/// The bytes with the changes done to them, one after another.
pub fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes {
        let at = |index: &Index| index.index(bytes.len() + 1);
        match change {
            Change::Flip(index, bits) if !bytes.is_empty() => {
                let at = index.index(bytes.len());
                bytes[at] ^= bits;
            }
            Change::Flip(..) => {}
            Change::Insert(index, more) => {
                let at = at(index);
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Overwrite(index, others) => {
                let at = at(index);
                let end = (at + others.len()).min(bytes.len());
                bytes.splice(at..end, others.iter().copied());
            }
            Change::Remove(index, count) => {
                let at = at(index);
                let end = (at + usize::from(*count)).min(bytes.len());
                bytes.drain(at..end);
            }
            Change::Repeat(index, count) => {
                let at = at(index);
                let end = (at + usize::from(*count)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            Change::Cut(index) => {
                let at = at(index);
                bytes.truncate(at);
            }
        }
    }
    bytes
}
