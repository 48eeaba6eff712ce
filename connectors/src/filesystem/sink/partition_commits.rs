//! When the partitions of a stream's table are complete: by the clock, or when event time has passed them.
//!
//! A writer announces a partition at every barrier behind that time until it finds it marked. Whoever commits marks it when no writer keeps rows
//! of it and event time has passed it in all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{committable::Progress, manifest::folder_of, rolling::now_ms};
use crate::{error::Result, file_system::FileSystem, filesystem::options::PartitionCommit};

/// A writer's partitions that are not known to be marked.
pub struct PartitionCommits {
    commit: PartitionCommit,
    success_file: String,
    /// Each with when its first row came, in milliseconds since 1970.
    pub open: BTreeMap<String, i64>,
    reached_ms: Option<i64>,
    idle: bool,
}

impl PartitionCommits {
    /// None are open.
    pub fn new(commit: PartitionCommit, success_file: String) -> Self {
        Self { commit, success_file, open: BTreeMap::new(), reached_ms: None, idle: false }
    }

    /// Rows of a partition come.
    pub fn note(&mut self, partition: &str) -> Result<()> {
        if !self.open.contains_key(partition) {
            // A name that stands for no time is told now, not when nobody expects it any more.
            self.commit.ends_at_ms(partition, 0)?;
            self.open.insert(partition.to_owned(), now_ms());
        }
        Ok(())
    }

    /// Event time has come so far; `None` where nothing is said about it for the time being.
    pub fn event_time(&mut self, reached_ms: Option<i64>) {
        self.idle = reached_ms.is_none();
        self.reached_ms = reached_ms.or(self.reached_ms);
    }

    /// The partitions that are complete and not marked; all of them where nothing more comes.
    pub async fn complete(
        &mut self,
        all: bool,
        file_system: &dyn FileSystem,
        table_path: &str,
    ) -> Result<Vec<String>> {
        let mut complete = Vec::new();
        for (partition, since_ms) in self.open.clone() {
            if !all && !self.commit.is_past(&partition, since_ms, self.reached_ms)? {
                continue;
            }
            let folder = folder_of(table_path, &partition);
            match file_system.status(&format!("{folder}/{}", self.success_file)).await? {
                // Rows that come late are written like any others.
                Some(_) => drop(self.open.remove(&partition)),
                None => complete.push(partition),
            }
        }
        Ok(complete)
    }

    /// What to say with a checkpoint.
    pub fn progress(&self, announced: Vec<String>, kept: BTreeSet<String>) -> Progress {
        Progress { announced, kept, reached_ms: self.reached_ms, idle: self.idle }
    }
}

impl PartitionCommit {
    /// When a partition is complete: by event time, or by the clock, counted from its first row.
    fn ends_at_ms(&self, partition: &str, since_ms: i64) -> Result<Option<i64>> {
        let begins_ms = match &self.time {
            Some(time) => time.of_folder(partition)?,
            None => Some(since_ms),
        };
        Ok(begins_ms.map(|begins_ms| begins_ms.saturating_add(self.delay.as_millis() as i64)))
    }

    fn is_past(&self, partition: &str, since_ms: i64, reached_ms: Option<i64>) -> Result<bool> {
        let ends_at_ms = self.ends_at_ms(partition, since_ms)?;
        // A partition of rows without a time is complete when everything is.
        let now_ms = if self.time.is_some() { reached_ms } else { Some(now_ms()) };
        Ok(match (ends_at_ms, now_ms) {
            (Some(ends_at_ms), Some(now_ms)) => now_ms > ends_at_ms,
            (None, Some(now_ms)) => now_ms == i64::MAX,
            (_, None) => false,
        })
    }
}

/// Whether a partition that one writer has announced is complete by what all of them say with a checkpoint.
pub fn is_complete(commit: &PartitionCommit, partition: &str, progress: &[Progress]) -> Result<bool> {
    let awaited = progress.iter().filter(|writer| !writer.idle).map(|writer| writer.reached_ms);
    let reached_ms = awaited.min().unwrap_or(Some(i64::MAX));
    let is_kept = progress.iter().any(|writer| writer.kept.contains(partition));
    Ok(!is_kept && (commit.time.is_none() || commit.is_past(partition, 0, reached_ms)?))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use thalweg_graph::table::{TableDescriptor, TablePath};

    use super::*;
    use crate::{filesystem::partition_time::PartitionTime, options::TableOptions};

    fn by_day() -> PartitionCommit {
        let text = |text: &str| text.to_owned();
        let table = TableDescriptor {
            path: TablePath { catalog: text("c"), database: text("d"), table: text("t") },
            columns: Vec::new(),
            metadata: Vec::new(),
            partition_keys: vec![text("day")],
            primary_key: Vec::new(),
            options: BTreeMap::new(),
        };
        let time = PartitionTime::of(&table, TableOptions(&BTreeMap::new()), "none").unwrap();
        PartitionCommit { time: Some(time), delay: Duration::from_secs(86_400) }
    }

    fn writer(announced: &[&str], kept: &[&str], reached_ms: Option<i64>, idle: bool) -> Progress {
        let text = |name: &&str| (*name).to_owned();
        Progress {
            announced: announced.iter().map(text).collect(),
            kept: kept.iter().map(text).collect(),
            reached_ms,
            idle,
        }
    }

    #[test]
    fn a_partition_is_complete_when_it_is_for_all_writers() {
        const DAY: &str = "day=1970-01-02";
        // The third day begins.
        let past = Some(2 * 86_400_000 + 1);
        let is_complete = |other: Progress| {
            is_complete(&by_day(), DAY, &[writer(&[DAY], &[], past, false), other]).unwrap()
        };
        assert!(is_complete(writer(&[], &[], past, false)));
        assert!(
            !is_complete(writer(&[], &[], Some(2 * 86_400_000), false)),
            "event time is not past it there"
        );
        assert!(!is_complete(writer(&[], &[], None, false)), "nothing is known of event time there");
        assert!(is_complete(writer(&[], &[], Some(5), true)), "nobody waits for one that is idle");
        assert!(!is_complete(writer(&[], &[DAY], past, false)), "rows of it are not visible");
    }
}
