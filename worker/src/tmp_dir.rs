//! The worker's own folder for spilled data and shuffle files, one below each configured temporary folder.
//!
//! A folder holds a locked file as long as its worker lives, however that ends. A worker that starts removes the folders whose
//! lock nobody holds any more.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

const PREFIX: &str = "thalweg-worker-";
const LOCK: &str = "lock";
/// Names tried before giving up; another worker that cleans at the same moment may take a fresh folder for a dead one.
const TRIES: usize = 8;

/// Folders that live as long as this value.
#[derive(Debug)]
pub struct TmpDirs {
    folders: Vec<Folder>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Held, not read.
    _lock: File,
}

/// A temporary folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use `{}` for temporary files; set `io.tmp.dirs` to a folder that can be written", path.display())]
pub struct Error {
    path: PathBuf,
    source: io::Error,
}

impl TmpDirs {
    /// Makes one folder below each of `parents` (the system's temporary folder where empty) and removes those of dead workers.
    pub fn create(parents: &[PathBuf]) -> Result<Self, Error> {
        let system = [std::env::temp_dir()];
        let parents = if parents.is_empty() { &system } else { parents };
        let folders = parents
            .iter()
            .map(|parent| {
                remove_leftovers(parent);
                Folder::create(parent).map_err(|source| Error { path: parent.clone(), source })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { folders })
    }

    /// The folders, never none.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|folder| folder.path.clone()).collect()
    }
}

impl Folder {
    fn create(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        for number in 0..TRIES {
            let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                result => result?,
            }
            let lock = File::create(path.join(LOCK))?;
            if lock.try_lock().is_ok() {
                return Ok(Self { path, _lock: lock });
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{TRIES} names were taken")))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a temporary folder");
        }
    }
}

fn remove_leftovers(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if is_ours && is_abandoned(&entry.path()) {
            match fs::remove_dir_all(entry.path()) {
                Ok(()) => tracing::info!(path = %entry.path().display(), "removed what a dead worker left"),
                Err(error) => {
                    tracing::warn!(path = %entry.path().display(), %error, "cannot remove what a dead worker left");
                }
            }
        }
    }
}

/// Whether no process holds the folder's lock. A folder without a lock file is just being made by another worker.
fn is_abandoned(folder: &Path) -> bool {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock | TryLockError::Error(_))),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_lives_with_its_worker_and_leftovers_go() {
        let parent = tempfile::tempdir().unwrap();
        let dead = parent.path().join("thalweg-worker-1-0");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        fs::write(dead.join("shuffle"), "old").unwrap();

        let parents = [parent.path().to_owned()];
        let living = TmpDirs::create(&parents).unwrap();
        assert!(!dead.exists(), "nobody holds the lock of the dead worker's folder");

        let other = TmpDirs::create(&parents).unwrap();
        assert!(living.paths()[0].exists(), "a living worker's folder is not a leftover");
        assert_ne!(living.paths(), other.paths());

        drop((living, other));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        let error = TmpDirs::create(std::slice::from_ref(&file)).unwrap_err();
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    }
}
