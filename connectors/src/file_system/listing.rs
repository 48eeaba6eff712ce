//! Finding a table's files: all below its path, or all that its pattern matches, hidden ones left out.

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    FileStatus, Location,
    glob::{Glob, is_glob},
};
use crate::error::{Error, Result};

/// Folders that are listed at once.
const LISTINGS_AT_ONCE: usize = 16;

/// Whether a name is none of the table's: staging folders, success files, checksums.
pub fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

/// The files of a path or pattern, sorted by path. A pattern that matches nothing and a path that does not exist are errors.
pub async fn list_files(location: &Location) -> Result<Vec<FileStatus>> {
    let not_found = || Error::NotFound { path: location.url() };
    let glob = is_glob(&location.path).then(|| Glob::new(&location.path));
    let base = glob.as_ref().map_or(location.path.as_str(), |glob| &glob.base);
    // A name that only looks like a pattern wins.
    let (base, glob) = match (glob.is_some(), location.file_system.status(&location.path).await?) {
        (true, Some(_)) => (location.path.as_str(), None),
        (_, None) if glob.is_none() => return Err(not_found()),
        _ => (base, glob.as_ref()),
    };
    let start = location.file_system.status(base).await?.ok_or_else(not_found)?;
    if !start.is_dir {
        return Ok(vec![start]);
    }
    let mut files = list_below(location, base).await?;
    if let Some(glob) = glob {
        files.retain(|file| glob.matches(&file.path));
        if files.is_empty() {
            return Err(not_found());
        }
    }
    files.sort();
    Ok(files)
}

async fn list_below(location: &Location, base: &str) -> Result<Vec<FileStatus>> {
    let mut files = Vec::new();
    let mut folders = vec![base.to_owned()];
    while !folders.is_empty() {
        let listings = stream::iter(std::mem::take(&mut folders)).map(|folder| async move {
            match location.file_system.list(&folder).await {
                // Removed since its parent was listed.
                Err(Error::NotFound { .. }) if folder != base => Ok(Vec::new()),
                listing => listing,
            }
        });
        let levels: Vec<Vec<FileStatus>> = listings.buffered(LISTINGS_AT_ONCE).try_collect().await?;
        for status in levels.into_iter().flatten().filter(|status| !is_hidden(status.name())) {
            match status.is_dir {
                true => folders.push(status.path),
                false => files.push(status),
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_system::{registry::FileSystems, retry::Patience};

    fn folder_of(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        folder
    }

    async fn names(folder: &tempfile::TempDir, pattern: &str) -> Result<Vec<String>> {
        let all = FileSystems::new(None, Patience::default(), None)?;
        let base = folder.path().display().to_string();
        let files = list_files(&all.locate(&format!("{base}/{pattern}"))?).await?;
        Ok(files.into_iter().map(|file| file.path[base.len() + 1..].to_owned()).collect())
    }

    #[tokio::test]
    async fn hidden_names_are_left_out_at_every_depth() {
        let folder = folder_of(&["a/1", "a/_SUCCESS", ".staging-1/0/2", "b/.x", "b/c/3"]);
        assert_eq!(names(&folder, "").await.unwrap(), ["a/1", "b/c/3"]);
    }

    #[tokio::test]
    async fn patterns_choose_files_and_folders() {
        let folder = folder_of(&["y=1/a.csv", "y=2/b.csv", "y=2/c.txt", "z/d.csv"]);
        assert_eq!(names(&folder, "y=*").await.unwrap(), ["y=1/a.csv", "y=2/b.csv", "y=2/c.txt"]);
        assert_eq!(names(&folder, "{y=2,z}/*.csv").await.unwrap(), ["y=2/b.csv", "z/d.csv"]);
        assert!(matches!(names(&folder, "*.orc").await, Err(Error::NotFound { .. })));
    }

    #[tokio::test]
    async fn a_missing_path_is_named() {
        let folder = folder_of(&["a/1"]);
        let error = names(&folder, "none").await.unwrap_err().to_string();
        assert!(error.contains("/none` does not exist"), "{error}");
        assert_eq!(names(&folder, "a/1").await.unwrap(), ["a/1"]);
    }
}
