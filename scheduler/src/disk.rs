//! Where a member of the quorum keeps what must outlive its process: a folder of the operating system, or what a simulation has in its place.

use std::{
    fmt::Debug,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    thread,
};

use futures::future::BoxFuture;
use redb::{Builder, Database, DatabaseError};

/// A disk.
pub trait Disk: Debug + Send + Sync {
    /// Opens the database in a file, or begins it there.
    fn open(&self, builder: &Builder, file: &Path) -> Result<Database, DatabaseError>;

    /// Has the writer of a database run where it may wait for the disk.
    fn run_writer(&self, writer: BoxFuture<'static, ()>) -> io::Result<()>;

    /// Reads a file, if there is one.
    fn read(&self, file: &Path) -> io::Result<Option<Vec<u8>>>;

    /// Replaces a file: either the old one is there or the new one, whole and synced.
    fn replace(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;
}

/// The file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Files;

impl Disk for Files {
    fn open(&self, builder: &Builder, file: &Path) -> Result<Database, DatabaseError> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(redb::StorageError::Io)?;
        }
        builder.create(file)
    }

    fn run_writer(&self, writer: BoxFuture<'static, ()>) -> io::Result<()> {
        let thread = thread::Builder::new().name("quorum-log".to_owned());
        thread.spawn(move || futures::executor::block_on(writer)).map(drop)
    }

    fn read(&self, file: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn replace(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let unfinished = file.with_extension("unfinished");
        let mut writing = File::create(&unfinished)?;
        writing.write_all(bytes)?;
        writing.sync_all()?;
        fs::rename(&unfinished, file)?;
        match file.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}
