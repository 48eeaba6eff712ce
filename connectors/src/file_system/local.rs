//! The local file system.

use std::{io, path::Path, sync::Arc, time::UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{ObjectStore, local::LocalFileSystem};
use tokio::{fs, io::AsyncWriteExt};

use super::{BlockHosts, FileStatus, FileSystem, FileWriter, allowed::Allowed, parent};
use crate::error::{Error, Result};

/// Bytes that are handed to the blocking pool at once.
const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// The file system of this machine.
#[derive(Debug)]
pub struct Local {
    store: Arc<dyn ObjectStore>,
    /// Where links may lead; anywhere where not given.
    allowed: Option<Arc<Allowed>>,
}

impl Default for Local {
    fn default() -> Self {
        Self { store: Arc::new(LocalFileSystem::new()), allowed: None }
    }
}

impl Local {
    /// One in whose folders links do not lead out of what jobs may name.
    pub fn within(allowed: Arc<Allowed>) -> Self {
        Self { allowed: Some(allowed), ..Self::default() }
    }

    /// Refuses an entry of a folder that is a link to where jobs may not go.
    async fn check_link(&self, entry: &fs::DirEntry, path: &str) -> Result<()> {
        let Some(allowed) = &self.allowed else { return Ok(()) };
        let is_link = entry.file_type().await.is_ok_and(|kind| kind.is_symlink());
        if is_link && !allowed.admits_link(path) {
            let allowed = allowed.shown();
            return Err(Error::NotAllowed { path: format!("file://{path}"), allowed });
        }
        Ok(())
    }
}

fn file_status(path: &str, metadata: &std::fs::Metadata) -> FileStatus {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    FileStatus {
        path: path.to_owned(),
        is_dir: metadata.is_dir(),
        bytes: if metadata.is_dir() { 0 } else { metadata.len() },
        modified_ms: modified.map_or(0, |since| since.as_millis() as i64),
    }
}

#[async_trait]
impl FileSystem for Local {
    fn root(&self) -> &str {
        "file://"
    }

    fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    async fn status(&self, path: &str) -> Result<Option<FileStatus>> {
        match fs::metadata(path).await {
            Ok(metadata) => Ok(Some(file_status(path, &metadata))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(Error::from_io("look at", path, error)),
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<FileStatus>> {
        let failed = |error| Error::from_io("list", folder, error);
        let mut entries = fs::read_dir(folder).await.map_err(failed)?;
        let mut statuses = Vec::new();
        while let Some(entry) = entries.next_entry().await.map_err(failed)? {
            let name = entry.file_name().into_string().map_err(|name| {
                failed(io::Error::new(io::ErrorKind::InvalidData, format!("the name {name:?} is not UTF-8")))
            })?;
            let path = if folder == "/" { format!("/{name}") } else { format!("{folder}/{name}") };
            self.check_link(&entry, &path).await?;
            // A file that vanishes while the folder is listed was not there; a symbolic link counts as what it leads to.
            match fs::metadata(&path).await {
                Ok(metadata) => statuses.push(file_status(&path, &metadata)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::from_io("look at", &path, error)),
            }
        }
        statuses.sort();
        Ok(statuses)
    }

    async fn create(&self, path: &str) -> Result<Box<dyn FileWriter>> {
        self.create_dirs(parent(path)).await?;
        let mut file = fs::File::create(path).await.map_err(|error| Error::from_io("write", path, error))?;
        file.set_max_buf_size(WRITE_BUFFER_BYTES);
        Ok(Box::new(LocalWriter { path: path.to_owned(), file }))
    }

    async fn create_dirs(&self, path: &str) -> Result<()> {
        fs::create_dir_all(path).await.map_err(|error| Error::from_io("create folder", path, error))
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        rename_with(from, to, libc::RENAME_NOREPLACE).await.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => {
                Error::AlreadyExists { path: to.to_owned() }
            }
            io::ErrorKind::NotFound => Error::NotFound { path: from.to_owned() },
            _ => Error::from_io("move a file to", to, error),
        })
    }

    async fn exchange(&self, one: &str, other: &str) -> Result<bool> {
        match rename_with(one, other, libc::RENAME_EXCHANGE).await {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => Ok(false),
            Err(error) => Err(Error::from_io("swap folders with", other, error)),
        }
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let mut tries = DELETE_TRIES;
        loop {
            let removed = match fs::symlink_metadata(path).await {
                Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).await,
                Ok(_) => fs::remove_file(path).await,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => Err(error),
            };
            tries -= 1;
            match removed {
                Ok(()) => return Ok(()),
                // Somebody else has removed something in it, or put something there: what is left goes next.
                Err(error) if tries > 0 && is_race(&error) => {}
                Err(error) => return Err(Error::from_io("delete", path, error)),
            }
        }
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        fs::read(path).await.map(Bytes::from).map_err(|error| Error::from_io("read", path, error))
    }

    async fn block_hosts(&self, _path: &str) -> Result<Vec<BlockHosts>> {
        Ok(Vec::new())
    }
}

/// How often a folder is removed in which others are at work.
const DELETE_TRIES: u32 = 20;

fn is_race(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty)
}

/// `renameat2`; where the file system knows no flags, a plain rename after a look at the target.
async fn rename_with(from: &str, to: &str, flags: libc::c_uint) -> io::Result<()> {
    let (from, to) = (from.to_owned(), to.to_owned());
    let job = tokio::task::spawn_blocking(move || match renameat2(&from, &to, flags) {
        Err(error)
            if flags == libc::RENAME_NOREPLACE
                && matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) =>
        {
            if Path::new(&to).exists() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(&from, &to)
        }
        result => result,
    });
    job.await.map_err(io::Error::other)?
}

fn renameat2(from: &str, to: &str, flags: libc::c_uint) -> io::Result<()> {
    let from = std::ffi::CString::new(from)?;
    let to = std::ffi::CString::new(to)?;
    // SAFETY: both pointers are to NUL-terminated strings that outlive the call; AT_FDCWD needs no open folder.
    let status =
        unsafe { libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

struct LocalWriter {
    path: String,
    file: fs::File,
}

#[async_trait]
impl FileWriter for LocalWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.file.write_all(&bytes).await.map_err(|error| Error::from_io("write", &self.path, error))
    }

    async fn close(&mut self) -> Result<()> {
        let synced = async {
            self.file.flush().await?;
            self.file.sync_data().await
        };
        synced.await.map_err(|error| Error::from_io("write", &self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn write(fs: &dyn FileSystem, path: &str, text: &str) {
        let mut writer = fs.create(path).await.unwrap();
        writer.write(Bytes::from(text.to_owned())).await.unwrap();
        writer.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_rename_never_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| format!("{}/{name}", folder.path().display());
        let fs = Local::default();
        write(&fs, &path("a"), "1").await;
        write(&fs, &path("b"), "2").await;
        assert!(matches!(fs.rename(&path("a"), &path("b")).await, Err(Error::AlreadyExists { .. })));
        fs.rename(&path("a"), &path("c")).await.unwrap();
        assert!(matches!(fs.rename(&path("a"), &path("d")).await, Err(Error::NotFound { .. })));
        assert_eq!(fs.read(&path("c")).await.unwrap(), "1");
    }

    #[tokio::test]
    async fn folders_are_exchanged_in_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| format!("{}/{name}", folder.path().display());
        let fs = Local::default();
        write(&fs, &path("new/part"), "new").await;
        write(&fs, &path("old/part"), "old").await;
        assert!(fs.exchange(&path("new"), &path("old")).await.unwrap());
        assert_eq!(fs.read(&path("old/part")).await.unwrap(), "new");
    }

    #[tokio::test]
    async fn a_file_is_created_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = format!("{}/manifest", folder.path().display());
        let fs: &dyn FileSystem = &Local::default();
        fs.create_atomically(&path, Bytes::from_static(b"1")).await.unwrap();
        let again = fs.create_atomically(&path, Bytes::from_static(b"2")).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })));
        assert_eq!(fs.list(folder.path().to_str().unwrap()).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_folder_goes_while_others_remove_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| format!("{}/a/{name}", folder.path().display());
        for number in 0..300 {
            std::fs::create_dir_all(path(&format!("{}", number % 10))).unwrap();
            std::fs::write(path(&format!("{}/{number}", number % 10)), "x").unwrap();
        }
        let fs = Local::default();
        let below: Vec<String> = (0..10).map(|number| path(&number.to_string())).collect();
        let whole = path("");
        let removals = [whole.as_str(), whole.as_str()].into_iter().chain(below.iter().map(String::as_str));
        futures::future::try_join_all(removals.map(|path| fs.delete(path))).await.unwrap();
        assert!(!Path::new(&whole).exists());
    }

    #[tokio::test]
    async fn deleting_nothing_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        Local::default().delete(&format!("{}/none", folder.path().display())).await.unwrap();
    }
}
