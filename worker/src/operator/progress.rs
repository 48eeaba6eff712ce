//! How far an operator of windows has come.

use bytes::Bytes;
use datafusion::error::Result;
use serde::{Deserialize, Serialize};

use crate::state::decode_value;

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
}

impl Default for Progress {
    fn default() -> Self {
        Self { fired_ms: i64::MIN, late: 0, late_before: 0 }
    }
}

impl Progress {
    /// Takes back that of a subtask that there was. All have seen the same watermarks before the same barrier.
    pub fn restore(&mut self, values: &[Bytes]) -> Result<()> {
        for value in values {
            let Progress { fired_ms, late, .. } = decode_value(value)?;
            self.fired_ms = self.fired_ms.max(fired_ms);
            self.late += late;
        }
        self.late_before = self.late;
        Ok(())
    }

    /// Rows that came too late since it was made.
    pub fn late_rows(&self) -> u64 {
        self.late - self.late_before
    }

    /// Says in the log that rows were left out.
    pub fn tell_late(&self) {
        if self.late > 0 {
            tracing::warn!(rows = self.late, "rows came after their windows were complete and were left out");
        }
    }
}
