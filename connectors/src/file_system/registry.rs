//! All file systems that a process uses, opened when first named. Planner and workers share it, DataFusion sees it as its
//! registry of object stores.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::{error::DataFusionError, execution::object_store::ObjectStoreRegistry};
use object_store::ObjectStore;
use tokio::runtime::Handle;
use url::Url;

use super::{
    FileSystem, Location,
    allowed::{Allowed, Prefix, Use},
    hadoop_conf::HadoopConf,
    hdfs::Hdfs,
    local::Local,
    retry::Patience,
};
use crate::error::{Error, Result};

/// The file systems by name.
#[derive(Debug)]
pub struct FileSystems {
    local: Arc<dyn FileSystem>,
    /// What jobs may name; everything where not given.
    allowed: Option<Arc<Allowed>>,
    hdfs_by_authority: Mutex<HashMap<String, Arc<dyn FileSystem>>>,
    others: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
    hadoop_conf: HadoopConf,
    patience: Patience,
    io_runtime: Option<Handle>,
}

impl FileSystems {
    /// Opens nothing; reads Hadoop's configuration (see [`HadoopConf::load`]).
    pub fn new(
        conf_dir: Option<PathBuf>,
        patience: Patience,
        io_runtime: Option<Handle>,
    ) -> Result<Arc<Self>> {
        Ok(Arc::new(Self::open(conf_dir, patience, io_runtime)?))
    }

    /// The same, where jobs may name only what is below these prefixes: tables below the first, checkpoints and savepoints below all.
    pub fn restricted(
        conf_dir: Option<PathBuf>,
        patience: Patience,
        io_runtime: Option<Handle>,
        tables: &[String],
        state: &[String],
    ) -> Result<Arc<Self>> {
        let mut all = Self::open(conf_dir, patience, io_runtime)?;
        let prefixes =
            |texts: &[String]| texts.iter().map(|text| all.prefix(text)).collect::<Result<Vec<_>>>();
        let allowed = Arc::new(Allowed { tables: prefixes(tables)?, state: prefixes(state)? });
        all.local = Arc::new(Local::within(Arc::clone(&allowed)));
        all.allowed = Some(allowed);
        Ok(Arc::new(all))
    }

    fn open(conf_dir: Option<PathBuf>, patience: Patience, io_runtime: Option<Handle>) -> Result<Self> {
        Ok(Self {
            local: Arc::new(Local::default()),
            allowed: None,
            hdfs_by_authority: Mutex::default(),
            others: Mutex::default(),
            hadoop_conf: HadoopConf::load(conf_dir.as_deref())?,
            patience,
            io_runtime,
        })
    }

    fn prefix(&self, text: &str) -> Result<Prefix> {
        match text.trim() {
            "" => Err(Error::InvalidOption("a path that jobs may name cannot be empty".to_owned())),
            "hdfs://" => Ok(Prefix::Hdfs),
            text => {
                let Location { file_system, path } = self.find(text)?;
                Ok(Prefix::Below { root: file_system.root().to_owned(), path })
            }
        }
    }

    /// The file system and path of a table's `path` option: `file://`, `hdfs://`, or a path of this machine. Refuses what jobs may not
    /// name.
    pub fn locate(&self, text: &str) -> Result<Location> {
        self.locate_for(text, Use::Table)
    }

    /// The same for checkpoints and savepoints.
    pub fn locate_state(&self, text: &str) -> Result<Location> {
        self.locate_for(text, Use::State)
    }

    /// The same for a folder that the operator has named, and no job.
    pub fn locate_operators(&self, text: &str) -> Result<Location> {
        self.find(text)
    }

    /// Refuses a file on this machine that jobs may not name, where not all may be.
    pub fn check_file(&self, path: &str) -> Result<()> {
        if self.allowed.is_some() { self.locate(path).map(drop) } else { Ok(()) }
    }

    /// Refuses a place for checkpoints that jobs may not name, where not all may be.
    pub fn check_state(&self, path: &str) -> Result<()> {
        if self.allowed.is_some() { self.locate_state(path).map(drop) } else { Ok(()) }
    }

    fn locate_for(&self, text: &str, used: Use) -> Result<Location> {
        let location = self.find(text)?;
        if let Some(allowed) = &self.allowed {
            allowed.check(&location, used)?;
        }
        Ok(location)
    }

    fn find(&self, text: &str) -> Result<Location> {
        let text = text.trim();
        let (file_system, path) = match text.split_once("://") {
            None => (Arc::clone(&self.local), absolute(text.strip_prefix("file:").unwrap_or(text))?),
            Some(("file", rest)) => {
                (Arc::clone(&self.local), rest.strip_prefix("localhost").unwrap_or(rest).to_owned())
            }
            Some(("hdfs", rest)) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (self.hdfs(authority)?, path.to_owned())
            }
            Some((scheme, _)) => {
                return Err(Error::Unsupported(format!(
                    "the file system `{scheme}` of `{text}` is not supported; use `file://` or `hdfs://`"
                )));
            }
        };
        Ok(Location { file_system, path: normalise(&path) })
    }

    fn hdfs(&self, authority: &str) -> Result<Arc<dyn FileSystem>> {
        let authority = match authority {
            "" => self.hadoop_conf.default_authority().ok_or_else(|| {
                Error::InvalidOption(
                    "`hdfs:///` needs a default file system: set HADOOP_CONF_DIR to a folder whose `core-site.xml` \
                     has `fs.defaultFS`, or write `hdfs://host:port/`"
                        .to_owned(),
                )
            })?,
            given => given,
        };
        let mut opened = self.hdfs_by_authority.lock().unwrap_or_else(PoisonError::into_inner);
        let open = || -> Arc<dyn FileSystem> {
            Arc::new(Hdfs::new(authority, self.hadoop_conf.clone(), self.patience, self.io_runtime.clone()))
        };
        Ok(Arc::clone(opened.entry(authority.to_owned()).or_insert_with(open)))
    }
}

/// A path of this machine without `.` and `..` before it.
fn absolute(path: &str) -> Result<String> {
    let absolute = std::path::absolute(path).map_err(|error| Error::from_io("resolve", path, error))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|path| Error::Invalid(format!("the path {path:?} is not UTF-8")))
}

/// Without empty parts, `.`, `..` and a slash at the end.
fn normalise(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn key(url: &Url) -> String {
    url[..url::Position::BeforePath].to_owned()
}

impl ObjectStoreRegistry for FileSystems {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner).insert(key(url), store)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>, DataFusionError> {
        let key = key(url);
        if let Some(store) = self.others.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(store));
        }
        Ok(self.find(&key)?.file_system.object_store())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_systems(core_site: &str) -> Arc<FileSystems> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("core-site.xml"), core_site).unwrap();
        FileSystems::new(Some(folder.path().to_owned()), Patience::default(), None).unwrap()
    }

    #[test]
    fn urls_and_paths_are_understood() {
        let all = file_systems(
            "<configuration><property><name>fs.defaultFS</name><value>hdfs://ns</value></property></configuration>",
        );
        let url = |text: &str| all.locate(text).unwrap().url();
        assert_eq!(url("/a//b/./c/"), "file:///a/b/c");
        assert_eq!(url("file:///a/k=x%3Ay"), "file:///a/k=x%3Ay");
        assert_eq!(url("file:/a"), "file:///a");
        assert_eq!(url("hdfs://nn:8020/a/../b"), "hdfs://nn:8020/b");
        assert_eq!(url("hdfs:///a"), "hdfs://ns/a");
        assert_eq!(url("hdfs://nn:8020"), "hdfs://nn:8020/");
        assert!(url("relative").starts_with("file:///"));
    }

    #[test]
    fn unknown_schemes_and_missing_defaults_say_what_to_do() {
        let all = file_systems("<configuration/>");
        assert!(all.locate("s3://b/c").unwrap_err().to_string().contains("`s3`"));
        assert!(all.locate("hdfs:///a").unwrap_err().to_string().contains("HADOOP_CONF_DIR"));
    }

    #[test]
    fn a_name_service_is_opened_once() {
        let all = file_systems("<configuration/>");
        let one = all.locate("hdfs://nn:8020/a").unwrap().file_system;
        let two = all.locate("hdfs://nn:8020/b").unwrap().file_system;
        assert!(Arc::ptr_eq(&one, &two));
    }
}
