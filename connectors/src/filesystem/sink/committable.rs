//! What one writer leaves for the commit.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thalweg_graph::table::Committable;

use crate::error::{Error, Result};

/// A finished file that is not visible yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// Where it is.
    pub staged: String,
    /// The folder of its partition below the table; empty where the table has none.
    pub partition: String,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// What a writer says of partitions with a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Those that are complete as far as it knows.
    pub announced: Vec<String>,
    /// Those of which it keeps rows that are not visible.
    pub kept: BTreeSet<String>,
    /// How far event time has come; `None` where nothing is known of it.
    pub reached_ms: Option<i64>,
    /// Whether nobody waits for its event time.
    pub idle: bool,
}

/// All files of one writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFiles {
    /// The staging folder of the sink, as [`super::staging`] names it.
    pub staging: String,
    /// The files.
    pub files: Vec<StagedFile>,
    /// Of a stream whose partitions are to be marked: which are complete.
    #[serde(default)]
    pub progress: Option<Progress>,
}

impl StagedFiles {
    /// As bytes for the job master.
    pub fn encode(&self) -> Result<Committable> {
        let bytes = serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Committable(bytes.into()))
    }

    /// Back from bytes.
    pub fn decode(committable: &Committable) -> Result<Self> {
        serde_json::from_slice(&committable.0)
            .map_err(|error| Error::Internal(format!("a committable cannot be decoded: {error}")))
    }
}
