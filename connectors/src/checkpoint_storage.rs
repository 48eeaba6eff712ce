//! Manifests of checkpoints, and the files that they list, on the file systems that tables may name.

use std::collections::BTreeSet;

use bytes::Bytes;
use thalweg_graph::checkpoint::Manifest;

use crate::{
    error::{Error, Result},
    file_system::{parent, registry::FileSystems},
};

/// The name of a manifest in its folder, as Flink calls it.
pub const MANIFEST: &str = "_metadata";

/// Writes a manifest at a URL: it appears whole or not at all. One that is there already is of a try whose answer was lost.
pub async fn write(file_systems: &FileSystems, url: &str, manifest: &Manifest) -> Result<()> {
    let location = file_systems.locate_state(url)?;
    let text = serde_json::to_vec(manifest).map_err(|error| Error::Internal(error.to_string()))?;
    location.file_system.create_dirs(parent(&location.path)).await?;
    match location.file_system.create_atomically(&location.path, Bytes::from(text)).await {
        Err(Error::AlreadyExists { .. }) => Ok(()),
        outcome => outcome,
    }
}

/// Reads the manifest at a URL: that of the file or of the folder that it names.
pub async fn read(file_systems: &FileSystems, url: &str) -> Result<Manifest> {
    let location = file_systems.locate_state(url)?;
    let path = match location.file_system.status(&location.path).await? {
        None => return Err(Error::NotFound { path: location.url() }),
        Some(status) if status.is_dir => format!("{}/{MANIFEST}", location.path.trim_end_matches('/')),
        Some(_) => location.path.clone(),
    };
    let text = location.file_system.read(&path).await?;
    let corrupt = |source| Error::Corrupt {
        path: location.file_system.url(&path),
        format: "checkpoint",
        source: Box::new(source),
    };
    let manifest: Manifest = serde_json::from_slice(&text).map_err(corrupt)?;
    if manifest.version > Manifest::VERSION {
        return Err(Error::Unsupported(format!(
            "the checkpoint `{}` is of version {} and this build reads versions up to {}; use the build that wrote it, or a later one",
            location.file_system.url(&path),
            manifest.version,
            Manifest::VERSION
        )));
    }
    Ok(manifest)
}

/// Checks that every file which a manifest lists is there and long enough.
pub async fn check(file_systems: &FileSystems, manifest: &Manifest) -> Result<()> {
    let chunks = manifest.subtasks.iter().flat_map(|(_, subtask)| &subtask.operators);
    let mut needed = std::collections::BTreeMap::<&str, u64>::new();
    for chunk in chunks.flat_map(|operator| &operator.chunks) {
        let end = needed.entry(&chunk.file).or_default();
        *end = (*end).max(chunk.offset + chunk.bytes);
    }
    for file in manifest.sink_files() {
        let end = needed.entry(&file.file).or_default();
        *end = (*end).max(file.bytes);
    }
    for (file, bytes) in needed {
        let location = file_systems.locate_state(file)?;
        match location.file_system.status(&location.path).await? {
            None => return Err(Error::NotFound { path: file.to_owned() }),
            Some(status) if status.bytes < bytes => {
                return Err(Error::Invalid(format!(
                    "`{file}` has {} bytes and {bytes} were written",
                    status.bytes
                )));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Removes a manifest, and the files that it lists and none of `kept` does.
pub async fn remove(file_systems: &FileSystems, url: &str, kept: &[String]) -> Result<()> {
    let old = match read(file_systems, url).await {
        Err(Error::NotFound { .. }) => return Ok(()),
        manifest => manifest?,
    };
    let mut needed = BTreeSet::new();
    for url in kept {
        needed.extend(read(file_systems, url).await?.files().map(str::to_owned));
    }
    let location = file_systems.locate_state(url)?;
    location.file_system.delete(parent(&location.path)).await?;
    let unneeded: BTreeSet<&str> = old.files().filter(|file| !needed.contains(*file)).collect();
    for file in unneeded {
        let location = file_systems.locate_state(file)?;
        location.file_system.delete(&location.path).await?;
    }
    Ok(())
}

/// Removes the savepoint at a URL, of its folder or its manifest, with all its files. A checkpoint is refused: it goes with its job.
pub async fn dispose(file_systems: &FileSystems, url: &str) -> Result<()> {
    let manifest = read(file_systems, url).await?;
    if !manifest.savepoint {
        return Err(Error::Invalid(format!(
            "`{url}` is a checkpoint of job `{}` and no savepoint: it goes with its job",
            manifest.job
        )));
    }
    let folder = url.trim_end_matches('/').trim_end_matches(MANIFEST).trim_end_matches('/');
    remove(file_systems, &format!("{folder}/{MANIFEST}"), &[]).await
}

/// Removes the folder of a job's checkpoints with all that is in it. The manifests of older ones go first: whoever dies half way leaves the
/// newest or none, and nobody goes on from one behind which rows are visible already.
pub async fn remove_folder(file_systems: &FileSystems, url: &str) -> Result<()> {
    let location = file_systems.locate_state(url)?;
    let file_system = &location.file_system;
    let entries = match file_system.list(&location.path).await {
        Err(Error::NotFound { .. }) => return Ok(()),
        entries => entries?,
    };
    for folder in oldest_first(entries.iter().map(|entry| entry.path.as_str())) {
        file_system.delete(&format!("{folder}/{MANIFEST}")).await?;
    }
    file_system.delete(&location.path).await
}

/// Those folders that are of checkpoints, by their numbers.
fn oldest_first<'a>(folders: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let number = |folder: &str| folder.rsplit('/').next()?.strip_prefix("chk-")?.parse::<u64>().ok();
    let mut numbered: Vec<(u64, &str)> =
        folders.filter_map(|folder| Some((number(folder)?, folder))).collect();
    numbered.sort_unstable();
    numbered.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_checkpoint_is_the_last_to_go() {
        let folders = ["/c/job/chk-10", "/c/job/chk-9", "/c/job/shared", "/c/job/chk-11", "/c/job/chk-x"];
        assert_eq!(oldest_first(folders.into_iter()), ["/c/job/chk-9", "/c/job/chk-10", "/c/job/chk-11"]);
    }

    #[tokio::test]
    async fn a_folder_goes_with_all_that_is_in_it_and_may_be_gone() {
        let folder = tempfile::tempdir().unwrap();
        let job = folder.path().join("job");
        for name in ["chk-1", "chk-2", "taskowned"] {
            std::fs::create_dir_all(job.join(name)).unwrap();
            std::fs::write(job.join(name).join("file"), "x").unwrap();
        }
        std::fs::write(job.join("chk-2").join(MANIFEST), "{}").unwrap();
        let file_systems = FileSystems::new(None, Default::default(), None).unwrap();
        let url = format!("file://{}", job.display());
        for _ in 0..2 {
            remove_folder(&file_systems, &url).await.unwrap();
            assert!(!job.exists());
        }
    }
}
