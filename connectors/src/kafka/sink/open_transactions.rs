//! Open transactions of a cluster, for operators: which there are, and how to end those that no job will end any more.

use std::collections::BTreeMap;

use krafka::admin::DescribeTransactionsOptions;

use super::{
    super::{
        client::{Client, QUESTION_TIMEOUT, failed},
        properties::Properties,
    },
    commit::abort_open,
    ids,
    transactions::{OPEN_STATES, list},
};
use crate::error::Result;

/// A transaction of which nothing is decided. Readers of committed records wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTransaction {
    /// Its transactional id.
    pub id: String,
    /// What Kafka calls its state.
    pub state: String,
    /// When it was begun, in milliseconds since 1970, as far as the cluster tells.
    pub begun_ms: Option<i64>,
    /// Milliseconds after which Kafka aborts it.
    pub timeout_ms: u64,
    /// The partitions that it has written to: `topic-0`.
    pub partitions: Vec<String>,
}

/// A connection for an operator.
pub struct Operator {
    client: Client,
}

impl Operator {
    /// Connects to `servers` with the settings that a table has as `properties.*`.
    pub async fn connect(servers: &str, options: &BTreeMap<String, String>) -> Result<Self> {
        let client = Client::connect_to(servers, &Properties::of(options)?).await?;
        Ok(Self { client })
    }

    /// The open transactions of sinks with this `sink.transactional-id-prefix`; all of the cluster where none is given.
    pub async fn open_transactions(&self, prefix: Option<&str>) -> Result<Vec<OpenTransaction>> {
        let ids: Vec<String> = list(&self.client)
            .await?
            .into_iter()
            .filter(|(_, state)| OPEN_STATES.contains(&state.as_str()))
            .map(|(id, _)| id)
            .filter(|id| prefix.is_none_or(|prefix| ids::owner(prefix, id).is_some()))
            .collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let options = DescribeTransactionsOptions::default().timeout(QUESTION_TIMEOUT);
        let described = self.client.admin().describe_transactions(&ids, options).await;
        let described =
            described.map_err(|error| failed("ask for transactions at", &self.client.servers, error))?;
        let mut open: Vec<OpenTransaction> = described
            .into_iter()
            .filter_map(|(id, description)| Some((id, description.ok()?)))
            .map(|(id, description)| OpenTransaction {
                id,
                state: description.state,
                begun_ms: Some(description.start_time_ms).filter(|begun| *begun >= 0),
                timeout_ms: description.timeout.as_millis() as u64,
                partitions: description
                    .partitions
                    .iter()
                    .map(|partition| format!("{}-{}", partition.topic, partition.partition))
                    .collect(),
            })
            .collect();
        open.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(open)
    }

    /// Aborts the open transactions of sinks with this prefix: their rows are never seen. A job that still writes them fails. Returns their ids.
    pub async fn abort(&self, prefix: &str) -> Result<Vec<String>> {
        abort_open(&self.client, prefix).await
    }
}
