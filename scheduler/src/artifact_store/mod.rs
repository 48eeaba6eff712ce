//! Uploaded artifacts: SQL scripts, and archives of them, in files of one folder of this JobManager. A file is there whole or not at all; how
//! many there are and how long is bounded; what a folder of the operator's holds is there again after a restart.

pub mod error;
mod name;
mod scripts;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::UNIX_EPOCH,
};

use parking_lot::Mutex;
use tempfile::{TempDir, TempPath};
use thalweg_graph::{Options, options, options::InvalidValue};
use tokio::io::AsyncWriteExt as _;

pub use error::Error;

use crate::clock::Timestamp;

/// Begins the names of files that are not complete.
const UNFINISHED: &str = ".upload-";

/// What is kept of an artifact besides its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Names it to clients.
    pub id: String,
    /// What its client called it.
    pub name: String,
    /// When it came.
    pub uploaded: Timestamp,
    /// Its length.
    pub bytes: u64,
    /// The scripts in it.
    pub scripts: Vec<String>,
}

/// The store.
pub struct ArtifactStore {
    is_open: bool,
    file_bytes_max: u64,
    total_bytes_max: u64,
    files_max: u32,
    folder: Folder,
    known: Mutex<Known>,
}

enum Folder {
    /// The operator's.
    Given(PathBuf),
    /// One that is made in this one when it is needed, and goes with the process.
    Own(PathBuf, OnceLock<TempDir>),
}

#[derive(Default)]
struct Known {
    artifacts: BTreeMap<String, Artifact>,
    /// Of those and of uploads under way.
    files: u32,
    bytes: u64,
}

impl ArtifactStore {
    /// Opens the store, with the artifacts that its folder has.
    pub fn open(of: &Options) -> Result<Self, InvalidValue> {
        let folder: String = of.get(&options::UPLOAD_DIR)?;
        let folder = match folder.as_str() {
            "" => {
                let folders = of.tmp_dirs()?;
                let folder = folders.into_iter().next().unwrap_or_else(std::env::temp_dir);
                Folder::Own(folder, OnceLock::new())
            }
            folder => Folder::Given(PathBuf::from(folder)),
        };
        let store = Self {
            is_open: of.get(&options::SUBMIT_ENABLE)?,
            file_bytes_max: of.get(&options::UPLOAD_MAX_SIZE)?.0,
            total_bytes_max: of.get(&options::UPLOAD_MAX_TOTAL_SIZE)?.0,
            files_max: of.get(&options::UPLOAD_MAX_FILES)?,
            known: Mutex::default(),
            folder,
        };
        if let Folder::Given(folder) = &store.folder {
            store.known.lock().read(folder);
        }
        Ok(store)
    }

    /// Whether the operator allows artifacts.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Longest file that is taken.
    pub fn file_bytes_max(&self) -> u64 {
        self.file_bytes_max
    }

    /// All artifacts, newest first.
    pub fn list(&self) -> Result<Vec<Artifact>, Error> {
        self.check_open()?;
        let mut artifacts: Vec<Artifact> = self.known.lock().artifacts.values().cloned().collect();
        artifacts.sort_by_key(|artifact| std::cmp::Reverse(artifact.uploaded));
        Ok(artifacts)
    }

    /// Begins an upload of a file that its client calls `given`.
    pub async fn begin(self: &Arc<Self>, given: &str) -> Result<Upload, Error> {
        self.check_open()?;
        let name = name::sanitized(given)?;
        self.reserve(1, 0)?;
        // Gives the room back where anything fails.
        let room = Room { store: self.clone(), bytes: 0, is_taken: true };
        let store = self.clone();
        let (file, path) = blocking(move || {
            let folder = store.folder()?;
            let made = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder);
            made.map(|file| file.into_parts()).map_err(|error| folder_error(folder, error))
        })
        .await?;
        Ok(Upload { name, file: tokio::fs::File::from_std(file), path, room })
    }

    /// Removes an artifact.
    pub async fn remove(&self, id: &str) -> Result<(), Error> {
        self.check_open()?;
        let removed = self.known.lock().remove(id).ok_or_else(|| Error::Unknown(id.to_owned()))?;
        let path = self.folder()?.join(&removed.id);
        // One that somebody else has removed is gone as well.
        if let Err(error) = tokio::fs::remove_file(&path).await {
            tracing::warn!(path = %path.display(), %error, "an artifact's file may be left");
        }
        Ok(())
    }

    /// The text of a script of an artifact: of the one that is named, or that stands for itself.
    pub async fn script(&self, id: &str, wanted: Option<&str>) -> Result<String, Error> {
        self.check_open()?;
        let found = self.known.lock().artifacts.get(id).cloned();
        let artifact = found.ok_or_else(|| Error::Unknown(id.to_owned()))?;
        let script = scripts::choose(&artifact.scripts, &artifact.name, wanted)?.to_owned();
        let path = self.folder()?.join(&artifact.id);
        blocking(move || scripts::read(&path, &artifact.name, &script)).await
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.is_open { Ok(()) } else { Err(Error::Off) }
    }

    /// The folder, made where it is not there: others on this machine have no business in it.
    fn folder(&self) -> Result<&Path, Error> {
        match &self.folder {
            Folder::Given(folder) => {
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
                made.map(|()| folder.as_path()).map_err(|error| folder_error(folder, error))
            }
            Folder::Own(within, own) => {
                if own.get().is_none() {
                    let made = tempfile::Builder::new().prefix("thalweg-uploads-").tempdir_in(within);
                    // Whoever was quicker has made the one that counts; the other one goes again.
                    let _ = own.set(made.map_err(|error| folder_error(within, error))?);
                }
                Ok(own.get().expect("made above").path())
            }
        }
    }

    fn reserve(&self, files: u32, bytes: u64) -> Result<(), Error> {
        let mut known = self.known.lock();
        let (all_files, all_bytes) = (known.files + files, known.bytes + bytes);
        if all_files > self.files_max || all_bytes > self.total_bytes_max {
            return Err(Error::NoRoom { files: self.files_max, bytes: self.total_bytes_max });
        }
        (known.files, known.bytes) = (all_files, all_bytes);
        Ok(())
    }
}

impl Known {
    /// Takes up what a folder has. What was not complete goes; what is not of ours is left alone.
    fn read(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, file) = (entry.path(), entry.file_name());
            let Some(id) = file.to_str() else { continue };
            if id.starts_with(UNFINISHED) {
                // It is in nobody's way if it stays.
                let _ = fs::remove_file(&path);
                continue;
            }
            let (Some(name), Ok(metadata)) = (name::of_id(id), entry.metadata()) else { continue };
            match scripts::list(&path, name) {
                Ok(scripts) => {
                    let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                    let uploaded = Timestamp(modified.unwrap_or_default().as_millis() as u64);
                    let (id, name, bytes) = (id.to_owned(), name.to_owned(), metadata.len());
                    self.files += 1;
                    self.bytes += bytes;
                    self.artifacts.insert(id.clone(), Artifact { id, name, uploaded, bytes, scripts });
                }
                Err(error) => tracing::warn!(path = %path.display(), %error, "left an artifact out"),
            }
        }
    }

    fn remove(&mut self, id: &str) -> Option<Artifact> {
        let removed = self.artifacts.remove(id)?;
        self.files -= 1;
        self.bytes -= removed.bytes;
        Some(removed)
    }
}

/// A file that comes in; dropped before it is finished, it leaves nothing.
pub struct Upload {
    name: String,
    file: tokio::fs::File,
    path: TempPath,
    room: Room,
}

/// Room that an upload takes.
struct Room {
    store: Arc<ArtifactStore>,
    bytes: u64,
    is_taken: bool,
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.is_taken {
            let mut known = self.store.known.lock();
            known.files -= 1;
            known.bytes -= self.bytes;
        }
    }
}

impl Upload {
    /// Takes the next bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let store = &self.room.store;
        let length = self.room.bytes + bytes.len() as u64;
        if length > store.file_bytes_max {
            return Err(Error::TooLarge { max: store.file_bytes_max });
        }
        store.reserve(0, bytes.len() as u64)?;
        self.room.bytes = length;
        self.file.write_all(bytes).await.map_err(|error| folder_error(&self.path, error))
    }

    /// Looks at what came and keeps it: it is durable and can be run when this returns.
    pub async fn finish(mut self) -> Result<Artifact, Error> {
        let flushed = self.file.flush().await;
        flushed.map_err(|error| folder_error(&self.path, error))?;
        let synced = self.file.sync_all().await;
        synced.map_err(|error| folder_error(&self.path, error))?;
        let Upload { name, file, path, mut room } = self;
        drop(file);
        let (id, store) = (name::new_id(&name), room.store.clone());
        let (id, name, scripts) = blocking(move || {
            let scripts = scripts::list(&path, &name)?;
            let folder = store.folder()?;
            path.persist_noclobber(folder.join(&id)).map_err(|error| folder_error(folder, error.error))?;
            let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| folder_error(folder, error))?;
            Ok((id, name, scripts))
        })
        .await?;
        let artifact =
            Artifact { id: id.clone(), name, uploaded: Timestamp::wall(), bytes: room.bytes, scripts };
        room.store.known.lock().artifacts.insert(id, artifact.clone());
        // From now on the artifact takes it.
        room.is_taken = false;
        Ok(artifact)
    }
}

fn folder_error(folder: &Path, source: std::io::Error) -> Error {
    Error::Folder { folder: folder.display().to_string(), source }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        // Whatever is in an artifact, reading it must not end more than that.
        Err(Error::Archive { name: "the artifact".to_owned(), reason: error.to_string() })
    })
}

#[cfg(test)]
mod tests;
