//! Which paths jobs may name: those below the operator's prefixes, whatever way they are written. A local path must be there really, too,
//! once symbolic links are followed.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::Location;
use crate::error::{Error, Result};

/// A place below which everything may be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prefix {
    /// Every path of every HDFS.
    Hdfs,
    /// What is below a path of a file system.
    Below {
        /// The file system's root.
        root: String,
        /// The path, without `..` and a slash at the end.
        path: String,
    },
}

impl Prefix {
    fn shown(&self) -> String {
        match self {
            Prefix::Hdfs => "hdfs://".to_owned(),
            Prefix::Below { root, path } => format!("{root}{path}"),
        }
    }
}

/// What for a path is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Rows, or a file of settings.
    Table,
    /// Checkpoints and savepoints, which may also be where the operator has put them.
    State,
}

/// The paths that jobs may name.
#[derive(Debug, Default)]
pub struct Allowed {
    /// For whatever they like.
    pub tables: Vec<Prefix>,
    /// For checkpoints and savepoints.
    pub state: Vec<Prefix>,
}

/// The scheme and authority of local paths.
const LOCAL: &str = "file://";

impl Allowed {
    /// Refuses a location that may not be named so.
    pub fn check(&self, location: &Location, used: Use) -> Result<()> {
        let root = location.file_system.root();
        let really = || root != LOCAL || self.is_really_below(&location.path, used);
        if has_hidden_dots(&location.path) || !self.covers(root, &location.path, used) || !really() {
            return Err(Error::NotAllowed { path: location.url(), allowed: self.shown() });
        }
        Ok(())
    }

    /// Whether what a symbolic link in a local folder leads to may be read with that folder.
    pub fn admits_link(&self, path: &str) -> bool {
        self.is_really_below(path, Use::State)
    }

    /// What may be named for tables, for people.
    pub fn shown(&self) -> String {
        let allowed: Vec<String> = self.tables.iter().map(Prefix::shown).collect();
        allowed.join("`, `")
    }

    fn prefixes(&self, used: Use) -> impl Iterator<Item = &Prefix> {
        let state = self.state.iter().filter(move |_| used == Use::State);
        self.tables.iter().chain(state)
    }

    fn covers(&self, root: &str, path: &str, used: Use) -> bool {
        self.prefixes(used).any(|prefix| match prefix {
            Prefix::Hdfs => root.starts_with("hdfs://"),
            Prefix::Below { root: of, path: above } => root == of && is_below(path.as_ref(), above.as_ref()),
        })
    }

    fn is_really_below(&self, path: &str, used: Use) -> bool {
        // A path that cannot be followed is not known to be anywhere.
        let Ok(real) = followed(path.as_ref()) else { return false };
        self.prefixes(used).any(|prefix| match prefix {
            Prefix::Below { root, path } if root == LOCAL => {
                followed(path.as_ref()).is_ok_and(|above| is_below(&real, &above))
            }
            _ => false,
        })
    }
}

/// By whole parts: `/ab` is not below `/a`.
fn is_below(path: &Path, above: &Path) -> bool {
    path.starts_with(above)
}

/// Whether a part is `.` or `..` to whoever decodes it as a part of a URL.
fn has_hidden_dots(path: &str) -> bool {
    path.split('/').any(|part| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | ".."))
}

/// Where a path leads: its symbolic links are followed, as far as it exists.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut missing = Vec::new();
    let mut there = path;
    loop {
        match there.canonicalize() {
            Ok(mut real) => {
                real.extend(missing.into_iter().rev());
                return Ok(real);
            }
            // A link that leads nowhere yet is there, and a file made through it would be made elsewhere.
            Err(error) if error.kind() != io::ErrorKind::NotFound || there.is_symlink() => return Err(error),
            Err(error) => match (there.parent(), there.file_name()) {
                (Some(parent), Some(name)) => {
                    missing.push(name);
                    there = parent;
                }
                _ => return Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, sync::Arc};

    use super::*;
    use crate::file_system::{registry::FileSystems, retry::Patience};

    fn restricted(tables: &[String], state: &[String]) -> Arc<FileSystems> {
        FileSystems::restricted(None, Patience::default(), None, tables, state).unwrap()
    }

    #[test]
    fn a_folder_of_the_operators_is_nobody_elses() {
        let all = restricted(&["/data".to_owned()], &["/state".to_owned()]);
        assert!(all.locate("/history").is_err() && all.locate_state("/history").is_err());
        assert_eq!(all.locate_operators("/history").unwrap().path, "/history");
    }

    #[test]
    fn only_what_is_below_a_prefix_may_be_named_however_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let root = root.to_str().unwrap();
        std::fs::create_dir_all(format!("{root}/in/deep")).unwrap();
        std::fs::create_dir_all(format!("{root}/in-not")).unwrap();
        let all = restricted(&[format!("file://{root}/in"), "hdfs://nn:8020/data/".to_owned()], &[]);
        for allowed in [
            format!("{root}/in"),
            format!("{root}/in/"),
            format!("file:{root}/in/deep/new.csv"),
            format!("file://{root}//in/./deep"),
            format!("file://localhost{root}/in/a=%2F"),
            format!("{root}/elsewhere/../in/x"),
            "hdfs://nn:8020/data/x".to_owned(),
        ] {
            assert!(all.locate(&allowed).is_ok(), "{allowed}");
        }
        for refused in [
            format!("{root}/in-not/x"),
            format!("{root}/in/../in-not/x"),
            format!("file:{root}/in/../../x"),
            format!("file://{root}/in/%2e%2E/in-not/x"),
            format!("file://{root}/in/.%2e/in-not/x"),
            root.to_owned(),
            "/".to_owned(),
            "/etc/passwd".to_owned(),
            "file:/etc/passwd".to_owned(),
            "relative".to_owned(),
            "hdfs://nn:8020/data/../other".to_owned(),
            "hdfs://nn:8020/database".to_owned(),
            "hdfs://other:8020/data/x".to_owned(),
            "hdfs://nn:8020".to_owned(),
        ] {
            let error = all.locate(&refused).unwrap_err();
            assert!(matches!(error, Error::NotAllowed { .. }), "{refused}: {error}");
            assert!(error.to_string().contains(&format!("file://{root}/in")), "{error}");
        }
    }

    #[test]
    fn the_whole_of_a_file_system_may_be_allowed_and_state_has_places_of_its_own() {
        let everything = restricted(&["/".to_owned(), "hdfs://".to_owned()], &[]);
        assert!(everything.locate("/etc/passwd").is_ok() && everything.locate("hdfs://any:1/x").is_ok());
        let all = restricted(&["hdfs://".to_owned()], &["/var/checkpoints".to_owned()]);
        assert!(all.locate("/var/checkpoints/job/_metadata").is_err());
        assert!(all.locate_state("/var/checkpoints/job/_metadata").is_ok());
        assert!(all.locate_state("/var/checkpoints-of-others/x").is_err());
        // A prefix that is none would allow nothing, or all.
        for wrong in ["s3://bucket", ""] {
            let wrong = FileSystems::restricted(None, Patience::default(), None, &[wrong.to_owned()], &[]);
            assert!(wrong.is_err());
        }
    }

    #[tokio::test]
    async fn symbolic_links_lead_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        std::fs::create_dir_all(format!("{root}/in/links")).unwrap();
        std::fs::create_dir_all(format!("{root}/out")).unwrap();
        std::fs::write(format!("{root}/out/secret.csv"), "1").unwrap();
        symlink(format!("{root}/out"), format!("{root}/in/door")).unwrap();
        symlink(format!("{root}/out/not-yet"), format!("{root}/in/later")).unwrap();
        symlink(format!("{root}/out/secret.csv"), format!("{root}/in/links/innocent.csv")).unwrap();
        symlink(format!("{root}/in/links"), format!("{root}/in/fine")).unwrap();
        let all = restricted(&[format!("{root}/in")], &[]);
        for refused in ["door", "door/secret.csv", "door/new/file", "later", "later/x", "links/innocent.csv"]
        {
            assert!(all.locate(&format!("{root}/in/{refused}")).is_err(), "{refused}");
        }
        assert!(all.locate(&format!("{root}/in/fine")).is_ok());
        let links = all.locate(&format!("{root}/in/links")).unwrap();
        let listed = links.file_system.list(&links.path).await;
        assert!(matches!(listed, Err(Error::NotAllowed { .. })), "{listed:?}");
    }
}
