//! The files of a table, with what their folders and their file system say of all their rows.

use chrono::DateTime;
use object_store::{ObjectMeta, path::Path};
use thalweg_graph::table::TableDescriptor;

use super::{metadata, options::FilesystemOptions, partition};
use crate::{
    error::{Error, Result},
    file_system::{FileStatus, Location, listing},
};

/// A file of a table.
#[derive(Debug, Clone)]
pub struct TableFile {
    /// The file.
    pub status: FileStatus,
    /// Its values of the columns that are constant in a file: partition columns, then metadata; `None` is NULL.
    pub constants: Vec<Option<String>>,
}

impl TableFile {
    /// The file as object stores know it.
    pub fn object_meta(&self) -> Result<ObjectMeta> {
        let location = Path::parse(&self.status.path)
            .map_err(|error| Error::from_store("read", &self.status.path, error.into()))?;
        Ok(ObjectMeta {
            location,
            last_modified: DateTime::from_timestamp_millis(self.status.modified_ms).unwrap_or_default(),
            size: self.status.bytes,
            e_tag: None,
            version: None,
        })
    }
}

/// Lists the files that hold the table's rows. Empty files hold none.
pub async fn list(
    location: &Location,
    options: &FilesystemOptions,
    table: &TableDescriptor,
) -> Result<Vec<TableFile>> {
    let files = listing::list_files(location).await?;
    let table_file = |status: FileStatus| {
        let name = &options.default_partition_name;
        let mut constants = partition::values_in_path(&status.path, &table.partition_keys, name)?;
        constants.extend(metadata::values(&table.metadata, &status)?);
        Ok(TableFile { status, constants })
    };
    files.into_iter().filter(|file| file.bytes > 0).map(table_file).collect()
}
