//! Marks the partitions of a stream's table that are complete, when a checkpoint is committed.
//!
//! What was announced and is not complete yet, since other writers are behind, is remembered by an empty file in the staging folder: who has
//! announced it may have ended and say it no more.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{committable::Progress, manifest::folder_of, partition_commits::is_complete};
use crate::{
    error::{Error, Result},
    file_system::{FileSystem, Location},
    filesystem::options::PartitionCommit,
};

/// Stands for the slash in the name of a partition's folder. In values it is escaped.
const SLASH: &str = "#";

/// Says with an empty file that a folder is complete.
pub async fn mark(file_system: &dyn FileSystem, folder: &str, success_file: &str) -> Result<()> {
    write_empty(file_system, &format!("{}/{success_file}", folder.trim_end_matches('/'))).await
}

/// Marks what is complete by what all writers say with a checkpoint. Doing it twice does the same as once.
pub async fn mark_complete(
    table: &Location,
    staging: &str,
    commit: &PartitionCommit,
    success_file: &str,
    progress: &[Progress],
) -> Result<()> {
    let file_system = table.file_system.as_ref();
    let folder = format!("{staging}/announced");
    let remembered: BTreeSet<String> = match file_system.list(&folder).await {
        Err(Error::NotFound { .. }) => BTreeSet::new(),
        files => files?.iter().map(|file| file.name().replace(SLASH, "/")).collect(),
    };
    let announced: BTreeSet<String> = progress.iter().flat_map(|writer| writer.announced.clone()).collect();
    for partition in announced.union(&remembered) {
        let note = format!("{folder}/{}", partition.replace('/', SLASH));
        match (is_complete(commit, partition, progress)?, remembered.contains(partition)) {
            (true, was_remembered) => {
                mark(file_system, &folder_of(&table.path, partition), success_file).await?;
                if was_remembered {
                    file_system.delete(&note).await?;
                }
            }
            (false, true) => {}
            (false, false) => write_empty(file_system, &note).await?,
        }
    }
    Ok(())
}

async fn write_empty(file_system: &dyn FileSystem, path: &str) -> Result<()> {
    let mut file = file_system.create(path).await?;
    file.write(Bytes::new()).await?;
    file.close().await
}
