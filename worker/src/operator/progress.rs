//! How far an operator of windows has come.

use arrow::array::RecordBatch;
use bytes::Bytes;
use datafusion::error::Result;
use serde::{Deserialize, Serialize};

use super::late_rows::LateRows;
use crate::{state::decode_value, watermark::Watermark};

/// What an operator of windows keeps besides rows.
#[derive(Debug, Serialize, Deserialize)]
pub struct Progress {
    /// Windows that end here or before are out.
    pub fired_ms: i64,
    /// Rows that came too late.
    pub late: u64,
    /// Those of them that came before the state was taken back.
    #[serde(skip)]
    late_before: u64,
    /// Where they go, if anybody wants them.
    #[serde(skip)]
    late_to: Option<LateRows>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { fired_ms: i64::MIN, late: 0, late_before: 0, late_to: None }
    }
}

impl Progress {
    /// Takes back that of the subtasks whose key groups these were. Where inputs were idle their watermarks differ at a barrier, by the order in
    /// which each has heard of its inputs: what the last of them has not let out is still to come out.
    pub fn restore(&mut self, values: &[Bytes]) -> Result<()> {
        let mut fired_ms = None;
        for value in values {
            let restored: Progress = decode_value(value)?;
            fired_ms = Some(fired_ms.map_or(restored.fired_ms, |known: i64| known.min(restored.fired_ms)));
            self.late += restored.late;
        }
        self.fired_ms = fired_ms.unwrap_or(self.fired_ms);
        self.late_before = self.late;
        Ok(())
    }

    /// From now on somebody wants the rows that come too late.
    pub fn hand_on_late(&mut self, to: LateRows) {
        self.late_to = Some(to);
    }

    /// Leaves rows out that came too late by their column `time`: counts them, and hands them on where somebody wants them.
    pub fn leave_out(&mut self, rows: &RecordBatch, time: usize) -> Result<()> {
        self.late += rows.num_rows() as u64;
        match &self.late_to {
            Some(late) => late.hand_on(rows, time, self.fired_ms),
            None => Ok(()),
        }
    }

    /// Rows that came too late since it was made.
    pub fn late_rows(&self) -> u64 {
        self.late - self.late_before
    }

    /// Event time has come so far.
    pub fn advance(&mut self, watermark: Watermark) {
        self.fired_ms = self.fired_ms.max(watermark.0);
        if watermark == Watermark::END {
            self.tell_late();
        }
    }

    /// Says in the log that rows were left out.
    pub fn tell_late(&self) {
        if self.late > 0 {
            tracing::warn!(
                rows = self.late,
                "rows came after what they belong to was complete and were left out"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::encode_value;

    #[test]
    fn what_one_subtask_has_not_let_out_is_still_to_come() {
        let value = |fired_ms, late| encode_value(&Progress { fired_ms, late, ..Progress::default() });
        let mut progress = Progress::default();
        progress.restore(&[value(385, 1), value(360, 2)]).unwrap();
        assert_eq!((progress.fired_ms, progress.late, progress.late_rows()), (360, 3, 0));
    }
}
