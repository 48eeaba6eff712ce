//! Carries out a manifest, step by step; each step looks whether it was done before. What is guaranteed:
//!
//! - Before the manifest nothing is visible, and `abort` leaves nothing. After it, the commit is only ever finished.
//! - INSERT INTO: files appear one by one, each whole.
//! - INSERT OVERWRITE of a partition: local file systems swap the old and the new folder in one step; HDFS has no such call,
//!   so the old folder is moved away and the new one into its place: between the two calls the partition is missing, never
//!   mixed.
//! - INSERT OVERWRITE of a table without partitions: its staging folder lies in it, so the old files are moved away first
//!   and the new ones follow: a reader in between sees part of the new and nothing of the old.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use thalweg_graph::{
    JobId,
    table::{Committable, SinkDescriptor},
};

use super::{
    committable::StagedFiles,
    manifest::{Manifest, Replace, folder_of},
    marks::{mark, mark_complete},
    staging,
};
use crate::{
    error::{Error, Result},
    file_system::{FileSystem, Location, file_name, listing::is_hidden, parent, registry::FileSystems},
    filesystem::{options::FilesystemOptions, partition},
    writer::CommitOutcome,
};

/// Renames that are under way at once.
const MOVES_AT_ONCE: usize = 16;

/// Makes visible what the writers have staged.
pub async fn commit(
    file_systems: &FileSystems,
    job: JobId,
    sink: &SinkDescriptor,
    committables: &[Committable],
) -> Result<CommitOutcome> {
    let options = FilesystemOptions::of(&sink.table)?;
    let location = file_systems.locate(&options.path)?;
    let file_system = location.file_system.as_ref();
    let staged = committables.iter().map(StagedFiles::decode).collect::<Result<Vec<_>>>()?;
    let Some(staging) = staged.first().map(|files| files.staging.clone()) else {
        return Ok(CommitOutcome::default());
    };
    let manifest = match Manifest::find(file_system, &staging).await? {
        Some(manifest) => manifest,
        None => {
            let planned = plan(&location, job, sink, &options, staged).await?;
            if is_done(file_system, &staging, &planned).await? {
                return Ok(outcome(&planned));
            }
            planned.decide(file_system, &staging).await?
        }
    };
    carry_out(file_system, &staging, &manifest).await?;
    remove_staging(file_system, &location.path, job, &staging).await?;
    Ok(outcome(&manifest))
}

/// Makes visible what the writers have prepared for a checkpoint: each file by one rename, so that doing it twice does the same as once.
/// Then marks the partitions that are complete.
/// The list of the files is kept by whoever calls, until this has succeeded.
pub async fn commit_checkpoint(
    file_systems: &FileSystems,
    sink: &SinkDescriptor,
    committables: &[Committable],
) -> Result<CommitOutcome> {
    let options = FilesystemOptions::of(&sink.table)?;
    let location = file_systems.locate(&options.path)?;
    let file_system = location.file_system.as_ref();
    let mut files_by_partition = BTreeMap::<String, Vec<_>>::new();
    let (mut progress, mut staging) = (Vec::new(), None);
    for committable in committables {
        let staged = StagedFiles::decode(committable)?;
        if let Some(said) = staged.progress {
            progress.push(said);
            staging = Some(staged.staging);
        }
        for file in staged.files {
            files_by_partition.entry(file.partition.clone()).or_default().push(file);
        }
    }
    let table_path = location.path.clone();
    for partition in files_by_partition.keys() {
        file_system.create_dirs(&folder_of(&table_path, partition)).await?;
    }
    let mut outcome = CommitOutcome::default();
    let mut moves = Vec::new();
    for (partition, files) in &files_by_partition {
        for file in files {
            outcome.files += 1;
            outcome.rows += file.rows;
            outcome.bytes += file.bytes;
            let folder = folder_of(&table_path, partition);
            let to = format!("{}/{}", folder.trim_end_matches('/'), file_name(&file.staged));
            moves.push(async move { move_once(file_system, &file.staged, &to).await });
        }
    }
    stream::iter(moves).buffer_unordered(MOVES_AT_ONCE).try_collect::<Vec<()>>().await?;
    if let (Some(success_file), Some(staging)) = (&options.success_file, staging) {
        mark_complete(&location, &staging, &options.partition_commit, success_file, &progress).await?;
    }
    Ok(outcome)
}

/// Removes what the job has staged in a table. A commit that was decided is finished instead: half of it may be visible.
pub async fn abort(file_systems: &FileSystems, job: JobId, sink: &SinkDescriptor) -> Result<()> {
    let options = FilesystemOptions::of(&sink.table)?;
    let location = file_systems.locate(&options.path)?;
    let file_system = location.file_system.as_ref();
    let folder = staging::of_job(&location.path, job);
    let sinks = match file_system.list(&folder).await {
        Err(Error::NotFound { .. }) => return Ok(()),
        sinks => sinks?,
    };
    for sink in sinks.into_iter().filter(|sink| sink.is_dir) {
        if let Some(manifest) = Manifest::find(file_system, &sink.path).await? {
            tracing::warn!(%job, table = location.path, "finishing a commit that was decided before the job was aborted");
            carry_out(file_system, &sink.path, &manifest).await?;
        }
    }
    file_system.delete(&folder).await
}

async fn plan(
    location: &Location,
    job: JobId,
    sink: &SinkDescriptor,
    options: &FilesystemOptions,
    staged: Vec<StagedFiles>,
) -> Result<Manifest> {
    let mut files_by_partition = BTreeMap::<String, Vec<_>>::new();
    for file in staged.into_iter().flat_map(|files| files.files) {
        files_by_partition.entry(file.partition.clone()).or_default().push(file);
    }
    let keys = &sink.table.partition_keys;
    let is_static = keys.iter().all(|key| sink.static_partition.contains_key(key));
    let replace = match (sink.overwrite, keys.is_empty()) {
        (false, _) => Replace::Nothing,
        (true, true) => Replace::Entries(visible_names(location).await?),
        (true, false) => {
            // A partition that is named is replaced even where no rows come.
            if is_static {
                let values: Vec<_> = keys.iter().map(|key| sink.static_partition[key].clone()).collect();
                let folder = partition::folder(keys, &values, &options.default_partition_name);
                files_by_partition.entry(folder).or_default();
            }
            Replace::Partitions
        }
    };
    Ok(Manifest {
        job,
        table_path: location.path.clone(),
        files_by_partition,
        replace,
        success_file: options.success_file.clone(),
    })
}

async fn visible_names(location: &Location) -> Result<Vec<String>> {
    match location.file_system.list(&location.path).await {
        Err(Error::NotFound { .. }) => Ok(Vec::new()),
        entries => {
            let names = entries?.into_iter().map(|entry| entry.name().to_owned());
            Ok(names.filter(|name| !is_hidden(name)).collect())
        }
    }
}

/// Whether an earlier call has done it all: its staging folder is gone and its files are in place.
async fn is_done(file_system: &dyn FileSystem, staging: &str, manifest: &Manifest) -> Result<bool> {
    if file_system.status(staging).await?.is_some() {
        return Ok(false);
    }
    for (partition, file) in manifest.files() {
        let path = manifest.final_path(partition, file);
        if file_system.status(&path).await?.is_none() {
            return Err(lost(file_system, &file.staged));
        }
    }
    Ok(true)
}

fn lost(file_system: &dyn FileSystem, staged: &str) -> Error {
    Error::Invalid(format!(
        "the staged file `{}` is gone and was not moved into the table; did something else delete it? Nothing can be \
         committed without it: run the statement again",
        file_system.url(staged)
    ))
}

fn outcome(manifest: &Manifest) -> CommitOutcome {
    let mut outcome = CommitOutcome::default();
    for (_, file) in manifest.files() {
        outcome.files += 1;
        outcome.rows += file.rows;
        outcome.bytes += file.bytes;
    }
    outcome
}

async fn carry_out(file_system: &dyn FileSystem, staging: &str, manifest: &Manifest) -> Result<()> {
    file_system.create_dirs(&manifest.table_path).await?;
    match &manifest.replace {
        Replace::Nothing => move_into_place(file_system, manifest).await?,
        Replace::Entries(names) => {
            let old = format!("{staging}/old");
            file_system.create_dirs(&old).await?;
            for name in names {
                let from = format!("{}/{name}", manifest.table_path.trim_end_matches('/'));
                move_once(file_system, &from, &format!("{old}/{name}")).await?;
            }
            move_into_place(file_system, manifest).await?;
        }
        Replace::Partitions => {
            for (number, partition) in manifest.files_by_partition.keys().enumerate() {
                replace_partition(file_system, staging, manifest, number, partition).await?;
            }
        }
    }
    let Some(success_file) = &manifest.success_file else { return Ok(()) };
    for partition in manifest.files_by_partition.keys() {
        mark(file_system, &manifest.folder(partition), success_file).await?;
    }
    Ok(())
}

async fn move_into_place(file_system: &dyn FileSystem, manifest: &Manifest) -> Result<()> {
    for partition in manifest.files_by_partition.keys() {
        file_system.create_dirs(&manifest.folder(partition)).await?;
    }
    let moves = manifest.files().map(|(partition, file)| async move {
        move_once(file_system, &file.staged, &manifest.final_path(partition, file)).await
    });
    let moves: Vec<_> = moves.collect();
    stream::iter(moves).buffer_unordered(MOVES_AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(())
}

/// Moves a file or folder, unless that was done before.
async fn move_once(file_system: &dyn FileSystem, from: &str, to: &str) -> Result<()> {
    match file_system.rename(from, to).await {
        Ok(()) => Ok(()),
        Err(error @ (Error::NotFound { .. } | Error::AlreadyExists { .. })) => {
            let is_at = (file_system.status(from).await?.is_some(), file_system.status(to).await?.is_some());
            match is_at {
                (false, true) => Ok(()),
                (false, false) => Err(lost(file_system, from)),
                _ => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Puts the new files where the old ones are. The old folder ends up in the staging folder.
async fn replace_partition(
    file_system: &dyn FileSystem,
    staging: &str,
    manifest: &Manifest,
    number: usize,
    partition: &str,
) -> Result<()> {
    let folder = manifest.folder(partition);
    let (new, old) = (format!("{staging}/new/{number}"), format!("{staging}/old/{number}"));
    let files = &manifest.files_by_partition[partition];
    if let Some(first) = files.first()
        && file_system.status(&manifest.final_path(partition, first)).await?.is_some()
    {
        return Ok(());
    }
    file_system.create_dirs(&new).await?;
    for file in files {
        move_once(file_system, &file.staged, &format!("{new}/{}", file_name(&file.staged))).await?;
    }
    let was_there = file_system.status(&folder).await?.is_some();
    if was_there && !files.is_empty() && file_system.exchange(&new, &folder).await? {
        return Ok(());
    }
    if was_there && file_system.status(&old).await?.is_none() {
        file_system.create_dirs(parent(&old)).await?;
        file_system.rename(&folder, &old).await?;
    }
    if file_system.status(&folder).await?.is_none() {
        file_system.create_dirs(parent(&folder)).await?;
        file_system.rename(&new, &folder).await?;
    }
    Ok(())
}

async fn remove_staging(
    file_system: &dyn FileSystem,
    table_path: &str,
    job: JobId,
    staging: &str,
) -> Result<()> {
    file_system.delete(staging).await?;
    let of_job = staging::of_job(table_path, job);
    match file_system.list(&of_job).await {
        Ok(others) if others.is_empty() => file_system.delete(&of_job).await,
        Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
