//! Splits: the parts of a source that are dealt to its subtasks.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One part of a source: for files, a range of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// What it is, for people: `hdfs://nn/warehouse/t/part-0.parquet[0..134217728]`.
    pub display: String,
    /// What the source reader is given; for files a `datafusion-proto` `PartitionedFile`.
    pub descriptor: Bytes,
    /// About how many bytes reading it moves.
    pub size_bytes: u64,
    /// Hosts that have the data on their own disks; empty where that means nothing.
    pub hosts: Vec<String>,
}

/// The splits of one scan in a fragment, dealt to the fragment's partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSplits {
    /// Which scan of the fragment: the position among its file scans, depth first.
    pub scan: u32,
    /// The table or path, for people.
    pub table: String,
    /// Splits for each partition of the scan.
    pub partitions: Vec<Vec<Split>>,
}

impl SourceSplits {
    /// The hosts that hold the most bytes of one partition, best first.
    pub fn preferred_hosts(&self, partition: usize) -> Vec<String> {
        let mut bytes_by_host = std::collections::BTreeMap::<&str, u64>::new();
        for split in self.partitions.get(partition).into_iter().flatten() {
            for host in &split.hosts {
                *bytes_by_host.entry(host).or_default() += split.size_bytes;
            }
        }
        let mut hosts: Vec<_> = bytes_by_host.into_iter().collect();
        hosts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        hosts.into_iter().take(3).map(|(host, _)| host.to_owned()).collect()
    }
}
