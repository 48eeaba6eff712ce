//! A transaction that is ready to be committed, as it stands in a checkpoint.

use serde::{Deserialize, Serialize};
use thalweg_graph::table::Committable;

use crate::error::{Error, Result};

/// What the committer needs of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// The transactional id.
    pub id: String,
    /// The producer id that Kafka gave for it.
    pub producer_id: i64,
    /// The producer's epoch: Kafka refuses those of older ones.
    pub producer_epoch: i16,
    /// Whether it speaks the second version of the protocol, in which an epoch holds one transaction.
    pub is_v2: bool,
    /// Its rows.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// One of its records: what became of it tells what became of the transaction, when Kafka has forgotten that.
    pub witness: Option<Witness>,
}

/// Where a record lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

impl Transaction {
    /// As bytes for the checkpoint.
    pub fn encode(&self) -> Result<Committable> {
        let bytes = serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Committable(bytes.into()))
    }

    /// Of a checkpoint's bytes.
    pub fn decode(committable: &Committable) -> Result<Self> {
        serde_json::from_slice(&committable.0).map_err(|error| {
            Error::Internal(format!("a transaction in a checkpoint cannot be read: {error}"))
        })
    }
}
