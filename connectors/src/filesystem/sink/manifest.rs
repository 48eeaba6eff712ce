//! The decision to commit: a file in the sink's staging folder that lists all that must be done. Once it exists, the commit
//! is finished by whoever finds it; before, nothing has been made visible.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thalweg_graph::JobId;

use super::committable::StagedFile;
use crate::{
    error::{Error, Result},
    file_system::{FileSystem, file_name},
};

const NAME: &str = "manifest.json";

/// All that a commit has to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The job.
    pub job: JobId,
    /// The table's folder.
    pub table_path: String,
    /// The files, by the folder of their partition below the table.
    pub files_by_partition: BTreeMap<String, Vec<StagedFile>>,
    /// What was there and has to go.
    pub replace: Replace,
    /// The name of the file that marks each folder as complete.
    pub success_file: Option<String>,
}

/// What an INSERT replaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Replace {
    /// Nothing.
    Nothing,
    /// All in the table: the names of the files and folders that were there.
    Entries(Vec<String>),
    /// The partitions that files come into.
    Partitions,
}

impl Manifest {
    /// Where the manifest of a sink is.
    pub fn path(staging: &str) -> String {
        format!("{staging}/{NAME}")
    }

    /// Reads the manifest of a sink; `None` where no commit has been decided.
    pub async fn find(file_system: &dyn FileSystem, staging: &str) -> Result<Option<Self>> {
        let path = Self::path(staging);
        match file_system.read(&path).await {
            Ok(content) => serde_json::from_slice(&content).map(Some).map_err(|error| Error::Corrupt {
                path: file_system.url(&path),
                format: "commit manifest",
                source: Box::new(error),
            }),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Decides: writes the manifest, or takes the one that another committer wrote first.
    pub async fn decide(self, file_system: &dyn FileSystem, staging: &str) -> Result<Self> {
        let content = serde_json::to_vec_pretty(&self).map_err(|error| Error::Internal(error.to_string()))?;
        match file_system.create_atomically(&Self::path(staging), Bytes::from(content)).await {
            Ok(()) => Ok(self),
            Err(Error::AlreadyExists { .. }) => {
                let found = Self::find(file_system, staging).await?;
                found.ok_or_else(|| Error::NotFound { path: Self::path(staging) })
            }
            Err(error) => Err(error),
        }
    }

    /// A folder of the table; the table's own for the empty partition.
    pub fn folder(&self, partition: &str) -> String {
        folder_of(&self.table_path, partition)
    }

    /// Where a file goes.
    pub fn final_path(&self, partition: &str, file: &StagedFile) -> String {
        format!("{}/{}", self.folder(partition).trim_end_matches('/'), file_name(&file.staged))
    }

    /// All files with their partitions.
    pub fn files(&self) -> impl Iterator<Item = (&str, &StagedFile)> {
        self.files_by_partition
            .iter()
            .flat_map(|(partition, files)| files.iter().map(move |file| (partition.as_str(), file)))
    }
}

/// The folder of one of a table's partitions; the table's own for the empty partition.
pub fn folder_of(table_path: &str, partition: &str) -> String {
    match partition {
        "" => table_path.to_owned(),
        partition => format!("{}/{partition}", table_path.trim_end_matches('/')),
    }
}
