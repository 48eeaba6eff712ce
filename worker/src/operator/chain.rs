//! A vertex's operators in a row: what comes in passes all of them.

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::error::Result;

use super::{
    late_rows::LateOutput,
    link::{Element, Next, Operator, PairOperator, Side, SplitChange},
};
use crate::{
    state::{Restored, Snapshot},
    watermark::Watermark,
};

/// Operators in a row, behind one of two inputs where the vertex has such.
pub struct Chain {
    pub(super) pair: Option<(String, Box<dyn PairOperator>)>,
    /// Each with the name of its state.
    pub(super) uids: Vec<String>,
    pub(super) operators: Vec<Box<dyn Operator>>,
    pub(super) schema: SchemaRef,
    /// Where rows go that come too late for any of them, if anybody wants them.
    pub(super) late: Option<LateOutput>,
}

impl Chain {
    /// The columns of what comes out.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Takes rows; puts what follows from them into `out`.
    pub fn rows(&mut self, side: Side, batch: RecordBatch, out: &mut Vec<Element>) -> Result<()> {
        let mut next = Next::new(&mut self.operators, out);
        match &mut self.pair {
            Some((_, pair)) => pair.rows(side, batch, &mut next),
            None => next.rows(batch),
        }
    }

    /// Takes a watermark; puts what follows from it into `out`.
    pub fn watermark(&mut self, watermark: Watermark, out: &mut Vec<Element>) -> Result<()> {
        let mut next = Next::new(&mut self.operators, out);
        match &mut self.pair {
            Some((_, pair)) => pair.watermark(watermark, &mut next),
            None => next.watermark(watermark),
        }
    }

    /// Takes note that nothing is said about event time for the time being.
    pub fn idle(&mut self, out: &mut Vec<Element>) -> Result<()> {
        Next::new(&mut self.operators, out).idle()
    }

    /// Tells all operators of a change of splits.
    pub fn split(&mut self, split: SplitChange, out: &mut Vec<Element>) -> Result<()> {
        self.each(out, |operator, next| operator.split(split, next))
    }

    /// Puts what operators hold back, and need not keep at a barrier, into `out`.
    pub fn before_barrier(&mut self, out: &mut Vec<Element>) -> Result<()> {
        self.each(out, |operator, next| operator.before_barrier(next))
    }

    /// Whether an operator wants no more rows.
    pub fn is_over(&self) -> bool {
        self.operators.iter().any(|operator| operator.is_over())
    }

    /// Rows that have come too late for any of the operators.
    pub fn late_rows(&self) -> u64 {
        let pair = self.pair.as_ref().map_or(0, |(_, pair)| pair.late_rows());
        pair + self.operators.iter().map(|operator| operator.late_rows()).sum::<u64>()
    }

    /// Those of them since the last call, for the table that is to have them.
    pub fn take_late(&self) -> Vec<RecordBatch> {
        self.late.as_ref().map(LateOutput::take).unwrap_or_default()
    }

    /// When an operator wants to be woken next.
    pub fn wake_at_ms(&self) -> Option<i64> {
        self.operators.iter().filter_map(|operator| operator.wake_at_ms()).min()
    }

    /// Wakes the operators whose time has come.
    pub fn wake(&mut self, now_ms: i64, out: &mut Vec<Element>) -> Result<()> {
        self.each(out, |operator, next| match operator.wake_at_ms() {
            Some(at_ms) if at_ms <= now_ms => operator.wake(now_ms, next),
            _ => Ok(()),
        })
    }

    /// The state of each operator, by its name; the first one first.
    pub fn snapshot(&mut self) -> Result<Vec<(String, Snapshot)>> {
        let mut states = Vec::with_capacity(self.operators.len() + 1);
        if let Some((uid, pair)) = &mut self.pair {
            states.push((uid.clone(), pair.snapshot()?));
        }
        for (uid, operator) in self.uids.iter().zip(&mut self.operators) {
            states.push((uid.clone(), operator.snapshot()?));
        }
        Ok(states)
    }

    /// The names of the operators' states. What has none has no name.
    pub fn uids(&self) -> impl Iterator<Item = &str> {
        let uids = self.pair.iter().map(|(uid, _)| uid.as_str()).chain(self.uids.iter().map(String::as_str));
        uids.filter(|uid| !uid.is_empty())
    }

    /// The names of the operators that take their state back a chunk at a time.
    pub fn uids_in_parts(&self) -> impl Iterator<Item = &str> {
        let pair =
            self.pair.iter().filter(|(_, pair)| pair.takes_state_in_parts()).map(|(uid, _)| uid.as_str());
        let operators = self.uids.iter().zip(&self.operators);
        let operators = operators.filter(|(_, operator)| operator.takes_state_in_parts());
        pair.chain(operators.map(|(uid, _)| uid.as_str()))
    }

    /// Gives one of these a part of its state back.
    pub fn restore_part(&mut self, uid: &str, part: Restored) -> Result<()> {
        if let Some((_, pair)) = self.pair.as_mut().filter(|(known, _)| known == uid) {
            return pair.restore(part);
        }
        match self.uids.iter().position(|known| known == uid) {
            Some(at) => self.operators[at].restore(part),
            None => Ok(()),
        }
    }

    /// Gives each operator its state back, by its name.
    pub fn restore(&mut self, mut restored: impl FnMut(&str) -> Restored) -> Result<()> {
        if let Some((uid, pair)) = &mut self.pair {
            pair.restore(restored(uid))?;
        }
        self.uids
            .iter()
            .zip(&mut self.operators)
            .try_for_each(|(uid, operator)| operator.restore(restored(uid)))
    }

    /// Calls each operator, the first one first, so that what one hands on has passed the next before that is called.
    fn each(
        &mut self,
        out: &mut Vec<Element>,
        mut call: impl FnMut(&mut dyn Operator, &mut Next<'_>) -> Result<()>,
    ) -> Result<()> {
        for at in 0..self.operators.len() {
            let (upto, rest) = self.operators.split_at_mut(at + 1);
            call(upto[at].as_mut(), &mut Next::new(rest, out))?;
        }
        Ok(())
    }
}
