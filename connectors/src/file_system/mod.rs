//! File systems: what tables are read from and written to, by absolute path. Reading rows goes through the `ObjectStore` of
//! each; listing, writing and renaming go through [`FileSystem`], since object stores know neither folders nor renames.

pub mod allowed;
pub mod block_locations;
pub mod glob;
pub mod hadoop_conf;
pub mod hdfs;
pub mod hdfs_store;
pub mod listing;
pub mod local;
pub mod registry;
pub mod retry;

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::ObjectStore;

use crate::error::{Error, Result};

/// A file or folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileStatus {
    /// Its absolute path in the file system.
    pub path: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Its length; 0 for folders.
    pub bytes: u64,
    /// When it was last changed, in milliseconds since 1970.
    pub modified_ms: i64,
}

impl FileStatus {
    /// The last part of its path.
    pub fn name(&self) -> &str {
        file_name(&self.path)
    }
}

/// The last part of a path.
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The folder that a path is in.
pub fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(end) => &path[..end],
    }
}

/// A file being written. Dropped without `close`, its content is undefined.
#[async_trait]
pub trait FileWriter: Send {
    /// Appends bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;
    /// Makes the content durable and visible.
    async fn close(&mut self) -> Result<()>;
}

/// One file system: the local one, or one HDFS name service. Paths are absolute, with `/` between parts and none at the end.
#[async_trait]
pub trait FileSystem: Debug + Send + Sync {
    /// Scheme and authority, without a slash at the end: `file://`, `hdfs://nn:8020`.
    fn root(&self) -> &str;
    /// The same files for readers.
    fn object_store(&self) -> Arc<dyn ObjectStore>;
    /// What is at a path; `None` where nothing is.
    async fn status(&self, path: &str) -> Result<Option<FileStatus>>;
    /// What is in a folder, sorted by path.
    async fn list(&self, folder: &str) -> Result<Vec<FileStatus>>;
    /// Creates a file and the folders above it; replaces a file that is there.
    async fn create(&self, path: &str) -> Result<Box<dyn FileWriter>>;
    /// Creates a folder and the folders above it; fine where it exists.
    async fn create_dirs(&self, path: &str) -> Result<()>;
    /// Moves a file or folder in one step. The folder of `to` must exist. Fails with `AlreadyExists` where `to` exists.
    async fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Swaps two folders in one step, where the file system can: `Ok(false)` where it cannot and nothing was done.
    async fn exchange(&self, one: &str, other: &str) -> Result<bool>;
    /// Removes a file or folder with all that is in it; fine where nothing is.
    async fn delete(&self, path: &str) -> Result<()>;
    /// Reads a small file whole.
    async fn read(&self, path: &str) -> Result<Bytes>;
    /// The hosts of each block of a file; empty where that means nothing.
    async fn block_hosts(&self, path: &str) -> Result<Vec<BlockHosts>>;
}

/// A block of a file and the machines that have it on their own disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockHosts {
    /// Where the block starts in the file.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// Host names, as the file system gives them.
    pub hosts: Vec<String>,
}

impl dyn FileSystem + '_ {
    /// A path with scheme and authority, for people and for splits.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.root())
    }

    /// Writes a small file so that it appears whole or not at all; `AlreadyExists` where it exists.
    pub async fn create_atomically(&self, path: &str, content: Bytes) -> Result<()> {
        if self.status(path).await?.is_some() {
            return Err(Error::AlreadyExists { path: self.url(path) });
        }
        let unique = uuid::Uuid::new_v4().simple();
        let temporary = format!("{}/.{}.{unique}", parent(path), file_name(path));
        let mut writer = self.create(&temporary).await?;
        writer.write(content).await?;
        writer.close().await?;
        let renamed = self.rename(&temporary, path).await;
        if renamed.is_err() {
            self.delete(&temporary).await?;
        }
        renamed
    }
}

/// A path in a file system.
#[derive(Debug, Clone)]
pub struct Location {
    /// Where the path is.
    pub file_system: Arc<dyn FileSystem>,
    /// The absolute path.
    pub path: String,
}

impl Location {
    /// The whole URL.
    pub fn url(&self) -> String {
        self.file_system.url(&self.path)
    }
}
